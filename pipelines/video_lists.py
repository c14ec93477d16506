"""Lists of videos as CSV, TSV or Parquet: a column `uri` (or `path`, `file`, `video`), optionally
`video_id`, `label` and `split`."""

import csv
import io
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from model.errors import UserError
from pipelines.listing import Found, found_file
from pipelines.s3_path import SCHEME, S3Path, with_listing
from pipelines.storage import Location, location, open_binary, parquet_source

LIST_SUFFIXES = frozenset({".csv", ".tsv", ".parquet"})


@dataclass(frozen=True, slots=True)
class _Named:
    """A row."""

    name: str
    file: Location
    label: str | None
    split: str | None


def read_list(path: Location) -> list[Found]:
    """Files of a list. Relative paths start at the list's folder and may not leave it.

    Raises `UserError` naming the list.
    """
    rows = list(read_rows(path))
    column = next((c for c in ("uri", "path", "file", "video") if c in rows[0]), None)
    if column is None:
        raise UserError(f"{path}: needs a column named uri, path, file or video")
    named = [_listed(path, column, row) for row in rows]
    on_s3 = [item.file for item in named if isinstance(item.file, S3Path)]
    listed: dict[Location, Location] = {file: file for file in with_listing(on_s3)}
    return [
        found_file(item.name, listed.get(item.file, item.file), item.label, item.split)
        for item in named
    ]


def read_rows(path: Location) -> Iterator[dict[str, Any]]:
    """Rows of a CSV, TSV or Parquet file by its suffix, any other suffix as CSV: one at least. Raises
    `UserError` when it is damaged or empty."""
    empty = True
    try:
        for row in _rows(path):
            empty = False
            yield row
    except (UnicodeDecodeError, csv.Error, pa.ArrowInvalid) as error:
        raise UserError(f"{path}: not a readable list ({error})") from error
    if empty:
        raise UserError(f"{path}: the list is empty")


def _rows(path: Location) -> Iterator[dict[str, Any]]:
    if path.suffix.lower() == ".parquet":
        for batch in pq.ParquetFile(parquet_source(path)).iter_batches():
            yield from batch.to_pylist()
        return
    delimiter = "\t" if path.suffix.lower() == ".tsv" else ","
    with io.TextIOWrapper(open_binary(path), "utf-8-sig", newline="") as text:
        yield from csv.DictReader(text, delimiter=delimiter)


def text_of(row: Mapping[str, Any], key: str) -> str | None:
    """A cell as text; None when it is empty or not there."""
    value = row.get(key)
    return None if value is None or value == "" else str(value)


def split_of(row: Mapping[str, Any], path: Location) -> str | None:
    """`train`, `val` or None. Held-out splits of any name that is in use count as `val`."""
    split = text_of(row, "split")
    if split in (None, "train"):
        return split
    if split in ("val", "valid", "validate", "validation", "test"):
        return "val"
    raise UserError(f"{path}: split {split!r} is neither train nor val")


def _listed(path: Location, column: str, row: Mapping[str, Any]) -> _Named:
    uri = text_of(row, column)
    if uri is None:
        raise UserError(f"{path}: a row has no {column}")
    relative = not uri.startswith(SCHEME) and not Path(uri).is_absolute()
    if relative and ".." in PurePosixPath(uri).parts:
        raise UserError(f"{path}: {uri} leaves the list's folder")
    file = path.parent / uri if relative else location(uri)
    name = text_of(row, "video_id") or (uri if relative else file.name)
    return _Named(name, file, text_of(row, "label"), split_of(row, path))
