"""What is in a dataset, for people: totals, errors, and a sample of its shards looked at closely.

The work does not grow with the dataset: shards are sampled, of each only the needed columns are read,
one row group at a time, and a video lies in one shard whole.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import av
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from model.errors import UserError
from pipelines.codebook import Codebook, load_codebook
from pipelines.s3 import StorageError
from pipelines.shards import ClipFormat, format_of, read_marker, read_markers, unpack_targets
from pipelines.storage import (
    Location,
    files_in,
    local_file,
    location,
    parquet_source,
    read_json,
)

ERROR_ROWS = 200
"""Failed videos that are listed, at most."""
_TOTALS = ("videos", "shards", "clips", "frames", "bytes")


@dataclass(frozen=True)
class InspectConfig:
    """How much is looked at."""

    shards: int = 64
    """Shards from which distributions are taken, at most."""
    clips: int = 24
    """Clips on the contact sheet, at most one more from one shard than from another."""
    sets: int = 6
    """Of these, clips that are also shown as the network sees them."""
    sources: int = 64
    """Source files whose frame rate is read, at most."""
    seed: int = 0
    """Chooses shards, clips and sources."""

    def __post_init__(self) -> None:
        if self.shards < 1 or min(self.clips, self.sets, self.sources) < 0:
            raise UserError("shards must be at least 1; clips, sets and sources at least 0")


@dataclass(frozen=True)
class ShownClip:
    """A clip to look at."""

    clip_id: str
    video_id: str
    timestamps_s: tuple[float, ...]
    frames: tuple[bytes, ...]
    """JPEG, RGB."""
    codes_Thw: np.ndarray
    """Cluster of each cell, uint8."""


@dataclass(frozen=True)
class FailedVideo:
    """A row of `errors.parquet`, as far as it is shown."""

    video_id: str
    kind: str
    message: str


@dataclass
class ShardSample:
    """What the sampled shards hold."""

    available: int
    """Committed shards that could have been chosen, as their names tell."""
    shards: int = 0
    clips: int = 0
    code_counts_K: np.ndarray | None = None
    """Cells of each cluster."""
    clips_of: Counter[str] = field(default_factory=Counter)
    """Clips by video."""
    durations_s: dict[str, float] = field(default_factory=dict)
    """By video, from its first frame to the last one in a clip."""
    shown: list[ShownClip] = field(default_factory=list)


@dataclass(frozen=True)
class SourceRates:
    """Mean frame rates that source files report about themselves."""

    tried: int
    rates_hz: tuple[float, ...]
    """Of those that are still there and readable."""


@dataclass(frozen=True)
class Inspection:
    """Everything that the page shows."""

    dataset: str
    complete: bool
    totals: dict[str, int]
    """Videos, shards, clips, frames, bytes. Of an incomplete dataset, what is committed."""
    codebook: Codebook | None
    sample: ShardSample
    sources: SourceRates
    errors: dict[str, int]
    """Failed videos by kind, the most frequent first."""
    error_rows: tuple[FailedVideo, ...]
    config: dict[str, Any]
    versions: dict[str, str]


def inspect_dataset(dataset: Location, config: InspectConfig) -> Inspection:
    """Look at a dataset, finished or not.

    Raises `UserError` when the folder holds no dataset or a file of it is damaged.
    """
    if not dataset.is_dir():
        raise UserError(f"{dataset}: no such dataset")
    summary = read_json(dataset / "summary.json")
    if not isinstance(summary, dict) or not {"state", "config", "versions"} <= summary.keys():
        raise UserError(f"{dataset / 'summary.json'}: not the summary of a dataset")
    complete = summary["state"] == "complete"
    totals: Counter[str] = Counter({name: int(summary.get(name, 0)) for name in _TOTALS})
    failed: list[FailedVideo] = []
    errors: Counter[str] = Counter()
    files = files_in(dataset / "clips").items()
    shards = [
        file for name, file in files if name.startswith("shard-") and name.endswith(".parquet")
    ]
    if not complete:
        for marker in read_markers(dataset / "clips").values():
            totals.update(shards=1, clips=marker.rows, frames=marker.frames, bytes=marker.bytes)
            errors.update(marker.errors)
            failed += [FailedVideo(e.video_id, e.kind, e.message) for e in marker.error_rows]
            del failed[ERROR_ROWS:]
    if (dataset / "errors.parquet").exists():
        errors, failed = _errors(dataset / "errors.parquet")
    sample = sample_shards(shards, config)
    codebook = dataset / "codebook.json"
    return Inspection(
        dataset=(dataset.resolve() if isinstance(dataset, Path) else dataset).name,
        complete=complete,
        totals=dict(totals),
        codebook=load_codebook(codebook) if codebook.exists() else None,
        sample=sample,
        sources=_source_rates(dataset / "manifest.parquet", list(sample.clips_of), config),
        errors=dict(errors.most_common()),
        error_rows=tuple(failed),
        config=summary["config"],
        versions=summary["versions"],
    )


def _errors(path: Location) -> tuple[Counter[str], list[FailedVideo]]:
    """Kinds with their counts, and the first rows."""
    try:
        kinds = pc.value_counts(
            pq.read_table(parquet_source(path), columns=["kind"])["kind"]
        ).to_pylist()
        columns = ["video_id", "kind", "message"]
        first = next(
            pq.ParquetFile(parquet_source(path)).iter_batches(ERROR_ROWS, columns=columns), None
        )
    except (OSError, pa.ArrowException, KeyError) as error:
        raise UserError(f"{path}: not a list of errors ({error})") from error
    rows = [] if first is None else first.to_pylist()
    counts = Counter({row["values"]: row["counts"] for row in kinds})
    return counts, [FailedVideo(**row) for row in rows]


def sample_shards(shards: Sequence[Location], config: InspectConfig) -> ShardSample:
    """Read some of the shards; those without a valid marker are passed over.

    Raises `UserError` naming a shard that cannot be read.
    """
    random = np.random.default_rng(config.seed)
    count = min(config.shards, len(shards))
    indices = sorted(random.choice(len(shards), count, replace=False)) if count else []
    chosen = [shards[i] for i in indices if read_marker(shards[i]) is not None]
    sample = ShardSample(available=len(shards))
    try:
        orders = []
        for path in chosen:
            video_ids = pq.read_table(parquet_source(path), columns=["video_id"])[
                "video_id"
            ].to_pylist()
            orders.append(_shuffled(video_ids, random))
        wanted = _choose_clips(orders, config.clips, random)
        for path, rows in zip(chosen, wanted, strict=True):
            _add_shard(sample, path, rows)
    except (OSError, pa.ArrowException, KeyError) as error:
        raise UserError(f"{path}: not a shard of clips ({error})") from error
    return sample


def _shuffled(video_ids: list[str], random: np.random.Generator) -> list[int]:
    """The rows of a shard in random order, but every video once before any comes again."""
    seen: Counter[str] = Counter()
    turns: list[tuple[int, int]] = []
    for row in random.permutation(len(video_ids)).tolist():
        turns.append((seen[video_ids[row]], row))
        seen[video_ids[row]] += 1
    return [row for _, row in sorted(turns, key=lambda turn: turn[0])]


def _choose_clips(
    orders: list[list[int]], count: int, random: np.random.Generator
) -> list[set[int]]:
    """The first rows of each shard's order, `count` in all, dealt out one shard after the other."""
    chosen: list[set[int]] = [set() for _ in orders]
    left = min(count, sum(map(len, orders)))
    for turn in range(max(map(len, orders), default=0)):
        for shard in random.permutation(len(orders)):
            if left and turn < len(orders[shard]):
                chosen[shard].add(orders[shard][turn])
                left -= 1
    return chosen


def _add_shard(sample: ShardSample, path: Location, shown_rows: set[int]) -> None:
    with pq.ParquetFile(parquet_source(path)) as file:
        clip_format = format_of(file.schema_arrow, path)
        if sample.code_counts_K is None:
            sample.code_counts_K = np.zeros(clip_format.clusters, dtype=np.int64)
        sample.shards += 1
        first_row = 0
        for group in range(file.num_row_groups):
            here = {row - first_row for row in shown_rows if row >= first_row}
            columns = ["clip_id", "video_id", "timestamps_s", "target"]
            table = file.read_row_group(group, columns=columns)
            one_hot = unpack_targets(table["target"].to_pylist(), clip_format)
            sample.code_counts_K += one_hot.sum(axis=(0, 1, 3, 4), dtype=np.int64)
            for video_id, times in zip(
                table["video_id"].to_pylist(), table["timestamps_s"].to_pylist(), strict=True
            ):
                sample.clips_of[video_id] += 1
                sample.durations_s[video_id] = max(sample.durations_s.get(video_id, 0), times[-1])
            here = {row for row in here if row < table.num_rows}
            if here:
                frames = file.read_row_group(group, columns=["frames"])["frames"]
                for row in sorted(here):
                    record = table.slice(row, 1).to_pylist()[0]
                    sample.shown.append(_shown(record, frames[row].as_py(), clip_format))
            first_row += table.num_rows
        sample.clips += first_row


def _shown(record: dict[str, Any], frames: list[bytes], clip_format: ClipFormat) -> ShownClip:
    one_hot_TKhw = unpack_targets([record["target"]], clip_format)[0]
    return ShownClip(
        record["clip_id"],
        record["video_id"],
        tuple(record["timestamps_s"]),
        tuple(frames),
        one_hot_TKhw.argmax(axis=1).astype(np.uint8),
    )


def _source_rates(manifest: Location, video_ids: list[str], config: InspectConfig) -> SourceRates:
    """Frame rates of the sources of some of these videos."""
    random = np.random.default_rng(config.seed)
    count = min(config.sources, len(video_ids))
    if not count:
        return SourceRates(0, ())
    chosen = [video_ids[i] for i in random.choice(len(video_ids), count, replace=False)]
    filters = [("video_id", "in", chosen)]
    table = pq.read_table(parquet_source(manifest), columns=["uri"], filters=filters)
    rates = (_rate_hz(uri) for uri in table["uri"].to_pylist())
    return SourceRates(len(table), tuple(rate for rate in rates if rate is not None))


def _rate_hz(uri: str) -> float | None:
    """None for a source that is gone, damaged or inside an archive."""
    try:
        with local_file(location(uri)) as path, av.open(f"file:{path}") as container:
            rate = container.streams.video[0].average_rate
    except (av.error.FFmpegError, OSError, IndexError, UserError, StorageError):
        return None
    return float(rate) if rate else None
