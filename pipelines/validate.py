"""Checks every promise about a dataset on disk, independently of the code that wrote it."""

import itertools
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from model.errors import UserError
from pipelines.codebook import Codebook, load_codebook
from pipelines.folder_lock import LOCK_FILE
from pipelines.kinetics import count_notes
from pipelines.manifest import MANIFEST_SCHEMA, Video, load_manifest, manifest_fingerprint
from pipelines.shards import (
    ERROR_SCHEMA,
    ClipFormat,
    clip_schema,
    format_of,
    read_marker,
    unpack_targets,
)
from pipelines.storage import Location, files_in, parquet_source, read_json, size_bytes
from pipelines.targets import colour_codes

LEAST_AGREEMENT = 0.75
"""Share of cells whose stored code must be that of the stored JPEG frame, over a shard. JPEG moves
colours a little, so it is never 1 (0.9 and more on real video at quality 90)."""
CHECKED_CLIPS_PER_SHARD = 8
KNOWN = {
    LOCK_FILE,
    "archives.parquet",
    "sources.parquet",
    "manifest.parquet",
    "codebook.json",
    "errors.parquet",
    "summary.json",
    "clips",
    "report",
}


@dataclass(frozen=True)
class ValidationReport:
    """What was found. A sound dataset has no problems."""

    problems: list[str]
    videos: int
    clips: int
    shards: int
    failed: int


@dataclass
class _Contents:
    """What lies in the shards that can be read."""

    clips_by_video: Counter[str] = field(default_factory=Counter)
    clip_ids: Counter[str] = field(default_factory=Counter)
    frames: int = 0


def validate_dataset(
    dataset: Location, progress: Callable[[str, int, int, str], None] = lambda *_: None
) -> ValidationReport:
    """Check a dataset. Raises `UserError` when there is no dataset to check at all."""
    if not dataset.is_dir():
        raise UserError(f"{dataset}: no such dataset")
    problems: list[str] = []
    videos = _manifest(dataset, problems)
    codebook = _codebook(dataset, problems)
    found = _Contents()
    clips_by_video = found.clips_by_video
    files = files_in(dataset / "clips")
    shards = [
        file
        for name, file in files.items()
        if name.startswith("shard-") and file.suffix == ".parquet"
    ]
    if not shards:
        problems.append("clips/: no shard")
    for done, shard in enumerate(shards, start=1):
        problems += [f"{shard.name}: {p}" for p in _shard(shard, codebook, found)]
        progress("validate", done, len(shards), f"{sum(clips_by_video.values())} clips")
    failed = _errors(dataset, videos, clips_by_video, problems)
    problems += [f"clip {c} is there {n} times" for c, n in found.clip_ids.items() if n > 1]
    _everything_accounted_for(videos, clips_by_video, failed, problems)
    _summary(dataset, videos, codebook, found, failed, shards, problems)
    _strays(dataset, files, problems)
    return ValidationReport(
        problems, len(videos), sum(clips_by_video.values()), len(shards), len(failed)
    )


def _manifest(dataset: Location, problems: list[str]) -> Sequence[Video]:
    path = dataset / "manifest.parquet"
    try:
        videos = load_manifest(path)
    except UserError as error:
        problems.append(str(error))
        return []
    if not pq.read_schema(parquet_source(path)).equals(MANIFEST_SCHEMA):
        problems.append("manifest.parquet: its schema is not the promised one")
    twice = [name for name, n in Counter(v.video_id for v in videos).items() if n > 1]
    problems += [f"manifest.parquet: video {name} is there twice" for name in twice]
    problems += [
        f"manifest.parquet: split of {v.video_id} is {v.split!r}"
        for v in videos
        if v.split not in ("train", "val")
    ]
    return videos


def _codebook(dataset: Location, problems: list[str]) -> Codebook | None:
    try:
        codebook = load_codebook(dataset / "codebook.json")
    except UserError as error:
        problems.append(str(error))
        return None
    centroids = codebook.centroids_K2
    if not np.isfinite(centroids).all() or np.abs(centroids).max() > 128:
        problems.append("codebook.json: a centroid lies outside the ab plane")
    if len(np.unique(centroids, axis=0)) != len(centroids):
        problems.append("codebook.json: two centroids are equal")
    return codebook


def _shard(shard: Location, codebook: Codebook | None, found: _Contents) -> list[str]:
    problems: list[str] = []
    marker = read_marker(shard)
    if marker is None:
        problems.append("no valid commit marker")
    try:
        table = pq.read_table(parquet_source(shard))
        clip_format = format_of(table.schema, shard)
    except (OSError, pa.ArrowInvalid, UserError) as error:
        return [*problems, f"unreadable ({error})"]
    found.frames += table.num_rows * clip_format.frames
    if marker is not None and marker.rows != table.num_rows:
        problems.append(f"{table.num_rows} rows, its marker says {marker.rows}")
    promised = clip_schema(clip_format, "")
    if not table.schema.equals(promised, check_metadata=False):
        return [*problems, "its schema is not the promised one"]
    stored = table.schema.metadata.get(b"huetrack.codebook")
    if codebook is not None and stored != codebook.fingerprint.encode():
        problems.append("made with another codebook")
    found.clips_by_video.update(table["video_id"].to_pylist())
    found.clip_ids.update(table["clip_id"].to_pylist())
    problems += _times(table, clip_format)
    problems += _targets(table, clip_format)
    if codebook is not None and table.num_rows:
        problems += _frames(table, clip_format, codebook)
    return problems


def _times(table: pa.Table, clip_format: ClipFormat) -> list[str]:
    problems: list[str] = []
    last_of: dict[str, float] = {}
    for clip_id, video_id, times, frames in zip(
        *(table[c].to_pylist() for c in ("clip_id", "video_id", "timestamps_s", "frames")),
        strict=True,
    ):
        if len(times) != clip_format.frames or len(frames) != clip_format.frames:
            problems.append(f"clip {clip_id}: not {clip_format.frames} frames")
            continue
        ordered = [last_of.get(video_id, -1.0), *times]
        if any(b <= a for a, b in itertools.pairwise(ordered)):
            problems.append(f"clip {clip_id}: timestamps do not increase")
        last_of[video_id] = times[-1]
    return problems


def _targets(table: pa.Table, clip_format: ClipFormat) -> list[str]:
    problems: list[str] = []
    for batch in table.select(["clip_id", "target"]).to_batches(max_chunksize=64):
        one_hot = unpack_targets(batch["target"].to_pylist(), clip_format)
        sound = (one_hot.sum(axis=2) == 1).all(axis=(1, 2, 3))
        ids = batch["clip_id"].to_pylist()
        problems += [f"clip {ids[i]}: target is not one-hot" for i in np.flatnonzero(~sound)]
    return problems


def _frames(table: pa.Table, clip_format: ClipFormat, codebook: Codebook) -> list[str]:
    """Decode some clips of the shard and compare their colours with the stored targets."""
    problems: list[str] = []
    rows = np.unique(np.linspace(0, table.num_rows - 1, CHECKED_CLIPS_PER_SHARD).astype(int))
    agreements: list[float] = []
    for row in table.take(rows).to_pylist():
        stored = unpack_targets([row["target"]], clip_format)[0].argmax(axis=1)
        for jpeg, codes in zip(row["frames"], stored, strict=False):  # lengths: see _times
            image = cv2.imdecode(np.frombuffer(jpeg, dtype=np.uint8), cv2.IMREAD_COLOR)
            if image is None or image.shape != (clip_format.size_px, clip_format.size_px, 3):
                size = clip_format.size_px
                problems.append(f"clip {row['clip_id']}: a frame is not a {size}x{size} JPEG")
                continue
            rgb = np.ascontiguousarray(image[..., ::-1])
            agreements.append(float((colour_codes(rgb, codebook.centroids_K2) == codes).mean()))
    if agreements and np.mean(agreements) < LEAST_AGREEMENT:
        problems.append(
            f"targets agree with the frames in only {np.mean(agreements):.2f} of the cells"
        )
    return problems


def _errors(
    dataset: Location, videos: Sequence[Video], clips_by_video: Counter[str], problems: list[str]
) -> dict[str, str]:
    """Failed videos and the kinds of their errors."""
    path = dataset / "errors.parquet"
    try:
        table = pq.read_table(parquet_source(path))
    except (OSError, pa.ArrowInvalid) as error:
        problems.append(f"errors.parquet: unreadable ({error})")
        return {}
    if not table.schema.equals(ERROR_SCHEMA):
        problems.append("errors.parquet: its schema is not the promised one")
        return {}
    failed = table["video_id"].to_pylist()
    known = {video.video_id for video in videos}
    problems += [f"errors.parquet: {v} is not in the manifest" for v in set(failed) - known]
    problems += [f"errors.parquet: {v} has clips as well" for v in failed if clips_by_video[v]]
    problems += [f"errors.parquet: {v} is there twice" for v, n in Counter(failed).items() if n > 1]
    return dict(zip(failed, table["kind"].to_pylist(), strict=True))


def _everything_accounted_for(
    videos: Sequence[Video],
    clips_by_video: Counter[str],
    failed: dict[str, str],
    problems: list[str],
) -> None:
    known = {video.video_id for video in videos}
    lost = sorted(known - clips_by_video.keys() - failed.keys())
    problems += [f"video {v}: neither clips nor an error" for v in lost]
    problems += [f"video {v}: not in the manifest" for v in sorted(clips_by_video.keys() - known)]


def _summary(
    dataset: Location,
    videos: Sequence[Video],
    codebook: Codebook | None,
    found: _Contents,
    failed: dict[str, str],
    shards: Sequence[Location],
    problems: list[str],
) -> None:
    try:
        summary = read_json(dataset / "summary.json")
    except UserError as error:
        problems.append(str(error))
        return
    if not isinstance(summary, dict):
        problems.append("summary.json: is not a JSON object")
        return
    expected = {
        "state": "complete",
        "videos": len(videos),
        "videos_failed": len(failed),
        "errors": dict(sorted(Counter(failed.values()).items())),
        "clips": found.clips_by_video.total(),
        "frames": found.frames,
        "shards": len(shards),
        "bytes": sum(size_bytes(shard) for shard in shards),
        "manifest": manifest_fingerprint(videos),
        "codebook": codebook.fingerprint if codebook else "",
        "sources": count_notes(dataset / "sources.parquet"),
    }
    problems += [
        f"summary.json: {key} is {summary.get(key)!r}, found {value!r}"
        for key, value in expected.items()
        if summary.get(key) != value
    ]


def _strays(dataset: Location, clips: Mapping[str, Location], problems: list[str]) -> None:
    problems += [
        f"{p.name}: does not belong to a dataset" for p in dataset.iterdir() if p.name not in KNOWN
    ]
    for path in clips.values():
        if path.suffix == ".json" and path.with_suffix(".parquet").name not in clips:
            problems.append(f"clips/{path.name}: a marker without its shard")
        elif path.suffix not in (".json", ".parquet") or not path.name.startswith("shard-"):
            problems.append(f"clips/{path.name}: does not belong to a dataset")
