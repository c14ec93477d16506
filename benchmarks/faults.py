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

The table is written after each row. A row that could not be made says so, and the others go on; a job that
ended before it was disturbed is disturbed once more. Exit status 1 when anything was lost, more was repeated
than is promised (`benchmarks/bed/outcomes.py`), a job did not finish, or a row could not be made.
"""

import argparse
import contextlib
import json
import math
import os
import re
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from mlflow import MlflowClient

from benchmarks.bed.bed import BUCKET, Bed, cluster_bed
from benchmarks.bed.breaking import FAULTS, NothingToBreak
from benchmarks.bed.network import standing_in
from benchmarks.bed.nodes import NodeSettings
from benchmarks.bed.outcomes import TOO_LONG, Outcome, markdown, most_repeated, told
from benchmarks.bed.workload import HELD_OUT, STAGES, VIDEOS, Stage, Workload, made

WORK = Workload(
    videos=48, videos_per_shard=2, annotated=12, steps=80, checkpoint_every=10, size_px=128,
    duration_s=3.0,
)  # fmt: skip
UNDISTURBED = "undisturbed"
UNTOUCHED = "it ended before it was disturbed"
_WITHIN_S = 600.0
_LOOK_S = 0.3


def row(bed: Bed, fault: str, stage: Stage, usual: "Usual") -> Outcome:
    """Disturb a job, once more where it was over too early. What goes wrong here is told in the row."""
    outcome = Outcome(fault, stage, spoilt=UNTOUCHED)
    for prefix in (f"{fault}-{stage}", f"{fault}-{stage}-again"):
        try:
            outcome = disturbed(bed, fault, stage, prefix, usual)
        except Exception as error:  # the other rows are still to be made
            traceback.print_exc()
            why, _, _ = str(error).partition("\n")
            outcome = Outcome(fault, stage, spoilt=f"{type(error).__name__}: {why}")
        if outcome.spoilt != UNTOUCHED:
            break
    return outcome


def disturbed(bed: Bed, fault: str, stage: Stage, prefix: str, usual: "Usual") -> Outcome:
    """Run a stage with a fault in the middle."""
    bed.wait_for_nodes(1 + len(bed.workers))
    command = [*bed.submission(), *WORK.command(stage, prefix, UNDISTURBED)]
    log = bed.folder / f"{prefix}.log"
    seen = len(bed.requests())
    started_s = time.monotonic()
    process = bed.start(command, log)
    try:
        while not _has_made_something(bed, stage, prefix):
            if process.poll() is not None or time.monotonic() > started_s + _WITHIN_S:
                raise NothingToBreak
            time.sleep(_LOOK_S)
        lost_workers = FAULTS[fault](bed, stage)
    except NothingToBreak:
        _stop(bed, process, log)
        print(f"--- {prefix} [{process.returncode}]\n{log.read_text()}", flush=True)
        return Outcome(fault, stage, [process.returncode], spoilt=UNTOUCHED)
    statuses = [_status(bed, process, log)]
    if statuses[0] != 0:
        bed.wait_for_nodes(1 + len(bed.workers))
        statuses.append(_status(bed, bed.start(command, log), log))
    seconds = time.monotonic() - started_s - usual.seconds
    text = log.read_text(errors="replace")
    print(f"--- {prefix} {statuses}\n{text}", flush=True)
    return Outcome(
        fault,
        stage,
        statuses,
        lost=differences(usual.made, made(bed, stage, prefix)),
        repeated=repeated_work(bed, stage, prefix, seen, usual),
        most_repeated=most_repeated(stage, fault, WORK, lost_workers, len(statuses), text),
        seconds=round(seconds),
        told=told(text),
    )


def _status(bed: Bed, process: "subprocess.Popen[bytes]", log: Path) -> int:
    """Exit status of a submission; `TOO_LONG` when its job had to be stopped."""
    try:
        return process.wait(_WITHIN_S)
    except subprocess.TimeoutExpired:
        _stop(bed, process, log)
        return TOO_LONG


def _stop(bed: Bed, process: "subprocess.Popen[bytes]", log: Path) -> None:
    """Nothing of the submission runs afterwards."""
    running = process.poll() is None
    process.kill()
    process.wait()
    jobs = re.findall(r"^job (\S+) on ", log.read_text(errors="replace"), re.MULTILINE)
    if running and jobs:
        with contextlib.suppress(subprocess.TimeoutExpired):
            bed.huetrack("jobs", "stop", jobs[-1])


@dataclass(frozen=True)
class Usual:
    """A stage that nothing happened to."""

    made: dict[str, Any]
    reads: int
    seconds: float


def undisturbed(bed: Bed, stage: Stage) -> Usual:
    """Run a stage in peace. Raises `RuntimeError` when it fails or takes too long."""
    seen = len(bed.requests())
    log = bed.folder / f"{UNDISTURBED}-{stage}.log"
    started_s = time.monotonic()
    process = bed.start([*bed.submission(), *WORK.command(stage, UNDISTURBED)], log)
    status = _status(bed, process, log)
    if status != 0:
        raise RuntimeError(f"exit status {status}\n{log.read_text(errors='replace')}")
    seconds = time.monotonic() - started_s
    return Usual(made(bed, stage, UNDISTURBED), _reads(bed, stage, seen), seconds)


def differences(expected: dict[str, Any], found: dict[str, Any]) -> list[str]:
    """Names of what is missing, other or too much."""
    return sorted(
        name for name in expected.keys() | found.keys() if expected.get(name) != found.get(name)
    )


def repeated_work(bed: Bed, stage: Stage, prefix: str, seen: int, usual: Usual) -> int:
    """What was done more than once: shards, steps or videos."""
    if stage == "train":
        return _steps_logged_twice(bed, f"{prefix}-{stage}")
    more = max(0, _reads(bed, stage, seen) - usual.reads)
    return math.ceil(more / WORK.videos_per_shard) if stage == "preprocess" else more


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


def all_rows(bed: Bed, options: argparse.Namespace) -> list[Outcome]:
    """The rows that were asked for, written down one by one."""
    outcomes: list[Outcome] = []
    needed = STAGES[: 1 + max(STAGES.index(stage) for stage in options.stages)]
    usual: dict[Stage, Usual] = {}
    for stage in needed:
        try:
            usual[stage] = undisturbed(bed, stage)
        except RuntimeError as error:  # later stages are made from this one
            print(error, flush=True)
            why, _, _ = str(error).partition("\n")
            outcomes.append(Outcome(UNDISTURBED, stage, spoilt=why))
            _write(options, outcomes)
            break
    for stage in options.stages:
        for fault in options.faults if stage in usual else ():
            outcomes.append(row(bed, fault, stage, usual[stage]))
            _write(options, outcomes)
    return outcomes


def _write(options: argparse.Namespace, outcomes: Sequence[Outcome]) -> None:
    table = "\n".join(markdown(outcomes))
    print(table, flush=True)
    if options.markdown:
        options.markdown.parent.mkdir(parents=True, exist_ok=True)
        options.markdown.write_text(table + "\n")
    if options.json:
        options.json.write_text(json.dumps([asdict(row) for row in outcomes], indent=1))


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
    with cluster_bed(nodes, head=NodeSettings(cpus=0)) as bed:
        WORK.upload(bed)
        outcomes = all_rows(bed, options)
    sys.exit(0 if all(outcome.good for outcome in outcomes) else 1)


if __name__ == "__main__":
    main()
