"""What huetrack adds to Ray's own way of running things on a cluster, and what a second node brings.

`python -m benchmarks.cluster [--parts submit nodes] [--repeats 3] [--keep FOLDER]`.

- submit: a Ray head is started on this machine; `huetrack submit --no-wait` and `ray job submit --no-wait`
  send the same package to it in turn, and the job that came out of it ends before the next is sent. Wall
  clock, and CPU seconds of the command, which other work on the machine changes less.
- nodes: preprocessing of all clips in HUETRACK_DATA on two nodes of one core each, in network namespaces,
  against one node with both cores, in turn; two workers each time. The head has no CPU. Needs root. The
  time is that of the whole command on the cluster (`seconds` of its summary). Shards have to be equal.

What a lost node costs is in `benchmarks/faults.py`.
"""

import argparse
import hashlib
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.bed.bed import cluster_bed
from benchmarks.bed.nodes import NodeSettings
from benchmarks.figures import show
from benchmarks.ray_head import RayHead, ray_head
from jobs.job_cluster import JobCluster
from jobs.submit_package import make_package

COMMANDS = {
    "validate": ["validate", "/none/set"],
    "preprocess": ["preprocess", "/none/videos", "--out", "/none/set"],
    "train": ["train", "/none/set", "--run", "/none/run"],
    "propagate": [
        *("propagate", "/none/videos", "--labels", "/none/labels"),
        *("--out", "/none/out", "--model", "identity"),
    ],
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


def measure_submit(repeats: int) -> dict[str, float]:
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


def measure_nodes(repeats: int, keep: Path | None) -> dict[str, float | int | str]:
    first, second = sorted(os.sched_getaffinity(0))[:2]
    arrangements = {
        "one_node": [NodeSettings(cpus=2, cores=(first, second))],
        "two_nodes": [NodeSettings(cpus=1, cores=(first,)), NodeSettings(cpus=1, cores=(second,))],
    }
    data = Path(os.environ.get("HUETRACK_DATA", "../shared/data")).resolve() / "train"
    seconds: dict[str, list[float]] = {name: [] for name in arrangements}
    shards: set[str] = set()
    frames = 0
    for turn in range(repeats):
        for name, nodes in arrangements.items():
            with cluster_bed(nodes, head=NodeSettings(cpus=0), tracking=False) as bed:
                place = (keep or bed.folder).resolve()
                out = place / f"{name}-{turn}"
                ended = bed.huetrack(
                    *("submit", "--shared", data, "--shared", place, "--"),
                    *("preprocess", data, "--out", out, "--workers", 2),
                )
                if ended.status != 0:
                    raise RuntimeError(ended.output)
                summary = json.loads((out / "summary.json").read_text())
                seconds[name].append(summary["seconds"])
                frames = summary["frames"]
                digest = hashlib.sha256()
                for path in sorted((out / "clips").glob("*.parquet")):
                    digest.update(path.read_bytes())
                shards.add(digest.hexdigest())
    if len(shards) != 1:
        raise RuntimeError("the shards are not the same")
    results: dict[str, float | int | str] = {"frames": frames}
    for name, each in seconds.items():
        results[f"{name}_s"] = statistics.median(each)
        results[f"{name}_each_s"] = " ".join(f"{value:.1f}" for value in each)
    one, two = (statistics.median(each) for each in seconds.values())
    results["two_nodes_to_one"] = one / two
    return results


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parts: dict[str, Callable[[int], Mapping[str, Any]]] = {
        "submit": measure_submit,
        "nodes": lambda repeats: measure_nodes(repeats, options.keep),
    }
    parser.add_argument("--parts", nargs="+", choices=parts, default=list(parts))
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--keep", type=Path, help="folder where the datasets of `nodes` stay")
    parser.add_argument("--json", type=Path, help="file for the figures")
    options = parser.parse_args()
    figures: dict[str, Any] = {}
    for part in options.parts:
        figures |= {f"{part}_{key}": v for key, v in parts[part](options.repeats).items()}
    show("cluster", figures, options.json)


if __name__ == "__main__":
    main()
