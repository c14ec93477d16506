"""Checks every promise about a dataset on disk, independently of the code that wrote it."""

import itertools
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from model.errors import UserError
from pipelines.codebook import Codebook, load_codebook
from pipelines.corpus import MANIFEST_SCHEMA, Video, load_manifest, manifest_fingerprint
from pipelines.shards import (
    ERROR_SCHEMA,
    ClipFormat,
    clip_schema,
    format_of,
    read_marker,
    unpack_targets,
)
from pipelines.storage import read_json
from pipelines.targets import colour_codes

LEAST_AGREEMENT = 0.75
"""Share of cells whose stored code must be that of the stored JPEG frame, over a shard. JPEG moves
colours a little, so it is never 1 (0.9 and more on real video at quality 90)."""
CHECKED_CLIPS_PER_SHARD = 8
KNOWN = {"manifest.parquet", "codebook.json", "errors.parquet", "summary.json", "clips"}


@dataclass(frozen=True)
class ValidationReport:
    """What was found. A sound dataset has no problems."""

    problems: list[str]
    videos: int
    clips: int
    shards: int
    failed: int


def validate_dataset(
    dataset: Path, progress: Callable[[str, int, int, str], None] = lambda *_: None
) -> ValidationReport:
    """Check a dataset. Raises `UserError` when there is no dataset to check at all."""
    if not dataset.is_dir():
        raise UserError(f"{dataset}: no such dataset")
    problems: list[str] = []
    videos = _manifest(dataset, problems)
    codebook = _codebook(dataset, problems)
    clips_by_video: Counter[str] = Counter()
    clip_ids: Counter[str] = Counter()
    shards = sorted((dataset / "clips").glob("shard-*.parquet"))
    if not shards:
        problems.append("clips/: no shard")
    for done, shard in enumerate(shards, start=1):
        problems += [
            f"{shard.name}: {p}" for p in _shard(shard, codebook, clips_by_video, clip_ids)
        ]
        progress("validate", done, len(shards), f"{sum(clips_by_video.values())} clips")
    failed = _errors(dataset, videos, clips_by_video, problems)
    problems += [f"clip {c} is there {n} times" for c, n in clip_ids.items() if n > 1]
    _everything_accounted_for(videos, clips_by_video, failed, problems)
    _summary(dataset, videos, codebook, clips_by_video, failed, shards, problems)
    _strays(dataset, problems)
    return ValidationReport(
        problems, len(videos), sum(clips_by_video.values()), len(shards), len(failed)
    )


def _manifest(dataset: Path, problems: list[str]) -> list[Video]:
    path = dataset / "manifest.parquet"
    try:
        videos = load_manifest(path)
    except UserError as error:
        problems.append(str(error))
        return []
    if not pq.read_schema(path).equals(MANIFEST_SCHEMA):
        problems.append("manifest.parquet: its schema is not the promised one")
    twice = [name for name, n in Counter(v.video_id for v in videos).items() if n > 1]
    problems += [f"manifest.parquet: video {name} is there twice" for name in twice]
    problems += [
        f"manifest.parquet: split of {v.video_id} is {v.split!r}"
        for v in videos
        if v.split not in ("train", "val")
    ]
    return videos


def _codebook(dataset: Path, problems: list[str]) -> Codebook | None:
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


def _shard(
    shard: Path, codebook: Codebook | None, videos: Counter[str], clips: Counter[str]
) -> list[str]:
    problems: list[str] = []
    marker = read_marker(shard)
    if marker is None:
        problems.append("no valid commit marker")
    try:
        table = pq.read_table(shard)
        clip_format = format_of(table.schema, shard)
    except (OSError, pa.ArrowInvalid, UserError) as error:
        return [*problems, f"unreadable ({error})"]
    if marker is not None and marker.rows != table.num_rows:
        problems.append(f"{table.num_rows} rows, its marker says {marker.rows}")
    promised = clip_schema(clip_format, "")
    if not table.schema.equals(promised, check_metadata=False):
        return [*problems, "its schema is not the promised one"]
    stored = table.schema.metadata.get(b"huetrack.codebook")
    if codebook is not None and stored != codebook.fingerprint.encode():
        problems.append("made with another codebook")
    videos.update(table["video_id"].to_pylist())
    clips.update(table["clip_id"].to_pylist())
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
    dataset: Path, videos: list[Video], clips_by_video: Counter[str], problems: list[str]
) -> dict[str, str]:
    """Failed videos and the kinds of their errors."""
    path = dataset / "errors.parquet"
    try:
        table = pq.read_table(path)
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
    videos: list[Video],
    clips_by_video: Counter[str],
    failed: dict[str, str],
    problems: list[str],
) -> None:
    known = {video.video_id for video in videos}
    lost = sorted(known - clips_by_video.keys() - failed.keys())
    problems += [f"video {v}: neither clips nor an error" for v in lost]
    problems += [f"video {v}: not in the manifest" for v in sorted(clips_by_video.keys() - known)]


def _summary(
    dataset: Path,
    videos: list[Video],
    codebook: Codebook | None,
    clips_by_video: Counter[str],
    failed: dict[str, str],
    shards: list[Path],
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
        "clips": sum(clips_by_video.values()),
        "frames": sum(_frames_in(shard) for shard in shards),
        "shards": len(shards),
        "bytes": sum(shard.stat().st_size for shard in shards),
        "manifest": manifest_fingerprint(videos),
        "codebook": codebook.fingerprint if codebook else "",
    }
    problems += [
        f"summary.json: {key} is {summary.get(key)!r}, found {value!r}"
        for key, value in expected.items()
        if summary.get(key) != value
    ]


def _frames_in(shard: Path) -> int:
    try:
        schema = pq.read_schema(shard)
        return int(pq.read_metadata(shard).num_rows) * format_of(schema, shard).frames
    except (OSError, pa.ArrowInvalid, UserError):
        return 0  # reported already


def _strays(dataset: Path, problems: list[str]) -> None:
    problems += [
        f"{p.name}: does not belong to a dataset" for p in dataset.iterdir() if p.name not in KNOWN
    ]
    for path in sorted((dataset / "clips").glob("*")):
        if path.suffix == ".json" and not path.with_suffix(".parquet").exists():
            problems.append(f"clips/{path.name}: a marker without its shard")
        elif path.suffix not in (".json", ".parquet") or not path.name.startswith("shard-"):
            problems.append(f"clips/{path.name}: does not belong to a dataset")
