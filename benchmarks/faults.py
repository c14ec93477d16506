"""What clusters do to jobs, done to ours: every fault in every stage, and what became of the job.

    python -m benchmarks.faults [--faults node-killed ...] [--stages train ...] [--markdown FILE]

A head without CPUs and two nodes in network namespaces (so it needs root), with S3, and MLflow over
PostgreSQL. Nodes whose Ray ends are started again, as Kubernetes does. Each job is submitted from outside
with `huetrack submit`, and disturbed when it has made something. A job that does not finish by itself is
submitted again, once. Then its results are compared with those of an undisturbed job.

- lost: files that are missing or other than in the undisturbed job (weights, losses of every step, shards,
  manifest, labels, predictions, films).
- repeated: work that was done more than once, from the log of the S3 server (videos that worker nodes read,
  against the undisturbed job) and from MLflow (steps whose loss was logged twice).
- seconds: beyond those of the undisturbed job, from the first submission to the end of the last.

Exit status 1 when anything was lost or a job did not finish.
"""

import argparse
import json
import math
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from mlflow import MlflowClient

from benchmarks.bed.bed import BUCKET, Bed, cluster_bed
from benchmarks.bed.breaking import FAULTS
from benchmarks.bed.network import standing_in
from benchmarks.bed.nodes import NodeSettings
from benchmarks.bed.workload import HELD_OUT, STAGES, VIDEOS, Stage, Workload, made

WORK = Workload(
    videos=48, videos_per_shard=2, annotated=12, steps=80, checkpoint_every=10, size_px=128,
    duration_s=3.0,
)  # fmt: skip
UNDISTURBED = "undisturbed"
UNTOUCHED = "it ended before it was disturbed"
_WITHIN_S = 600.0
TOO_LONG = 124
_LOOK_S = 0.3


@dataclass(frozen=True)
class Outcome:
    """A row of the table."""

    fault: str
    stage: Stage
    statuses: list[int]
    """Exit statuses of the submissions; 124 when one did not end within ten minutes."""
    lost: list[str]
    repeated: str
    seconds: float
    told: str
    """The line of the log that says what happened."""

    @property
    def good(self) -> bool:
        """The job, or the one that was submitted again, finished, and nothing is lost."""
        return self.statuses[-1] == 0 and not self.lost


def disturbed(bed: Bed, fault: str, stage: Stage, usual: "Usual") -> Outcome:
    """Run a stage with a fault in the middle."""
    prefix = f"{fault}-{stage}"
    command = [*bed.submission(), *WORK.command(stage, prefix, UNDISTURBED)]
    log = bed.folder / f"{prefix}.log"
    seen = len(bed.requests())
    started_s = time.monotonic()
    process = bed.start(command, log)
    try:
        while not _has_made_something(bed, stage, prefix):
            if process.poll() is not None:
                print(f"--- {prefix} [{process.returncode}]\n{log.read_text()}", flush=True)
                return Outcome(fault, stage, [process.returncode], [UNTOUCHED], "", 0, "")
            time.sleep(_LOOK_S)
        FAULTS[fault](bed, stage)
        statuses = [process.wait(_WITHIN_S)]
    except subprocess.TimeoutExpired:
        statuses = [TOO_LONG]
    finally:
        process.kill()
    if statuses[0] != 0:
        bed.wait_for_nodes(1 + len(bed.workers))
        again = bed.submit(*WORK.command(stage, prefix, UNDISTURBED), within_s=_WITHIN_S)
        statuses.append(again.status)
        with log.open("a") as file:
            file.write(again.output)
    seconds = time.monotonic() - started_s - usual.seconds
    lost = differences(usual.made, made(bed, stage, prefix))
    repeated = repeated_work(bed, stage, prefix, seen, usual)
    text = log.read_text(errors="replace")
    print(f"--- {prefix} {statuses}\n{text}", flush=True)
    bed.wait_for_nodes(1 + len(bed.workers))
    return Outcome(fault, stage, statuses, lost, repeated, round(seconds), _told(text))


@dataclass(frozen=True)
class Usual:
    """A stage that nothing happened to."""

    made: dict[str, Any]
    reads: int
    seconds: float


def undisturbed(bed: Bed, stage: Stage) -> Usual:
    """Run a stage in peace. Raises `RuntimeError` when it fails."""
    seen = len(bed.requests())
    ended = bed.submit(*WORK.command(stage, UNDISTURBED))
    if ended.status != 0:
        raise RuntimeError(ended.output)
    return Usual(made(bed, stage, UNDISTURBED), _reads(bed, stage, seen), ended.seconds)


def differences(expected: dict[str, Any], found: dict[str, Any]) -> list[str]:
    """Names of what is missing, other or too much."""
    return sorted(
        name for name in expected.keys() | found.keys() if expected.get(name) != found.get(name)
    )


def repeated_work(bed: Bed, stage: Stage, prefix: str, seen: int, usual: Usual) -> str:
    """What was done more than once, in the stage's own unit."""
    if stage == "train":
        twice = _steps_logged_twice(bed, f"{prefix}-{stage}")
        return f"{twice} steps"
    more = max(0, _reads(bed, stage, seen) - usual.reads)
    if stage == "preprocess":
        return f"{math.ceil(more / WORK.videos_per_shard)} shards"
    return f"{more} videos"


def _reads(bed: Bed, stage: Stage, seen: int) -> int:
    """Videos that worker nodes have got from S3 since request number `seen`."""
    place = f"/{BUCKET}/{VIDEOS if stage == 'preprocess' else HELD_OUT}/"
    workers = {node.machine.address for node in bed.workers}
    return sum(
        1
        for request in bed.requests()[seen:]
        if request.method == "GET"
        and request.status.startswith("2")
        and request.client in workers
        and request.path.startswith(place)
        and request.path.endswith(".mp4")
    )


def _steps_logged_twice(bed: Bed, experiment: str) -> int:
    with standing_in(bed.network.hub):
        client = MlflowClient(bed.services.variables["MLFLOW_TRACKING_URI"])
        found = client.get_experiment_by_name(experiment)
        runs = client.search_runs([found.experiment_id]) if found else []
        steps = [
            metric.step
            for run in runs
            for metric in client.get_metric_history(run.info.run_id, "train/loss")
        ]
    return len(steps) - len(set(steps))


def _has_made_something(bed: Bed, stage: Stage, prefix: str) -> bool:
    wanted = {
        "preprocess": ("dataset/clips/", 3),
        "train": ("run/checkpoint_", 1),
        "propagate": ("out/predictions/", 1),
    }
    name, count = wanted[stage]
    with bed.s3() as client:
        listed = client.list_objects_v2(Bucket=BUCKET, Prefix=f"{prefix}/{name}")
    return int(listed["KeyCount"]) >= count


_TELLING = re.compile(
    r"lost|again|failed|answer|gave up|killed|without|No space|disk|late|not counted|interrupted"
)
_ROUTINE = re.compile(
    r"[│┌└├]|\x1b|\(raylet\)|\[?20\d\d-|(Running|Dataset|Run|Propagation) |job \S+ on |  "
    r"|\w+: \d+/\d+(?!.*again)"
)


def _told(log: str) -> str:
    """What the log says of the trouble: the first two different lines of ours that are no routine."""
    found: list[str] = []
    for line in log.splitlines():
        told = line.strip().removeprefix("huetrack: ")
        if _TELLING.search(line) and not _ROUTINE.match(line) and told not in found:
            found.append(told)
    return "; ".join(found[:2])


def markdown(outcomes: list[Outcome]) -> Iterator[str]:
    """The table of docs/reliability.md."""
    yield "| fault | stage | exit statuses | lost | repeated | seconds more | what the log says |"
    yield "|---|---|---|---|---|---|---|"
    for row in outcomes:
        statuses = ", then ".join(map(str, row.statuses))
        lost = ", ".join(row.lost) or "nothing"
        yield (
            f"| {row.fault} | {row.stage} | {statuses} | {lost} | {row.repeated} | "
            f"{row.seconds:.0f} | {row.told} |"
        )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--faults", nargs="+", choices=FAULTS, default=list(FAULTS))
    parser.add_argument("--stages", nargs="+", choices=STAGES, default=list(STAGES))
    parser.add_argument("--markdown", type=Path, help="file for the table")
    parser.add_argument("--json", type=Path, help="file for the outcomes")
    options = parser.parse_args()
    # So that the network is taken down whoever ends this.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    cores = sorted(os.sched_getaffinity(0))
    # One core each, so that PyTorch sums with one thread wherever a worker runs.
    nodes = [NodeSettings(cpus=2, cores=(core,), disk="400m") for core in (cores * 2)[:2]]
    outcomes: list[Outcome] = []
    with cluster_bed(nodes, head=NodeSettings(cpus=0)) as bed:
        WORK.upload(bed)
        usual = {stage: undisturbed(bed, stage) for stage in STAGES}
        for stage in options.stages:
            for fault in options.faults:
                outcomes.append(disturbed(bed, fault, stage, usual[stage]))
                print("\n".join(markdown(outcomes)), flush=True)
    if options.markdown:
        options.markdown.write_text("\n".join(markdown(outcomes)) + "\n")
    if options.json:
        options.json.write_text(json.dumps([asdict(row) for row in outcomes], indent=1))
    sys.exit(0 if all(row.good for row in outcomes) else 1)


if __name__ == "__main__":
    main()
