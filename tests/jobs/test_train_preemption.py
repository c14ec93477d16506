"""A machine that is given notice and then taken away: a checkpoint first, then on with the machines left."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from ray.cluster_utils import Cluster

from jobs.options import to_yaml
from jobs.tracking_uri import TrackingUri
from pipelines.run_folder import read_history
from tests.conftest import REPOSITORY
from tests.jobs.conftest import Training

STEPS, LONGEST_S = 800, 200.0


@pytest.fixture
def cluster(ray_session: None) -> Iterator[Cluster]:
    """The driver's machine with one CPU, on which one worker has room, beside the Ray of other tests."""
    machines = Cluster(
        initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False}
    )
    yield machines
    machines.shutdown()


def steps(run: Path) -> list[int]:
    return [r["step"] for r in read_history(run) if r["kind"] == "train"]


def wait_until(condition: Callable[[], bool], driver: subprocess.Popen[bytes], log: Path) -> None:
    deadline_s = time.monotonic() + LONGEST_S
    while not condition():
        assert driver.poll() is None and time.monotonic() < deadline_s, log.read_text()
        time.sleep(0.02)


def test_notice_leaves_a_checkpoint_and_is_not_a_failure(
    training: Training, cluster: Cluster, tmp_path: Path
) -> None:
    """Two workers on a machine that leaves; one goes on where there is room for one."""
    leaving = cluster.add_node(num_cpus=2)
    run, log = tmp_path / "run", tmp_path / "log"
    options = training(
        run,
        STEPS,
        min_workers=1,
        max_failures=0,
        fit={"checkpoint_every": STEPS, "validate_every": STEPS},
        tracking_uri=TrackingUri("http://127.0.0.1:9"),  # several machines cannot share SQLite
    )
    (tmp_path / "train.yaml").write_text(to_yaml(options))
    with log.open("wb") as output:
        driver = subprocess.Popen(
            [sys.executable, "-m", "jobs.cli", "train", "--config", str(tmp_path / "train.yaml")],
            cwd=REPOSITORY,
            env={
                **os.environ,
                "RAY_ADDRESS": cluster.address,
                "RAY_TRAIN_PREEMPTION_POLL_INTERVAL_S": "0.5",
            },
            stdout=output,
            stderr=output,
        )
    try:
        wait_until(lambda: len(steps(run)) >= 10, driver, log)
        assert not list(run.glob("checkpoint_*/"))
        drain = ["drain-node", "--address", cluster.address, "--node-id", leaving.node_id]
        drain += ["--reason", "DRAIN_NODE_REASON_PREEMPTION", "--reason-message", "spot"]
        drain += ["--deadline-remaining-seconds", "120"]
        ray = Path(sys.executable).with_name("ray")
        subprocess.run([ray, *drain], check=True, stdout=subprocess.DEVNULL)
        wait_until((run / "checkpoint_manager_snapshot.json").exists, driver, log)
        (saved,) = (int(p.name.removeprefix("checkpoint_")) for p in run.glob("checkpoint_*/"))
        before = len(steps(run))
        assert saved <= before < STEPS
        cluster.remove_node(leaving, allow_graceful=False)
        wait_until(lambda: len(steps(run)) < before, driver, log)  # the steps after it are repeated
        assert len(steps(run)) >= saved
        assert driver.wait(LONGEST_S) == 0, log.read_text()
    finally:
        driver.kill()
        driver.wait()
    assert steps(run) == list(range(1, STEPS + 1))
