"""How far a cluster carries: the tables of docs/scaling.md, from a simulation with measured rates.

`python -m benchmarks.scaling plan [--videos 300000 10000000] [--cores 16 64 256 1024 4096] ...` simulates the
three jobs and prints hours, storage, requests to the object store, and what is busiest.
`python -m benchmarks.scaling spot` does so for rising rates of interruptions.
`python -m benchmarks.scaling add DATASET --name "two nodes" --nodes 2 --cores-per-node 1 --to FILE` takes
down a real preprocessing (from its markers), and `python -m benchmarks.scaling check FILE` sets the
simulation beside those.
"""

import argparse
import os
from collections.abc import Iterable, Sequence
from dataclasses import replace
from math import ceil
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from benchmarks.simulation.jobs import (
    StageCost,
    core_s_a_video,
    labelling,
    preprocessing,
    sampled_frames,
    training,
)
from benchmarks.simulation.measured import add_run, compare, load_runs, run_of
from benchmarks.simulation.pool import Cluster
from benchmarks.simulation.rates import (
    ArchiveRates,
    Corpus,
    ObjectStore,
    PreprocessRates,
    TrainRates,
)
from pipelines.storage import location

CORES_PER_NODE = 16
START_S = 20.0
"""From the start of a stage to a worker's first task, and of a new node until it takes one. Assumed."""
LINK_BYTES_PER_S = 10e9 / 8
REPLACEMENT_S = 180.0
"""Until another spot node is there. Assumed."""
LIFELIKE = (0.0, 0.05, 0.2, 1.0)
"""Interruptions a node and hour."""


def cluster_of(cores: int, interruptions_per_node_hour: float = 0.0) -> Cluster:
    return Cluster(
        nodes=ceil(cores / CORES_PER_NODE),
        cores_per_node=min(cores, CORES_PER_NODE),
        link_bytes_per_s=LINK_BYTES_PER_S,
        start_s=START_S,
        interruptions_per_node_hour=interruptions_per_node_hour,
        replacement_s=REPLACEMENT_S,
    )


def show_sizes(corpora: Iterable[Corpus]) -> None:
    rates, archive = PreprocessRates(), ArchiveRates()
    rows = []
    for corpus in corpora:
        frames = corpus.videos * sampled_frames(corpus, rates)
        filmed = corpus.videos * corpus.frames
        label_bytes = filmed * (
            archive.mask_bytes_a_frame
            + archive.overlay_bytes_a_frame
            + archive.prediction_bytes_a_frame
        )
        rows.append(
            [
                f"{corpus.videos:,}",
                _size(corpus.videos * corpus.bytes_a_video),
                f"{frames / 1e6:,.0f} million",
                f"{corpus.videos * core_s_a_video(corpus, rates) / 3600:,.0f}",
                _size(frames * rates.bytes_a_frame),
                f"{corpus.videos * corpus.frames * archive.core_s_a_frame / 3600:,.0f}",
                _size(label_bytes),
                _size(rates.driver_bytes + corpus.videos * rates.driver_bytes_a_video),
            ]
        )
    names = ("videos", "source", "frames at 6 fps", "core hours, preprocess", "dataset")
    _print(rows, *names, "core hours, propagate", "labels, films, predictions", "driver")


def show_preprocessing(corpora: Iterable[Corpus], cores: Sequence[int], store: ObjectStore) -> None:
    rows = []
    for corpus in corpora:
        for count in cores:
            stages = preprocessing(corpus, cluster_of(count), store)
            seconds = [stage.outcome.seconds for stage in stages]
            shards = stages[-1]
            rows.append(
                [
                    f"{corpus.videos:,}",
                    str(count),
                    *(f"{s / 3600:.2f}" for s in (*seconds, sum(seconds))),
                    *_busy(shards),
                ]
            )
    names = ("videos", "cores", "listing, h", "codebook, h", "shards, h", "all, h")
    _print(rows, *names, *_BUSY)


def show_labelling(corpora: Iterable[Corpus], cores: Sequence[int], store: ObjectStore) -> None:
    rows = []
    for corpus in corpora:
        for count in cores:
            for name, rates in (
                ("a frame", ArchiveRates()),
                ("a video", replace(ArchiveRates(), puts_a_frame=0.0)),
            ):
                stages = labelling(corpus, cluster_of(count), store, rates)
                hours = [f"{stage.outcome.seconds / 3600:,.1f}" for stage in stages]
                rows.append([f"{corpus.videos:,}", name, str(count), *hours, *_busy(stages[-1])])
    _print(rows, "videos", "a file of labels", "cores", "headers, h", "propagate, h", *_BUSY)


def show_training(gpus: Sequence[int]) -> None:
    rows = []
    for count in gpus:
        stage = training(TrainRates(), gpus=count, nodes=ceil(count / 8))
        hours = stage.outcome.seconds / 3600
        rows.append(
            [str(count), f"{hours:.1f}", f"{hours * count:.1f}", _size(stage.written_bytes)]
        )
    _print(rows, "GPUs", "hours", "GPU hours", "checkpoints written")


def show_spot(corpus: Corpus, cores: int, store: ObjectStore) -> None:
    rows: list[list[str]] = []
    for rate in LIFELIKE:
        cluster = cluster_of(cores, rate)
        trained = training(TrainRates(), gpus=8, nodes=8, interruptions_per_node_hour=rate)
        jobs = (
            ("preprocess", preprocessing(corpus, cluster, store)[-1]),
            ("train, 8 nodes of one GPU", trained),
            ("propagate", labelling(corpus, cluster, store)[-1]),
        )
        for name, stage in jobs:
            outcome = stage.outcome
            share = outcome.repeated_core_s / (outcome.core_s + outcome.repeated_core_s)
            rows.append(
                [
                    name,
                    f"{rate:g}",
                    f"{outcome.seconds / 3600:.2f}",
                    str(outcome.interruptions),
                    f"{share:.2%}",
                    f"{outcome.longest_repeat_s:.0f}",
                ]
            )
    rows.sort(key=lambda row: row[0] != "preprocess")
    rows.sort(key=lambda row: row[0].startswith("propagate"))
    names = ("job", "interruptions a node and hour", "hours", "interruptions", "work repeated")
    _print(rows, *names, "longest repeat of a core, s")


def show_check(file: Path) -> None:
    rows = [
        [
            c.run.name + (" (reference)" if c.reference else ""),
            str(c.run.nodes),
            str(c.run.cores_per_node),
            f"{c.run.stage_s:.1f}",
            *(f"{s:.1f} ({s / c.run.stage_s:.2f} x)" for s in (c.from_own_s, c.from_reference_s)),
        ]
        for c in compare(load_runs(file))
    ]
    simulated = ("simulated from its own shards, s", "from those of the reference, s")
    _print(rows, "run", "nodes", "cores a node", "measured, s", *simulated)


_BUSY = ("GET/s", "PUT/s", "busiest", "its load")


def _busy(stage: StageCost) -> list[str]:
    seconds = stage.outcome.seconds
    return [
        f"{stage.gets / seconds:,.0f}",
        f"{stage.puts / seconds:,.0f}",
        stage.busiest,
        f"{stage.outcome.busy[stage.busiest]:.0%}",
    ]


def _size(count: float) -> str:
    for unit, size in (("PB", 1e15), ("TB", 1e12), ("GB", 1e9)):
        if count >= size:
            return f"{count / size:.1f} {unit}"
    return f"{count / 1e6:.0f} MB"


def _print(rows: Iterable[Sequence[str]], *names: str) -> None:
    table = Table(*names, box=box.MARKDOWN)
    for row in rows:
        table.add_row(*row)
    Console(width=200).print(table)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True)
    for name in ("plan", "spot"):
        command = commands.add_parser(name)
        many: dict[str, Any] = {"nargs": "+"} if name == "plan" else {}
        sizes = [300_000, 10_000_000] if many else 300_000
        command.add_argument("--videos", type=int, default=sizes, **many)
        command.add_argument(
            "--cores", type=int, default=[16, 64, 256, 1024, 4096] if many else 256, **many
        )
        command.add_argument("--duration-s", type=float, default=Corpus.duration_s)
        command.add_argument("--fps-hz", type=float, default=Corpus.fps_hz, help="as filmed")
        command.add_argument("--megapixels", type=float, default=Corpus.megapixels, help="a frame")
        command.add_argument("--mb-a-video", type=float, default=Corpus.bytes_a_video / 1e6)
        command.add_argument("--prefixes", type=int, default=1, help="of the bucket, used evenly")
    add = commands.add_parser("add")
    add.add_argument("dataset", type=location)
    add.add_argument("--name", required=True)
    add.add_argument("--nodes", type=int, default=1)
    add.add_argument("--cores-per-node", type=int, default=os.cpu_count())
    add.add_argument("--to", type=Path, required=True)
    commands.add_parser("check").add_argument("runs", type=Path)
    options = parser.parse_args(arguments)
    if options.command == "add":
        add_run(
            run_of(options.dataset, options.name, options.nodes, options.cores_per_node), options.to
        )
        return
    if options.command == "check":
        show_check(options.runs)
        return

    def corpus(videos: int) -> Corpus:
        sizes = (options.duration_s, options.fps_hz, options.megapixels, options.mb_a_video * 1e6)
        return Corpus(videos, *sizes)

    store = ObjectStore(prefixes=options.prefixes)
    if options.command == "spot":
        show_spot(corpus(options.videos), options.cores, store)
        return
    corpora = [corpus(videos) for videos in options.videos]
    show_sizes(corpora)
    show_preprocessing(corpora, options.cores, store)
    show_labelling(corpora, options.cores, store)
    show_training([1, 8, 32])


if __name__ == "__main__":
    main()
