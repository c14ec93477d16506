"""More machines for the Ray of these tests: nodes that come, are given notice, and go."""

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
import ray
from ray._raylet import GcsClient
from ray.core.generated import autoscaler_pb2

LONGEST_S = 400.0
NOTICE_S = 3.0
"""Enough for a checkpoint, also where other tests run beside."""
SEAT = "seat"
"""A resource of which each machine has one, and Ray's head none."""


@dataclass
class Machine:
    """A node with one CPU and one seat."""

    process: subprocess.Popen[bytes]
    node_id: str
    gcs_address: str

    def give_notice(self) -> None:
        """It will be gone in `NOTICE_S`."""
        reason = autoscaler_pb2.DrainNodeReason.Value("DRAIN_NODE_REASON_PREEMPTION")
        deadline_ms = int((time.time() + NOTICE_S) * 1000)
        accepted, message = GcsClient(address=self.gcs_address).drain_node(
            self.node_id, reason, "the spot price rose", deadline_ms
        )
        assert accepted, message

    def shut_down(self) -> None:
        self._end(self.process.terminate, timeout_s=3)

    def lose_power(self) -> None:
        self._end(self.process.kill, timeout_s=0)

    def _end(self, begin: Callable[[], None], timeout_s: float) -> None:
        processes = []
        with contextlib.suppress(psutil.NoSuchProcess):
            processes = psutil.Process(self.process.pid).children(recursive=True)
        begin()
        _, left = psutil.wait_procs(processes, timeout=timeout_s)
        for process in left:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        self.process.wait()


@contextlib.contextmanager
def another_machine() -> Iterator[Machine]:
    """Until the end of the `with`, unless it has gone before."""
    address = ray.get_runtime_context().gcs_address
    before = _alive()
    command = [Path(sys.executable).with_name("ray"), "start", "--block", "--address", address]
    command += ["--num-cpus", "1", "--resources", json.dumps({SEAT: 1})]
    command += ["--min-worker-port", "0", "--max-worker-port", "0"]
    command += ["--object-store-memory", "80000000", "--include-log-monitor", "false"]
    process = subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=dict(os.environ)
    )
    wait_until(lambda: bool(_alive() - before))
    started = Machine(process, (_alive() - before).pop(), address)
    try:
        yield started
    finally:
        if process.poll() is None:
            started.shut_down()
        wait_until(lambda: started.node_id not in _alive())


def _alive() -> set[str]:
    return {node["NodeID"] for node in ray.nodes() if node["Alive"]}


def wait_until(condition: Callable[[], bool]) -> None:
    """Fails after `LONGEST_S`."""
    deadline_s = time.monotonic() + LONGEST_S
    while not condition():
        assert time.monotonic() < deadline_s, "waited too long"
        time.sleep(0.01)
