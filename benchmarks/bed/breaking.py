"""The faults of `benchmarks/faults.py`: each breaks something of a bed while a stage runs on it, and returns
when it is whole again, or will be by itself."""

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
_BLOCK = b"\0" * (1 << 20)


def node_killed(bed: Bed, stage: Stage) -> None:
    """A power cut on a node that works. Its Ray is started again a second later."""
    _busy_node(bed, stage).server.kill()


def head_cut(bed: Bed, stage: Stage) -> None:
    """The head's link is down for `CUT_S`: workers, S3, MLflow and who follows the job do not reach it."""
    bed.network.cut(bed.head.machine)
    time.sleep(CUT_S)
    bed.network.join(bed.head.machine)


def s3_down(bed: Bed, stage: Stage) -> None:
    """S3 answers every request with 503 for `DOWN_S`."""
    bed.services.s3_sign.touch()
    time.sleep(DOWN_S)
    bed.services.s3_sign.unlink()


def mlflow_down(bed: Bed, stage: Stage) -> None:
    """MLflow's server is killed, and started again after `DOWN_S`."""
    server = bed.services.mlflow
    assert server is not None
    server.kill()
    time.sleep(DOWN_S)
    server.start()
    bed.wait_for_tracking()


def disk_full(bed: Bed, stage: Stage) -> None:
    """The disk of a node that works (temporary files, Ray's session) is full for `DOWN_S`.

    Then the node is replaced, as Kubernetes does with a pod whose disk is full.
    """
    node = _busy_node(bed, stage)
    disk = node.disk_from_outside()
    assert disk is not None
    with contextlib.suppress(OSError), (disk / "ballast").open("wb", buffering=0) as file:
        while True:
            file.write(_BLOCK)
    time.sleep(DOWN_S)
    node.server.kill()


def driver_killed(bed: Bed, stage: Stage) -> None:
    """SIGKILL to the command that runs on the head."""
    for process in bed.head.processes():
        with contextlib.suppress(OSError):
            words = Path(f"/proc/{process}/cmdline").read_bytes().split(b"\0")
            if b"jobs.cli" in words and b"-c" not in words:
                os.kill(process, signal.SIGKILL)


def _busy_node(bed: Bed, stage: Stage) -> Node:
    """A node with workers of the stage."""
    busy = bed.nodes_of_actors(WORKERS[stage], alive=True)
    return next(node for node in bed.workers if node.machine.address in busy)


FAULTS: dict[str, Callable[[Bed, Stage], None]] = {
    "node-killed": node_killed,
    "head-cut": head_cut,
    "s3-down": s3_down,
    "mlflow-down": mlflow_down,
    "disk-full": disk_full,
    "driver-killed": driver_killed,
}
