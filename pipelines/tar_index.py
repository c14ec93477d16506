"""What the tar archives of a corpus hold, and the file that spares a rerun from reading them again."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from pipelines.listing import Found, is_video
from pipelines.storage import Location, edge_digest, location, parquet_source, write_table
from pipelines.tar_members import (
    DamagedArchiveError,
    read_members,
    tar_uri,
    without_archive_suffix,
)

ARCHIVES_SCHEMA = pa.schema(
    [
        ("archive", pa.string()),
        ("archive_bytes", pa.int64()),
        ("archive_modified_ns", pa.int64()),
        ("name", pa.string()),
        ("bytes", pa.int64()),
        ("etag", pa.string()),
        ("refused_kind", pa.string()),
        ("refused_message", pa.string()),
    ]
)


@dataclass(frozen=True, slots=True)
class IndexedMember:
    """A video in an archive, or what was refused. An empty name stands for the archive itself."""

    name: str
    bytes: int
    etag: str
    refused_kind: str | None
    refused_message: str | None


@dataclass(frozen=True)
class TarIndex:
    """The members of one archive in their order, as they were when it had this size and time."""

    archive: str
    bytes: int
    modified_ns: int
    members: list[IndexedMember]

    def fits(self, archive: Found) -> bool:
        """Whether size and time of the archive are still those of when it was read."""
        return (self.bytes, self.modified_ns) == (archive.bytes, archive.modified_ns)


def index_archive(archive: Found) -> TarIndex:
    """Read an archive once. What stands before damage is kept; the damage is a refused row."""
    members: list[IndexedMember] = []
    try:
        for member, content in read_members(location(archive.uri)):
            if member.refused_kind is None and not is_video(member.name):
                continue
            etag = "" if member.refused_kind else edge_digest(content, member.bytes)
            members.append(
                IndexedMember(
                    member.name, member.bytes, etag, member.refused_kind, member.refused_message
                )
            )
    except DamagedArchiveError as error:
        members.append(IndexedMember("", 0, "", error.kind, error.message))
    else:
        if not members:
            message = "the archive holds no video"
            members.append(IndexedMember("", 0, "", "no_video_stream", message))
    return TarIndex(archive.uri, archive.bytes, archive.modified_ns, members)


def found_members(index: TarIndex, archive: Found) -> list[Found]:
    """The members as files of the corpus, in the archive's order."""
    prefix = f"{without_archive_suffix(archive.name)}/" if archive.name else ""
    found = []
    for member in index.members:
        name = prefix + member.name if member.name else archive.name or Path(archive.uri).name
        uri = tar_uri(member.name, archive.uri) if member.name else archive.uri
        found.append(
            Found(
                name,
                uri,
                member.bytes,
                archive.modified_ns,
                member.etag,
                archive.label,
                archive.split,
                member.refused_kind,
                member.refused_message,
            )
        )
    return found


def save_indices(indices: Iterable[TarIndex], path: Location) -> None:
    """Write `archives.parquet`: a row a member."""
    rows = [
        (
            i.archive,
            i.bytes,
            i.modified_ns,
            m.name,
            m.bytes,
            m.etag,
            m.refused_kind,
            m.refused_message,
        )
        for i in indices
        for m in i.members
    ]
    columns: Sequence[Sequence[object]] = list(zip(*rows, strict=True))
    arrays = [pa.array(c, f.type) for c, f in zip(columns, ARCHIVES_SCHEMA, strict=True)]
    write_table(path, pa.Table.from_arrays(arrays, schema=ARCHIVES_SCHEMA))


def load_indices(path: Location) -> dict[str, TarIndex]:
    """Read `archives.parquet`, by archive. Nothing when it is missing or is not one: it only saves time."""
    try:
        table = pq.read_table(parquet_source(path)).select(ARCHIVES_SCHEMA.names)
    except (FileNotFoundError, pa.ArrowInvalid, KeyError):
        return {}
    rows = zip(*(column.to_pylist() for column in table.columns), strict=True)
    return {
        archive: TarIndex(archive, size, modified_ns, [IndexedMember(*row[3:]) for row in members])
        for (archive, size, modified_ns), members in groupby(rows, key=lambda row: row[:3])
    }
