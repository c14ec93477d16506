"""The manifest: a row for every video of a dataset, in the order in which shards are cut."""

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import PurePosixPath

import pyarrow as pa
import pyarrow.parquet as pq

from model.errors import UserError
from pipelines.storage import Location, parquet_source, write_table
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
_ROWS_A_BATCH = 4096


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
        parts = split_tar_uri(self.uri)
        return None if parts is None else parts[1]


def save_manifest(videos: Sequence[Video], path: Location) -> None:
    """Write `manifest.parquet`."""
    columns = [
        pa.array([getattr(video, column.name) for video in videos], column.type)
        for column in MANIFEST_SCHEMA
    ]
    write_table(path, pa.Table.from_arrays(columns, schema=MANIFEST_SCHEMA))


def load_manifest(path: Location) -> list[Video]:
    """Read `manifest.parquet`. Raises `UserError` when it is missing or is not one."""
    try:
        table = pq.read_table(parquet_source(path)).select(MANIFEST_SCHEMA.names)
    except FileNotFoundError:
        raise UserError(f"{path}: no such manifest (run `huetrack preprocess`)") from None
    except (pa.ArrowInvalid, KeyError) as error:
        raise UserError(f"{path}: not a manifest ({error})") from error
    return list(map(Video, *(column.to_pylist() for column in table.columns)))


def manifest_fingerprint(videos: Iterable[Video]) -> str:
    """Digest of what is to be decoded; it does not change when the corpus moves elsewhere."""
    digest = hashlib.sha256()
    rest = iter(videos)
    while batch := [_content(video) for video in islice(rest, _ROWS_A_BATCH)]:
        digest.update(json.dumps(batch, ensure_ascii=False).encode())
    return digest.hexdigest()[:16]


def compare_manifests(before: Iterable[Video], now: Iterable[Video]) -> tuple[int, int, int]:
    """How many videos were added, removed and changed."""
    old, new = ({video.video_id: _content(video) for video in videos} for videos in (before, now))
    common = old.keys() & new.keys()
    changed = sum(old[name] != new[name] for name in common)
    return len(new) - len(common), len(old) - len(common), changed


def _content(video: Video) -> list[object]:
    """What decides the dataset; the cuts between shards depend on the archive as well."""
    archive = video.archive
    where = [] if archive is None else [PurePosixPath(archive).name]
    return [video.video_id, video.bytes, video.etag, video.label, video.split, *where]
