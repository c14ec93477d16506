"""Kinetics 400, 600 and 700-2020: annotation lists joined to the clips that are there.

A clip's file is `ID_SSSSSS_EEEEEE.mp4`: YouTube's id, start and end in whole seconds. The name is made
from the annotation and never taken apart, because ids hold `_` and `-` and may begin with either.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import pyarrow as pa
import pyarrow.parquet as pq

from model.errors import UserError
from pipelines.listing import Found, stem
from pipelines.storage import (
    Location,
    files_in,
    location,
    parquet_source,
    remove_files,
    write_table,
)
from pipelines.video_lists import read_rows, text_of

SOURCES_SCHEMA = pa.schema([("name", pa.string()), ("uri", pa.string()), ("state", pa.string())])
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

    annotations: tuple[str, ...] = ()
    """Annotation lists (columns label, youtube_id, time_start, time_end, split), or folders of them.
    Files that they do not name are left out."""
    replacements: str | None = None
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
    state: Literal["missing", "unannotated", "replaced", "duplicate"]


@dataclass(frozen=True, slots=True)
class Annotation:
    """What a list says about a clip."""

    label: str | None
    split: str | None


def read_annotations(sources: Sequence[str]) -> tuple[dict[str, Annotation], list[SourceNote]]:
    """Annotations by clip name; a clip that is listed again is noted as a duplicate.

    Raises `UserError` naming the file and what is wrong with it.
    """
    annotations: dict[str, Annotation] = {}
    notes: list[SourceNote] = []
    for file in (file for source in sources for file in _list_files(location(source))):
        rows = read_rows(file)
        columns = {
            wanted: next((name for name in names if name in rows[0]), None)
            for wanted, names in _COLUMNS.items()
        }
        absent = [name for name, column in columns.items() if column is None and name != "label"]
        if absent:
            raise UserError(f"{file}: needs a column named {absent[0]}")
        for number, row in enumerate(rows, start=2):
            name = _clip_name(row, columns, file, number)
            label = text_of(row, columns["label"] or "label")
            if name in annotations:
                notes.append(SourceNote(name, str(file.absolute()), "duplicate"))
            else:
                annotations[name] = Annotation(label, _split(row))
    return annotations, notes


def join_annotations(
    found: Iterable[Found], replacements: Iterable[Found], annotations: Mapping[str, Annotation]
) -> tuple[list[Found], list[SourceNote]]:
    """The annotated clips that are there, each once, and an account of all others.

    A replacement goes before any other file of its name, an earlier source before a later one.
    """
    chosen: dict[str, Found] = {}
    refused: list[Found] = []
    notes: list[SourceNote] = []
    repaired: set[str] = set()
    for replacing, items in ((True, replacements), (False, found)):
        for item in items:
            name = stem(item.name.rpartition("/")[2])
            annotation = annotations.get(name)
            if item.refused_kind is not None:
                refused.append(item)
            elif annotation is None:
                notes.append(SourceNote(name, item.uri, "unannotated"))
            elif name in chosen:
                takes_its_place = name in repaired and not replacing
                state: Literal["replaced", "duplicate"] = (
                    "replaced" if takes_its_place else "duplicate"
                )
                notes.append(SourceNote(name, item.uri, state))
            else:
                chosen[name] = replace(
                    item, name=name, label=annotation.label, split=annotation.split
                )
                if replacing:
                    repaired.add(name)
    notes += [SourceNote(name, "", "missing") for name in annotations if name not in chosen]
    return [*chosen.values(), *refused], notes


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
