"""Kinetics 400, 600 and 700-2020: annotation lists joined to the clips that are there.

A clip's file is `ID_SSSSSS_EEEEEE.mp4`: YouTube's id, start and end in whole seconds. The name is made
from the annotation and never taken apart, because ids hold `_` and `-` and may begin with either.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from model.errors import UserError
from pipelines.columns import column_of, repeats, rows_of, table_of, values_of, with_column
from pipelines.listing import stem
from pipelines.places import PlaceText
from pipelines.storage import (
    Location,
    files_in,
    location,
    parquet_source,
    remove_files,
    write_table,
)
from pipelines.video_lists import read_rows, text_of

State = Literal["missing", "unannotated", "replaced", "duplicate"]
SOURCES_SCHEMA = pa.schema([("name", pa.string()), ("uri", pa.string()), ("state", pa.string())])
ANNOTATION_SCHEMA = pa.schema(
    [("name", pa.string()), ("label", pa.string()), ("split", pa.string()), ("list", pa.string())]
)
"""The fields of `Annotation`."""
# The column names of the releases, and those of the lists that circulate with download tools.
_COLUMNS = {
    "youtube_id": ("youtube_id", "video-id"),
    "time_start": ("time_start", "start-time"),
    "time_end": ("time_end", "end-time"),
    "label": ("label", "label-name"),
}


@dataclass(frozen=True)
class KineticsConfig:
    """How the sources are joined to the lists of Kinetics."""

    annotations: tuple[PlaceText, ...] = ()
    """Annotation lists (columns label, youtube_id, time_start, time_end, split), or folders of them.
    Files that they do not name are left out."""
    replacements: PlaceText | None = None
    """Folder of repaired clips. They take the place of clips of the same name."""

    def __post_init__(self) -> None:
        if self.replacements is not None and not self.annotations:
            raise UserError("kinetics.replacements needs kinetics.annotations")


@dataclass(frozen=True, slots=True)
class SourceNote:
    """A row of `sources.parquet`: what was found or annotated and is not a video of the dataset."""

    name: str
    uri: str
    """Empty for what was not found."""
    state: State


@dataclass(frozen=True, slots=True)
class Annotation:
    """What a list says about a clip."""

    name: str
    label: str | None
    split: str | None
    list: str
    """Path of the list."""


def read_annotations(sources: Sequence[str]) -> tuple[pa.Table, list[SourceNote]]:
    """A row of `ANNOTATION_SCHEMA` a clip; a clip that is listed again is noted as a duplicate.

    Raises `UserError` naming the file and what is wrong with it.
    """
    files = (file for source in sources for file in _list_files(location(source)))
    table = table_of((row for file in files for row in _annotations(file)), ANNOTATION_SCHEMA)
    again = repeats(table["name"])
    twice = table.filter(again).select(["name", "list"])
    notes = [SourceNote(name, uri, "duplicate") for name, uri in rows_of(twice)]
    return table.filter(~again), notes


def _annotations(file: Location) -> Iterator[Annotation]:
    columns: dict[str, str | None] = {}
    for number, row in enumerate(read_rows(file), start=2):
        if not columns:
            columns = {
                wanted: next((name for name in names if name in row), None)
                for wanted, names in _COLUMNS.items()
            }
            absent = [name for name, found in columns.items() if found is None and name != "label"]
            if absent:
                raise UserError(f"{file}: needs a column named {absent[0]}")
        name = _clip_name(row, columns, file, number)
        label = text_of(row, columns["label"] or "label")
        yield Annotation(name, label, _split(row), str(file.absolute()))


def join_annotations(
    found: pa.Table, replacements: pa.Table, annotations: pa.Table
) -> tuple[pa.Table, list[SourceNote]]:
    """The annotated clips that are there, each once, and an account of all others.

    The first two tables have the fields of `Found`. A replacement goes before any other file of its
    name, an earlier source before a later one. What is refused stays, at the end.
    """
    both = pa.concat_tables([replacements, found])
    replacing = np.arange(both.num_rows) < replacements.num_rows
    refused = np.asarray(pc.is_valid(both["refused_kind"]))
    names = column_of((stem(n.rpartition("/")[2]) for n in values_of(both["name"])), pa.string())
    row = pc.index_in(names, value_set=annotations["name"])
    annotated = np.asarray(pc.is_valid(row))
    clips = np.flatnonzero(annotated & ~refused)
    again = repeats(names.take(clips))
    chosen, later = clips[~again], clips[again]
    repaired = names.take(chosen[replacing[chosen]])
    replaced = np.asarray(pc.is_in(names.take(later), value_set=repaired)) & ~replacing[later]
    left_out: dict[State, np.ndarray] = {
        "unannotated": np.flatnonzero(~annotated & ~refused),
        "replaced": later[replaced],
        "duplicate": later[~replaced],
    }
    files = pa.table({"name": names, "uri": both["uri"]})
    notes = [
        SourceNote(name, uri, state)
        for state, rows in left_out.items()
        for name, uri in rows_of(files.take(rows))
    ]
    found_names = pc.is_in(annotations["name"], value_set=names.take(chosen))
    missing = annotations["name"].filter(pc.invert(found_names))
    notes += [SourceNote(name, "", "missing") for name in values_of(missing)]
    kept, said = both.take(chosen), annotations.take(row.take(chosen))
    for column in ("name", "label", "split"):
        kept = with_column(kept, column, said[column])
    return pa.concat_tables([kept, both.filter(refused)]), notes


def save_notes(notes: Sequence[SourceNote], path: Location) -> None:
    """Write `sources.parquet`, sorted; there is no file when there is nothing to note."""
    if not notes:
        remove_files([path])
        return
    ordered = sorted(notes, key=lambda note: (note.state, note.name, note.uri))
    columns = [[getattr(note, name) for note in ordered] for name in SOURCES_SCHEMA.names]
    write_table(path, pa.Table.from_arrays(list(map(pa.array, columns)), schema=SOURCES_SCHEMA))


def count_notes(path: Location) -> dict[str, int]:
    """Rows of `sources.parquet` by state; none when there is no file.

    Raises `UserError` when it is not one.
    """
    try:
        states = pq.read_table(parquet_source(path), columns=["state"])["state"].to_pylist()
    except FileNotFoundError:
        return {}
    except (pa.ArrowInvalid, KeyError) as error:
        raise UserError(f"{path}: not an account of the sources ({error})") from error
    return dict(sorted(Counter(states).items()))


def _list_files(path: Location) -> list[Location]:
    if path.is_file():
        return [path]
    if not path.is_dir():
        raise UserError(f"{path}: no such list of annotations")
    files: list[Location] = [f for f in files_in(path).values() if f.suffix == ".csv"]
    if not files:
        raise UserError(f"{path}: the folder holds no list of annotations (*.csv)")
    return files


def _clip_name(
    row: Mapping[str, Any], columns: Mapping[str, str | None], file: Location, number: int
) -> str:
    video, start, end = (
        text_of(row, columns[key] or key) for key in ("youtube_id", "time_start", "time_end")
    )
    try:
        if video is None:
            raise ValueError
        return f"{video}_{int(float(start or '')):06d}_{int(float(end or '')):06d}"
    except (ValueError, OverflowError):
        raise UserError(f"{file}: line {number} names no clip ({video}, {start}, {end})") from None


def _split(row: Mapping[str, Any]) -> str | None:
    """The releases write train, val or validate, test and holdout_test."""
    split = text_of(row, "split") or text_of(row, "subset")
    return split and ("train" if split.startswith("train") else "val")
