"""Ray on machines of the network: `ray start` with a token, as on any cluster."""

import contextlib
import os
import subprocess
import sys
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.bed.network import Machine, Network
from benchmarks.bed.processes import Server

GCS_PORT, DASHBOARD_PORT = 6379, 8265
_NOT_INHERITED = ("PYTHONPATH", "RAY_", "AWS_", "MLFLOW_", "HUETRACK_")
"""Variables that a cluster does not have of the one who submits to it."""
_PAUSE_S = 1.0


@dataclass(frozen=True)
class NodeSettings:
    """How a node is started."""

    cpus: int = 2
    cores: tuple[int, ...] = ()
    """Cores of this machine that its processes may use; all when empty."""
    disk: str = "2g"
    """Size of its disk, which holds its temporary files and Ray's."""
    variables: Mapping[str, str] = field(default_factory=dict)
    """Further environment variables."""


class Node:
    """One machine that Ray runs on, head or worker."""

    def __init__(
        self, network: Network, number: int, head: "Node | None", token: str, folder: Path,
        settings: NodeSettings,
    ) -> None:  # fmt: skip
        self.network = network
        self.machine: Machine = network.machine(number)
        self.disk = folder / self.machine.name
        self.disk.mkdir()
        self.log = folder / f"{self.machine.name}.log"
        environment = {n: v for n, v in os.environ.items() if not n.startswith(_NOT_INHERITED)}
        environment |= {
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN": token,
            "RAY_USAGE_STATS_ENABLED": "0",
            "TMPDIR": str(self.disk),
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            **settings.variables,
        }
        words = [sys.executable, "-m", "ray.scripts.scripts", "start", "--block"]
        words += ["--node-ip-address", self.machine.address, "--disable-usage-stats"]
        words += ["--temp-dir", str(self.disk)]
        words += ["--num-cpus", str(settings.cpus), "--object-store-memory", str(150 << 20)]
        if head is None:
            words += ["--head", "--port", str(GCS_PORT)]
            words += ["--dashboard-host", self.machine.address]
        else:
            words += ["--address", f"{head.machine.address}:{GCS_PORT}"]
        if settings.cores:
            words = ["taskset", "-c", ",".join(map(str, settings.cores)), *words]
        contained = network.contained(self.machine, words, self.disk, settings.disk)
        self.server = Server(contained, environment, self.log)

    @property
    def dashboard(self) -> str:
        """Where jobs are sent to, when this is the head."""
        return f"http://{self.machine.address}:{DASHBOARD_PORT}"

    def processes(self) -> list[int]:
        """Its processes, by their numbers outside."""
        listed = subprocess.run(
            ["ip", "netns", "pids", self.machine.namespace],
            capture_output=True,
            text=True,
            check=True,
        )
        return [int(process) for process in listed.stdout.split()]

    def disk_from_outside(self) -> Path | None:
        """Where its disk is seen by us; None while it does not run."""
        for process in self.processes():
            disk = Path(f"/proc/{process}/root{self.disk}")
            with contextlib.suppress(OSError):
                if (disk / "hosts").exists():
                    return disk
        return None

    def files(self, pattern: str) -> list[Path]:
        """Files of its newest Ray session."""
        disk = self.disk_from_outside()
        found = disk.glob(f"session_2*/{pattern}") if disk else []
        return [path for path in found if path.is_file()]


class Supervisor:
    """Starts a node again when its Ray has ended, as KubeRay does with a pod."""

    def __init__(self, nodes: list[Node]) -> None:
        self._nodes = nodes
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> "Supervisor":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._end.wait(_PAUSE_S):
            for node in self._nodes:
                if not node.server.runs:
                    node.server.kill()
                    node.server.start()
