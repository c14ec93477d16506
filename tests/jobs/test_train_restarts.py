"""The line about a training that broke off (a real one: `test_train.py`)."""

import pickle

import pytest
from ray.exceptions import ActorDiedError, RayActorError
from ray.train.v2._internal.exceptions import (
    WorkerHealthCheckFailedError,
    WorkerHealthCheckTimeoutError,
)

from jobs.train_failures import WorkerFailure
from jobs.train_restarts import broken_off

ACTOR = "\tclass_name: RayTrainWorker\n\tactor_id: 0123\n\tpid: 4\n\tnamespace: 5\n\tip: 10.1.2.3\n"
DEAD = RayActorError(
    None,
    f"{ActorDiedError.BASE_ERROR_MSG}\n{ACTOR}The actor died because its node has died. Node Id: 67\n"
    "\tthe node was terminated unexpectedly",
)
LOST = WorkerHealthCheckFailedError("A worker health check failed.\nWorker info: w", DEAD)
SILENT = WorkerHealthCheckTimeoutError(
    "A worker health check has been hanging for 31.50 seconds. Marking the worker as dead.\n"
    "Worker info: Worker(metadata=ActorMetadata(hostname='n', node_id='8', node_ip='10.1.2.4', pid=9))"
)
FULL = WorkerFailure("OSError: [Errno 28] No space left: '/x'", "trace", False, "10.1.2.5")


@pytest.mark.parametrize(
    ("failures", "told"),
    [
        (
            {1: LOST},
            "worker 1 on node 10.1.2.3 was lost (The actor died because its node has died)",
        ),
        (
            {0: SILENT},
            "worker 0 on node 10.1.2.4 was lost (A worker health check has been hanging for 31.50 seconds)",
        ),
        ({2: FULL}, "worker 2 on node 10.1.2.5: OSError: [Errno 28] No space left: '/x'"),
        ({0: RuntimeError("upload\nbroke")}, "worker 0: upload"),
        ({0: RuntimeError()}, "worker 0: RuntimeError"),
        # Those that miss another one are not why.
        (
            {0: FULL, 1: LOST},
            "worker 1 on node 10.1.2.3 was lost (The actor died because its node has died)",
        ),
        (
            {3: FULL, 2: FULL},
            "worker 2 on node 10.1.2.5: OSError: [Errno 28] No space left: '/x'; "
            "worker 3 on node 10.1.2.5: OSError: [Errno 28] No space left: '/x'",
        ),
    ],
)
def test_the_line_names_worker_node_and_error(failures: dict[int, Exception], told: str) -> None:
    assert broken_off(failures) == f"training broke off: {told}"


def test_of_many_workers_some_are_named() -> None:
    line = broken_off(dict.fromkeys(range(64), LOST))
    assert line.count("10.1.2.3") == 3
    assert line.endswith("; and 61 more")


def test_a_failure_travels_with_its_node() -> None:
    assert pickle.loads(pickle.dumps(FULL)).node == "10.1.2.5"
