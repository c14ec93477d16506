"""The faults of `benchmarks/faults.py`: each breaks something of a bed while a stage runs on it, and returns
when it is whole again, or will be by itself. What it returns is how many of the stage's workers it took away
(not counting those of a command that ends by it)."""

import contextlib
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks.bed.bed import Bed
from benchmarks.bed.nodes import Node
from benchmarks.bed.workload import WORKERS, Stage

CUT_S, DOWN_S = 30.0, 60.0
_BUSY_WITHIN_S, _LOOK_S = 60.0, 0.3
_BLOCK = b"\0" * (1 << 20)


class NothingToBreak(Exception):
    """What should be disturbed is over, or was never there."""


def node_killed(bed: Bed, stage: Stage) -> int:
    """A power cut on a node that works. Its Ray is started again a second later."""
    node, workers = _busy_node(bed, stage)
    node.server.kill()
    return workers


def head_cut(bed: Bed, stage: Stage) -> int:
    """The head's link is down for `CUT_S`: workers, S3, MLflow and who follows the job do not reach it."""
    workers = bed.nodes_of_actors(WORKERS[stage], alive=True).total()
    bed.network.cut(bed.head.machine)
    time.sleep(CUT_S)
    bed.network.join(bed.head.machine)
    return workers


def s3_down(bed: Bed, stage: Stage) -> int:
    """S3 answers every request with 503 for `DOWN_S`."""
    bed.services.s3_sign.touch()
    time.sleep(DOWN_S)
    bed.services.s3_sign.unlink()
    return 0


def mlflow_down(bed: Bed, stage: Stage) -> int:
    """MLflow's server is killed, and started again after `DOWN_S`."""
    server = bed.services.mlflow
    assert server is not None
    server.kill()
    time.sleep(DOWN_S)
    server.start()
    bed.wait_for_tracking()
    return 0


def disk_full(bed: Bed, stage: Stage) -> int:
    """The disk of a node that works (temporary files, Ray's session) is full for `DOWN_S`.

    Then the node is replaced, as Kubernetes does with a pod whose disk is full.
    """
    node, workers = _busy_node(bed, stage)
    disk = node.disk_from_outside()
    assert disk is not None
    with contextlib.suppress(OSError), (disk / "ballast").open("wb", buffering=0) as file:
        while True:
            file.write(_BLOCK)
    time.sleep(DOWN_S)
    node.server.kill()
    return workers


def driver_killed(bed: Bed, stage: Stage) -> int:
    """SIGKILL to the command that runs on the head. Raises `NothingToBreak` when there is none."""
    killed = 0
    for process in bed.head.processes():
        with contextlib.suppress(OSError):
            words = Path(f"/proc/{process}/cmdline").read_bytes().split(b"\0")
            if b"jobs.cli" in words and b"-c" not in words:
                os.kill(process, signal.SIGKILL)
                killed += 1
    if not killed:
        raise NothingToBreak
    return 0


def _busy_node(bed: Bed, stage: Stage) -> tuple[Node, int]:
    """A node with workers of the stage, and how many; waits for one. Raises `NothingToBreak`."""
    deadline_s = time.monotonic() + _BUSY_WITHIN_S
    while time.monotonic() < deadline_s:
        busy = bed.nodes_of_actors(WORKERS[stage], alive=True)
        for node in bed.workers:
            if busy[node.machine.address]:
                return node, busy[node.machine.address]
        time.sleep(_LOOK_S)
    raise NothingToBreak


FAULTS: dict[str, Callable[[Bed, Stage], int]] = {
    "node-killed": node_killed,
    "head-cut": head_cut,
    "s3-down": s3_down,
    "mlflow-down": mlflow_down,
    "disk-full": disk_full,
    "driver-killed": driver_killed,
}
