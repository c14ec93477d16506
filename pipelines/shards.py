"""The Parquet contract of `clips/`: schema, writing, commit markers, reading.

A shard is the unit of commit and of resume. Its content depends on the manifest and the configuration
alone. It is written under a temporary name, renamed, and only then gets its marker
`shard-NNNNN.json`; a shard without a valid marker does not count.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from model.errors import UserError
from pipelines.storage import AnyLocation, Location, files_in, read_all, size_bytes, write_json
from pipelines.targets import CELL_PX, unpack_one_hot

ROW_GROUP_CLIPS = 64
BIT_ORDER = "big"


@dataclass(frozen=True)
class ClipFormat:
    """Shape of a clip as stored."""

    frames: int = 4
    """Frames in a clip: the references and the target (paper: 3 + 1)."""
    size_px: int = 256
    """Side of the frames."""
    clusters: int = 16
    """Colour codes."""

    @property
    def target_shape(self) -> tuple[int, int, int, int]:
        """(T, K, h, w) of the one-hot target."""
        cells = self.size_px // CELL_PX
        return (self.frames, self.clusters, cells, cells)

    @property
    def target_bytes(self) -> int:
        return int(np.prod(self.target_shape)) // 8


@dataclass(frozen=True)
class Clip:
    """A row of a shard."""

    clip_id: str
    video_id: str
    timestamps_s: list[float]
    frames: list[bytes]
    """JPEG, RGB."""
    target: bytes
    """One-hot [T, K, h, w], eight cells a byte."""


@dataclass(frozen=True)
class VideoError:
    """A row of `errors.parquet`."""

    video_id: str
    uri: str
    kind: str
    message: str
    attempts: int


ERROR_SCHEMA = pa.schema(
    [
        ("video_id", pa.string()),
        ("uri", pa.string()),
        ("kind", pa.string()),
        ("message", pa.string()),
        ("attempts", pa.int32()),
    ]
)


@dataclass(frozen=True)
class Marker:
    """`shard-NNNNN.json`: the shard is complete."""

    shard: str
    rows: int
    bytes: int
    frames: int
    videos: int
    seconds: float
    errors: dict[str, int]
    error_rows: list[VideoError]
    fingerprint: str
    peak_rss_mb: int


def clip_schema(clip_format: ClipFormat, codebook_fingerprint: str) -> pa.Schema:
    """Arrow schema of a shard; shape and bit order of the target stand in its metadata."""
    metadata = {
        "huetrack.target_shape": ",".join(map(str, clip_format.target_shape)),
        "huetrack.target_axes": "frame,cluster,row,column",
        "huetrack.target_bit_order": BIT_ORDER,
        "huetrack.frame_size_px": str(clip_format.size_px),
        "huetrack.codebook": codebook_fingerprint,
    }
    fields = [
        pa.field("clip_id", pa.string(), nullable=False),
        pa.field("video_id", pa.string(), nullable=False),
        pa.field("timestamps_s", pa.list_(pa.float64()), nullable=False),
        pa.field("frames", pa.list_(pa.binary()), nullable=False),
        pa.field("target", pa.binary(clip_format.target_bytes), nullable=False),
    ]
    return pa.schema(fields, metadata=metadata)


def format_of(schema: pa.Schema, source: Location) -> ClipFormat:
    """Clip format that a shard's metadata records. `UserError` when it is not one of our shards."""
    metadata = schema.metadata or {}
    try:
        frames, clusters, rows, _ = map(int, metadata[b"huetrack.target_shape"].split(b","))
        return ClipFormat(frames, rows * CELL_PX, clusters)
    except (KeyError, ValueError) as error:
        raise UserError(f"{source}: not a shard of clips ({error})") from error


def shard_name(index: int) -> str:
    return f"shard-{index:05d}.parquet"


def marker_path(shard: AnyLocation) -> AnyLocation:
    return shard.with_suffix(".json")


class ShardWriter:
    """Streams clips into a Parquet file, one row group at a time, so memory stays bounded."""

    def __init__(self, path: Path, schema: pa.Schema) -> None:
        self._schema = schema
        # Frames are JPEG already; targets are mostly zero bits.
        compression = {name: "zstd" for name in schema.names} | {"frames.list.element": "none"}
        self._writer = pq.ParquetWriter(
            path,
            schema,
            compression=compression,
            use_dictionary=["video_id"],
            write_statistics=False,
        )
        self._waiting: list[Clip] = []
        self.rows = 0

    def add(self, clip: Clip) -> None:
        self._waiting.append(clip)
        if len(self._waiting) == ROW_GROUP_CLIPS:
            self._flush()

    @property
    def flushed_rows(self) -> int:
        """Rows that can no longer be taken back."""
        return self.rows

    @property
    def total_rows(self) -> int:
        return self.rows + len(self._waiting)

    def drop_waiting(self, keep_rows: int) -> None:
        """Take back rows after the first `keep_rows`, which must not have been flushed."""
        assert keep_rows >= self.rows
        del self._waiting[keep_rows - self.rows :]

    def _flush(self) -> None:
        rows = [asdict(clip) for clip in self._waiting]
        if rows:
            self._writer.write_table(pa.Table.from_pylist(rows, schema=self._schema))
        self.rows += len(rows)
        self._waiting.clear()

    def close(self) -> None:
        self._flush()
        self._writer.close()


def write_marker(marker: Marker, shard: Location) -> None:
    write_json(marker_path(shard), asdict(marker))


def read_marker(shard: Location) -> Marker | None:
    """The shard's marker, or None when it is missing, damaged or does not fit the file."""
    try:
        return _fitting(marker_path(shard).read_bytes(), size_bytes(shard))
    except OSError:
        return None


def read_markers(clips: AnyLocation) -> dict[str, Marker]:
    """The valid markers of a folder of shards, by the shard's file name, from one listing."""
    files = files_in(clips)
    pairs = [
        (shard, files[marker_path(shard).name])
        for name, shard in files.items()
        if name.startswith("shard-") and shard.suffix == ".parquet"
        if marker_path(shard).name in files
    ]
    contents = read_all([marker for _, marker in pairs])
    markers = {
        shard.name: _fitting(content, size_bytes(shard))
        for (shard, _), content in zip(pairs, contents, strict=True)
    }
    return {name: marker for name, marker in markers.items() if marker is not None}


def _fitting(content: bytes, shard_bytes: int) -> Marker | None:
    try:
        marker = marker_from_json(content)
    except (ValueError, KeyError, TypeError):
        return None
    return marker if marker.bytes == shard_bytes else None


def marker_to_json(marker: Marker) -> str:
    return json.dumps(asdict(marker))


def marker_from_json(content: str | bytes) -> Marker:
    """Raises `ValueError`, `KeyError` or `TypeError` for something else."""
    record: dict[str, Any] = json.loads(content)
    record["error_rows"] = [VideoError(**row) for row in record["error_rows"]]
    return Marker(**record)


def committed_shards(dataset: AnyLocation) -> dict[AnyLocation, Marker]:
    """Shards of a dataset that have a valid marker, in order, with their markers.

    Raises `UserError` when there is none.
    """
    clips = dataset / "clips"
    committed = {clips / name: marker for name, marker in read_markers(clips).items()}
    if not committed:
        raise UserError(f"{dataset}: holds no finished shard (run `huetrack preprocess`)")
    return committed


def broken_shards(
    dataset: AnyLocation, committed: Mapping[AnyLocation, Marker]
) -> list[AnyLocation]:
    """Shards that have a marker and yet are not committed: missing, or not what it describes."""
    clips = dataset / "clips"
    marked = [
        clips / f"{marker.stem}.parquet"
        for name, marker in files_in(clips).items()
        if name.startswith("shard-") and marker.suffix == ".json"
    ]
    return [shard for shard in marked if shard not in committed]


def unpack_targets(packed: Sequence[bytes] | np.ndarray, clip_format: ClipFormat) -> np.ndarray:
    """The target column as arrays: one-hot uint8 0/1 [B, T, K, h, w].

    `packed` is a sequence of B byte strings, or uint8 [B, bytes].
    """
    if not isinstance(packed, np.ndarray):
        packed = np.frombuffer(b"".join(packed), dtype=np.uint8).reshape(len(packed), -1)
    return unpack_one_hot(packed, clip_format.target_shape)
