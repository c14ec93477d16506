"""Real runs of preprocessing, as records, and what the simulation says of them.

The shard seconds of one run (its markers) drive the simulation of the others, so that only handing out,
waiting and starting are put to the test, not the speed of a machine.
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
    simulated_s: float
    reference: bool
    """The others are computed from this one."""

    @property
    def ratio(self) -> float:
        """Simulated to measured."""
        return self.simulated_s / self.run.stage_s


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
    """The run with the fewest cores is the reference: of it come the shards' seconds, and the time in which
    its workers were not at shards, which is taken for the start of the stage."""
    reference = min(runs, key=lambda run: run.nodes * run.cores_per_node)
    bare_s = _simulated_s(reference, reference, rates, start_s=0.0)
    start_s = max(0.0, reference.stage_s - bare_s)
    return [
        Comparison(run, _simulated_s(run, reference, rates, start_s), run is reference)
        for run in runs
    ]


def _simulated_s(
    run: MeasuredRun, reference: MeasuredRun, rates: PreprocessRates, start_s: float
) -> float:
    if len(run.shard_s) != len(reference.shard_s):
        raise SystemExit(f"{run.name} and {reference.name} have other numbers of shards")
    cluster = Cluster(run.nodes, run.cores_per_node, start_s=start_s)
    plans = [ShardPlan(i, 0, 0, None) for i in range(len(reference.shard_s))]
    tasks = [
        Task(sum(reference.shard_s[plan.index] for plan in group))
        for group in share_out(plans, cluster.cores)
    ]
    return work_through(tasks, cluster, dispatch_s=rates.driver_s_a_task).seconds
