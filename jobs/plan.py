"""`huetrack preprocess --plan`: the expected hours, bytes and memory, printed and as JSON."""

import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from rich.console import Console
from rich.filesize import decimal
from rich.table import Table

from jobs.cluster import connected_ray
from jobs.console import ProgressDisplay
from pipelines.dataset_folder import PreprocessConfig
from pipelines.manifest import Video
from pipelines.sizing import CONFIDENCE, Estimate, SizingPlan, measure_sample, plan_corpus
from pipelines.storage import write_json

SMALLEST_SAMPLE = 20
LARGEST_SAMPLE = 256
VIDEOS_A_WORKER = 4
"""So that all workers are busy most of the time, as they will be in the real run."""
_TIME_UNITS = (("h", 1.0), ("min", 1 / 60), ("s", 1 / 3600))
"""With their length in hours."""


def plan(
    videos: Sequence[Video],
    config: PreprocessConfig,
    *,
    workers: int,
    cores: int,
    sample_videos: int | None,
    json_file: Path | None,
) -> SizingPlan:
    """Measure a sample with `workers` workers here, and print what the corpus takes on `cores`."""
    if sample_videos is None:
        sample_videos = min(max(SMALLEST_SAMPLE, VIDEOS_A_WORKER * workers), LARGEST_SAMPLE)
    sample_videos = min(sample_videos, len(videos))
    workers = min(workers, sample_videos)
    with connected_ray(workers), ProgressDisplay() as progress:
        sample = measure_sample(
            videos, config, count=sample_videos, workers=workers, progress=progress
        )
    result = plan_corpus(
        videos,
        sample,
        cores=cores,
        videos_per_shard=config.shards.videos_per_shard,
        seed=config.corpus.seed,
    )
    Console(width=None if sys.stdout.isatty() else 120).print(_table(result))
    if json_file is not None:
        write_json(json_file, asdict(result))
    return result


def _table(result: SizingPlan) -> Table:
    table = Table(
        title=f"{result.videos} videos on {result.cores} cores, from a sample of "
        f"{result.sampled_videos}",
        title_justify="left",
    )
    table.add_column("")
    table.add_column("expected", justify="right")
    table.add_column(f"{CONFIDENCE:.0%} of the time", justify="right")

    def row(name: str, estimate: Estimate, unit: str = "", form: str = ",.0f") -> None:
        low, high = f"{estimate.low:{form}}", f"{estimate.high:{form}}"
        table.add_row(name, f"{estimate.expected:{form}}{unit}", f"{low} to {high}{unit}")

    unit, hours = next(u for u in _TIME_UNITS if result.hours.expected >= u[1] or u[0] == "s")
    row("time", result.hours.scaled(1 / hours), f" {unit}", ",.1f")
    size = result.dataset_bytes
    table.add_row(
        "dataset",
        decimal(round(size.expected)),
        f"{decimal(round(size.low))} to {decimal(round(size.high))}",
    )
    row("frames", result.frames)
    row("frames/s a core", result.frames_per_s_a_core)
    row("failed videos", result.failed_share.scaled(100), " %", ".1f")
    table.add_row("memory", decimal(result.memory_bytes), "")
    table.add_row("  of a worker", decimal(result.worker_memory_bytes), "")
    table.add_row("source videos", decimal(result.source_bytes), "")
    if result.errors:
        kinds = ", ".join(f"{kind} {count}" for kind, count in result.errors.items())
        table.caption = f"failed in the sample: {kinds}"
        table.caption_justify = "left"
    return table
