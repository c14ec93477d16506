"""Connecting to Ray: the cluster that this process belongs to, or a local one for its duration.

`RAY_AUTH_MODE` must be set before Ray is imported for the first time, so this module sets it at
import and imports Ray late.
"""

import contextlib
import logging
import os
import re
from collections.abc import Iterator, Mapping

from jobs.node_watch import telling_of_nodes
from jobs.placement import tell_if_nowhere
from jobs.termination import stopping_like_ctrl_c
from model.errors import UserError

SEALED = "HUETRACK_SEALED_ENVIRONMENT"
"""Variable that holds those which came with a job, sealed (`jobs.job_environment`)."""
AUTH_MODE = "RAY_AUTH_MODE"
os.environ.setdefault(AUTH_MODE, "token")
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
os.environ.setdefault("RAY_TRAIN_V2_ENABLED", "1")
# The newer Parquet reader starts an actor for every few files, which costs seconds each on a small machine.
os.environ.setdefault("RAY_DATA_USE_DATASOURCE_V2", "0")
os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")


def available_cpus() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0))


@contextlib.contextmanager
def connected_ray(workers: int, selector: Mapping[str, str] | None = None) -> Iterator[None]:
    """Ray for the body of the `with`. What Ray Data runs then goes to nodes with the labels of `selector`.
    SIGTERM ends the body as Ctrl-C does.

    Under `RAY_ADDRESS` (inside a Ray job, say) that cluster; else a local one with token
    authentication, no dashboard, and one logical CPU a worker beside two for reading data, so that
    a stage can never wait for a CPU that a worker holds. Raises `UserError` for a selector there.
    """
    import ray

    address = os.environ.get("RAY_ADDRESS")
    if selector and not address:
        raise UserError(
            "--label-selector chooses nodes of a cluster; this Ray is this machine's own"
        )
    if ray.is_initialized():
        yield
        return
    if address:
        # Commands tell what matters of their workers; the workers' own logs stay in Ray's folder.
        ray.init(logging_level=logging.WARNING, log_to_driver=False)
    else:
        ray.init(
            address="local",
            num_cpus=max(available_cpus(), workers + 2),
            include_dashboard=False,
            logging_level=logging.WARNING,
            log_to_driver=False,
        )
    with stopping_like_ctrl_c():
        try:
            _settle(selector)
            with telling_of_nodes() if address else contextlib.nullcontext():
                yield
        except ray.exceptions.RuntimeEnvSetupError as error:
            raise UserError(node_without_workers(str(error))) from error
        finally:
            ray.shutdown()


def _settle(selector: Mapping[str, str] | None) -> None:
    """What Ray Data is to do, and to say."""
    from ray.data import DataContext

    context = DataContext.get_current()
    context.execution_options.label_selector = dict(selector) if selector else None
    context.enable_progress_bars = False
    context.enable_rich_progress_bars = False
    logging.getLogger("ray.data").setLevel(logging.WARNING)
    # Which would print the trace of what is raised anyway.
    logging.getLogger("ray.data.exceptions").setLevel(logging.CRITICAL)
    # Which would warn that it shows no progress bars.
    logging.getLogger("ray.data._internal.progress").setLevel(logging.ERROR)
    if selector:
        tell_if_nowhere(selector)


def node_without_workers(told: str) -> str:
    """Ray's error about a node that cannot start workers, in a line; once its disk was full it stays so."""
    node = re.search(r"\[Node ([\w.:]+)\]", told)
    last = told.strip().splitlines()[-1] if told.strip() else "no reason given"
    place = f"node {node[1]}" if node else "a node"
    return f"{place} cannot start workers ({last}); free its disk if it is full, and start its Ray again"
