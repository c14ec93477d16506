"""A Ray head of one's own: dashboard (on the loopback address), token, ports and folder that nobody else has.

It is started as on a cluster (`ray start --head`), so what is submitted to it goes the way of any job.
"""

import contextlib
import os
import secrets
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from benchmarks.ports import free_ports

_STARTS_WITHIN_S = 300.0
_NOT_INHERITED = ("PYTHONPATH", "RAY_", "AWS_", "MLFLOW_", "HUETRACK_")
"""Variables that a cluster does not have of the one who submits to it."""
_PORTS = (
    "--port",
    "--dashboard-port",
    "--ray-client-server-port",
    "--metrics-export-port",
    "--dashboard-agent-listen-port",
    "--dashboard-agent-grpc-port",
    "--runtime-env-agent-port",
)


@dataclass(frozen=True)
class RayHead:
    """A running head."""

    ports: dict[str, int]
    token: str
    folder: Path
    """Its temporary files; `session_latest/logs` holds its logs."""
    environment: dict[str, str] = field(repr=False)

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.ports['--dashboard-port']}"

    @property
    def metrics_address(self) -> str:
        return f"http://127.0.0.1:{self.ports['--metrics-export-port']}/metrics"

    @property
    def logs(self) -> Path:
        return self.folder / "session_latest" / "logs"


@contextlib.contextmanager
def ray_head(cpus: int = 2, token: str | None = None) -> Iterator[RayHead]:
    """Start a head with so many logical CPUs (and a new token), and end everything that it started."""
    # Unix sockets lie in it, whose paths may not be long.
    folder = Path(tempfile.mkdtemp(prefix="ray", dir="/tmp"))
    token = token or secrets.token_hex(32)
    ports = dict(zip(_PORTS, free_ports(len(_PORTS)), strict=True))
    environment = {n: v for n, v in os.environ.items() if not n.startswith(_NOT_INHERITED)}
    environment |= {
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": token,
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_worker_niceness": "0",  # or workers, and with them jobs, give way to all other processes
        "RAY_metrics_report_interval_ms": "1000",
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
    }
    command = [sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--block"]
    command += ["--node-ip-address", "127.0.0.1", "--dashboard-host", "127.0.0.1"]
    command += ["--temp-dir", str(folder), "--num-cpus", str(cpus), "--disable-usage-stats"]
    command += ["--object-store-memory", str(150 << 20), "--labels", "huetrack/group=decode"]
    command += [word for flag, port in ports.items() for word in (flag, str(port))]
    head = RayHead(ports, token, folder, environment)
    with (folder / "start.log").open("wb") as log:
        process = subprocess.Popen(
            command, env=environment, stdout=log, stderr=log, start_new_session=True
        )
    try:
        _wait_until_it_answers(head, process)
        yield head
    finally:
        _end(process)
        shutil.rmtree(folder, ignore_errors=True)


def _wait_until_it_answers(head: RayHead, process: "subprocess.Popen[bytes]") -> None:
    """Return when the dashboard and a node's agent are there, so that jobs are taken."""
    deadline_s = time.monotonic() + _STARTS_WITHIN_S
    log = head.folder / "start.log"
    request = urllib.request.Request(
        f"{head.address}/api/v0/cluster_metadata", headers={"Authorization": f"Bearer {head.token}"}
    )
    while True:
        try:
            urllib.request.urlopen(request, timeout=30).close()
            urllib.request.urlopen(head.metrics_address, timeout=30).close()
            return
        except (OSError, urllib.error.URLError):
            if process.poll() is not None or time.monotonic() > deadline_s:
                raise RuntimeError(f"Ray did not start: {log.read_text()}") from None
            time.sleep(0.2)


def _end(process: "subprocess.Popen[bytes]") -> None:
    """Kill it and all below it: at SIGTERM `ray start --block` takes half a minute to end."""
    started = []
    with contextlib.suppress(psutil.NoSuchProcess):
        started = psutil.Process(process.pid).children(recursive=True)
    process.kill()
    for each in started:
        with contextlib.suppress(psutil.NoSuchProcess):
            each.kill()
    psutil.wait_procs(started, 30)
    process.wait()
