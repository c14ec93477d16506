"""What huetrack adds to Ray's own way of running things on a cluster.

`python -m benchmarks.cluster [--repeats 3] [--json FILE]`. So far: submitting. A Ray head is started on this
machine; `huetrack submit --no-wait` and `ray job submit --no-wait` send the same package to it in turn, and
the job that came out of it ends before the next is sent. Wall clock, and CPU seconds of the command, which
other work on the machine changes less.
"""

import argparse
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.figures import show
from benchmarks.ray_head import RayHead, ray_head
from jobs.job_cluster import JobCluster
from jobs.submit_package import make_package

COMMANDS = {
    "validate": ["validate", "/none/set"],
    "preprocess": ["preprocess", "/none/videos", "--out", "/none/set"],
    "train": ["train", "/none/set", "--run", "/none/run"],
}
"""Each ends at once there: it finds nothing."""


@dataclass(frozen=True)
class Cost:
    """Of one command."""

    wall_s: float
    cpu_s: float


def cost_of(command: Sequence[str], head: RayHead) -> Cost:
    """Run a command that submits a job, then wait until that job has ended."""
    environment = head.environment | {"PYTHONPATH": str(Path.cwd())}
    before, started_s = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    subprocess.run(command, env=environment, check=True, capture_output=True)
    wall_s, after = time.monotonic() - started_s, resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    cluster = JobCluster(head.address)
    while not all(job.status.is_terminal() for job in cluster.jobs()):
        time.sleep(0.5)
    return Cost(wall_s, cpu_s)


def measure(repeats: int) -> dict[str, float]:
    submit = [sys.executable, "-m", "jobs.cli", "submit", "--no-wait", "--shared", "/none"]
    plain = [sys.executable, "-m", "ray.scripts.scripts", "job", "submit", "--no-wait"]
    costs: dict[str, list[Cost]] = {name: [] for name in ("ray", *COMMANDS)}
    with ray_head() as head, tempfile.TemporaryDirectory() as name:
        os.environ["RAY_AUTH_TOKEN"] = head.token
        package = make_package(Path(name) / "package.zip", extra={}, limit_mb=20)
        folder = Path(name) / "package"
        zipfile.ZipFile(package.path).extractall(folder)
        by_ray = [*plain, "--address", head.address, "--working-dir", str(folder), "--"]
        by_ray += ["python", "-c", "pass"]
        cost_of(by_ray, head)  # the first job starts what later ones find
        for _ in range(repeats):
            costs["ray"].append(cost_of(by_ray, head))
            for name, command in COMMANDS.items():
                words = [*submit, "--address", head.address, "--", *command]
                costs[name].append(cost_of(words, head))
    results: dict[str, float] = {"repeats": repeats, "package_mb": package.bytes / 1e6}
    for name, each in costs.items():
        results[f"{name}_wall_s"] = statistics.median(cost.wall_s for cost in each)
        results[f"{name}_cpu_s"] = statistics.median(cost.cpu_s for cost in each)
    for name in COMMANDS:
        for unit in ("wall_s", "cpu_s"):
            results[f"{name}_beyond_ray_{unit}"] = (
                results[f"{name}_{unit}"] - results[f"ray_{unit}"]
            )
    return results


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--json", type=Path, help="file for the figures")
    options = parser.parse_args()
    show("cluster", measure(options.repeats), options.json)


if __name__ == "__main__":
    main()
