"""The manifest: a row for every video of a dataset, in the order in which shards are cut."""

import hashlib
import json
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, islice
from pathlib import PurePosixPath
from typing import Any, overload

import pyarrow as pa
import pyarrow.parquet as pq

from model.errors import UserError
from pipelines.columns import rows_of, table_of
from pipelines.storage import Location, open_binary, parquet_source, write_table
from pipelines.tar_members import split_tar_uri

MANIFEST_SCHEMA = pa.schema(
    [
        ("video_id", pa.string()),
        ("uri", pa.string()),
        ("bytes", pa.int64()),
        ("etag", pa.string()),
        ("label", pa.string()),
        ("split", pa.string()),
        ("modified_ns", pa.int64()),
        ("refused_kind", pa.string()),
        ("refused_message", pa.string()),
    ]
)
_CONTENT = ["uri", "video_id", "bytes", "etag", "label", "split"]
_ROWS_A_DIGEST = 4096
_ROWS_A_GROUP = 4096
"""Of Parquet: a worker that makes shards holds so many."""


@dataclass(frozen=True, slots=True)
class Video:
    """A row of the manifest."""

    video_id: str
    uri: str
    """Absolute path, `s3://BUCKET/KEY`, or `tar://MEMBER::` before either of an archive."""
    bytes: int
    etag: str
    """Digest of the size and of the file's first and last 64 KiB; for an object that of S3's listing."""
    label: str | None
    split: str
    """"train" or "val"."""
    modified_ns: int = 0
    """When the file, or the archive, was changed last. Spares a rerun from reading it again."""
    refused_kind: str | None = None
    """Why it is not read at all, as in `errors.parquet`."""
    refused_message: str | None = None

    @property
    def archive(self) -> str | None:
        """Path of the archive that holds the video."""
        return archive_of(self.uri)


def archive_of(uri: str) -> str | None:
    """Path of the archive that a uri of the manifest points into."""
    parts = split_tar_uri(uri)
    return None if parts is None else parts[1]


class Manifest(Sequence[Video]):
    """The rows as an Arrow table, which takes a tenth of the memory of a list of `Video`."""

    def __init__(self, table: pa.Table) -> None:
        self.table = table

    @classmethod
    def of(cls, videos: Iterable[Video]) -> "Manifest":
        if isinstance(videos, Manifest):
            return videos
        return cls(table_of(videos, MANIFEST_SCHEMA))

    def __len__(self) -> int:
        return int(self.table.num_rows)

    def __iter__(self) -> Iterator[Video]:
        return (Video(*row) for row in rows_of(self.table))

    @overload
    def __getitem__(self, index: int) -> Video: ...

    @overload
    def __getitem__(self, index: slice) -> "Manifest": ...

    def __getitem__(self, index: int | slice) -> "Video | Manifest":
        rows = range(len(self))[index]
        if isinstance(rows, int):
            return next(iter(Manifest(self.table.slice(rows, 1))))
        if rows.step == 1:
            return Manifest(self.table.slice(rows.start, len(rows)))
        return Manifest(self.table.take(list(rows)))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and bool(self.table.equals(Manifest.of(other).table))


def save_manifest(videos: Iterable[Video], path: Location) -> None:
    """Write `manifest.parquet`."""
    write_table(path, Manifest.of(videos).table, row_group_size=_ROWS_A_GROUP)


def load_manifest(path: Location) -> Manifest:
    """Read `manifest.parquet`. Raises `UserError` when it is missing or is not one."""
    try:
        table = pq.read_table(parquet_source(path)).select(MANIFEST_SCHEMA.names)
        return Manifest(table.cast(MANIFEST_SCHEMA))
    except FileNotFoundError:
        raise UserError(f"{path}: no such manifest (run `huetrack preprocess`)") from None
    except (pa.ArrowInvalid, KeyError) as error:
        raise UserError(f"{path}: not a manifest ({error})") from error


class ManifestFile:
    """Parts of `manifest.parquet`, for who needs a few rows at a time and those mostly in order."""

    def __init__(self, path: Location) -> None:
        self._file = pq.ParquetFile(open_binary(path))
        metadata = self._file.metadata
        sizes = (metadata.row_group(group).num_rows for group in range(metadata.num_row_groups))
        self._starts = [0, *accumulate(sizes)]
        self._groups = range(0)
        self._read = Manifest.of(())

    def videos(self, start: int, stop: int) -> Manifest:
        """The rows from `start` to before `stop`, of which there is one at least."""
        groups = range(bisect_right(self._starts, start) - 1, bisect_left(self._starts, stop))
        if groups != self._groups:
            table = self._file.read_row_groups(list(groups))
            self._read = Manifest(table.select(MANIFEST_SCHEMA.names))
            self._groups = groups
        first = self._starts[groups.start]
        return self._read[start - first : stop - first]


def manifest_fingerprint(videos: Iterable[Video]) -> str:
    """Digest of what is to be decoded; it does not change when the corpus moves elsewhere."""
    digest = hashlib.sha256()
    rest = map(_content, rows_of(Manifest.of(videos).table.select(_CONTENT)))
    while batch := list(islice(rest, _ROWS_A_DIGEST)):
        digest.update(json.dumps(batch, ensure_ascii=False).encode())
    return digest.hexdigest()[:16]


def compare_manifests(before: Iterable[Video], now: Iterable[Video]) -> tuple[int, int, int]:
    """How many videos were added, removed and changed."""
    old, new = (
        {str(row[1]): _content(row) for row in rows_of(Manifest.of(videos).table.select(_CONTENT))}
        for videos in (before, now)
    )
    common = old.keys() & new.keys()
    changed = sum(old[name] != new[name] for name in common)
    return len(new) - len(common), len(old) - len(common), changed


def _content(row: tuple[Any, ...]) -> list[object]:
    """What decides the dataset; the cuts between shards depend on the archive as well."""
    uri, *values = row
    archive = archive_of(uri)
    return values if archive is None else [*values, PurePosixPath(archive).name]
