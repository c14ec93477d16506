"""Real runs of preprocessing, as records, and what the simulation says of them.

Shards' seconds (their markers) drive it. With those of the run itself, handing out and waiting are put to the
test; with those of the smallest run, also whether a core of many does as much as one alone.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks.simulation.pool import Cluster, Task, work_through
from benchmarks.simulation.rates import PreprocessRates
from pipelines.shard_maker import ShardPlan
from pipelines.shard_stage import share_out
from pipelines.shards import read_markers
from pipelines.storage import Location, read_json


@dataclass(frozen=True)
class MeasuredRun:
    """One preprocessing that nothing was there of before."""

    name: str
    nodes: int
    cores_per_node: int
    """Of which each had a worker."""
    stage_s: float
    """Wall clock of the stage of shards."""
    shard_s: tuple[float, ...]
    """Seconds that a worker was at each shard, in their order."""


@dataclass(frozen=True)
class Comparison:
    """A run beside its simulation."""

    run: MeasuredRun
    from_own_s: float
    """Simulated with its own shards' seconds."""
    from_reference_s: float
    """With those of the reference."""
    reference: bool


def run_of(dataset: Location, name: str, nodes: int, cores_per_node: int) -> MeasuredRun:
    """What a dataset tells of the run that made all of it."""
    summary = read_json(dataset / "summary.json")
    if summary["shards_made"] != summary["shards"]:
        raise SystemExit(f"{dataset}: was not made in one run")
    markers = read_markers(dataset / "clips")
    return MeasuredRun(
        name,
        nodes,
        cores_per_node,
        stage_s=summary["frames"] / summary["frames_per_s"],
        shard_s=tuple(markers[name].seconds for name in sorted(markers)),
    )


def add_run(run: MeasuredRun, file: Path) -> None:
    """To the file's list; a run of the same name is replaced."""
    kept = [r for r in load_runs(file) if r.name != run.name] if file.exists() else []
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps([asdict(r) for r in (*kept, run)], indent=1) + "\n")


def load_runs(file: Path) -> list[MeasuredRun]:
    records = json.loads(file.read_text())
    return [MeasuredRun(**record | {"shard_s": tuple(record["shard_s"])}) for record in records]


def compare(
    runs: Sequence[MeasuredRun],
    rates: PreprocessRates = PreprocessRates(),  # noqa: B008  # frozen
) -> list[Comparison]:
    """The run with the fewest cores is the reference. The time in which its worker was not at shards is taken
    for the start of the stage, in all runs."""
    reference = min(runs, key=lambda run: run.nodes * run.cores_per_node)
    bare_s = _simulated_s(reference, reference.shard_s, rates, start_s=0.0)
    start_s = max(0.0, reference.stage_s - bare_s)
    return [
        Comparison(
            run,
            from_own_s=_simulated_s(run, run.shard_s, rates, start_s),
            from_reference_s=_simulated_s(run, reference.shard_s, rates, start_s),
            reference=run is reference,
        )
        for run in runs
    ]


def _simulated_s(
    run: MeasuredRun, shard_s: Sequence[float], rates: PreprocessRates, start_s: float
) -> float:
    if len(run.shard_s) != len(shard_s):
        raise SystemExit(f"{run.name}: {len(run.shard_s)} shards, the reference has {len(shard_s)}")
    cluster = Cluster(run.nodes, run.cores_per_node, start_s=start_s)
    plans = [ShardPlan(i, 0, 0, None) for i in range(len(shard_s))]
    tasks = [
        Task(sum(shard_s[plan.index] for plan in group))
        for group in share_out(plans, cluster.cores)
    ]
    return work_through(tasks, cluster, dispatch_s=rates.driver_s_a_task).seconds
