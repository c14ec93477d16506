"""Sources -> what they hold: files, members of archives, lists, with the lists of Kinetics joined to them."""

import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from pipelines.columns import repeats, rows_of, table_of
from pipelines.kinetics import KineticsConfig, SourceNote, join_annotations, read_annotations
from pipelines.listing import Found, list_files
from pipelines.storage import location
from pipelines.tar_index import TarIndex, found_members, index_archive
from pipelines.tar_members import are_archives, is_archive
from pipelines.video_lists import LIST_SUFFIXES, read_list

FOUND_SCHEMA = pa.schema(
    [
        ("name", pa.string()),
        ("uri", pa.string()),
        ("bytes", pa.int64()),
        ("modified_ns", pa.int64()),
        ("etag", pa.string()),
        ("label", pa.string()),
        ("split", pa.string()),
        ("refused_kind", pa.string()),
        ("refused_message", pa.string()),
    ]
)
"""The fields of `Found`."""
Watch = Callable[[int, int], None]
"""Called with archives read and archives in all."""


@dataclass(frozen=True)
class Holdings:
    """All that the sources hold."""

    found: pa.Table
    """Of `FOUND_SCHEMA`, in the order of the sources; no uri is there twice."""
    files: int
    """Files that were listed, an archive being one."""
    notes: list[SourceNote]
    indices: list[TarIndex]


def read_sources(
    sources: Sequence[str],
    kinetics: KineticsConfig,
    known: Mapping[str, TarIndex],
    watch: Watch,
) -> Holdings:
    """List the sources; archives that `known` does not hold as they are now are read.

    Raises `UserError` for a source that does not exist or holds no video, and for a list or an
    annotation that is damaged.
    """
    annotations, notes = read_annotations(kinetics.annotations)
    listed = (item for source in sources for item in _list(source))
    found = table_of(listed, FOUND_SCHEMA)
    again = repeats(found["uri"])
    if again.any():
        found = found.filter(~again)
    repaired = [] if kinetics.replacements is None else list(_list(kinetics.replacements))
    if repaired:
        mended = pa.array([item.uri for item in repaired], pa.string())
        found = found.filter(pc.invert(pc.is_in(found["uri"], value_set=mended)))
    files = found.num_rows
    archives = found.filter(are_archives(found["uri"]))
    indices = _indices([*_records(archives), *repaired], known, watch)
    if indices:
        found = table_of(_with_members(_records(found), indices, notes), FOUND_SCHEMA)
    if kinetics.annotations:
        replacements = table_of(_with_members(repaired, indices, notes), FOUND_SCHEMA)
        found, account = join_annotations(found, replacements, annotations)
        notes += account
    return Holdings(found, files, notes, list(indices.values()))


def _list(source: str) -> Iterable[Found]:
    path = location(source)
    if path.suffix.lower() in LIST_SUFFIXES and path.is_file():
        return read_list(path)
    return list_files(source)


def _records(found: pa.Table) -> Iterator[Found]:
    return (Found(*row) for row in rows_of(found))


def _is_archive(item: Found) -> bool:
    return item.refused_kind is None and is_archive(item.uri)


def _indices(
    files: Iterable[Found], known: Mapping[str, TarIndex], watch: Watch
) -> dict[str, TarIndex]:
    """What each archive holds. Decompression and digests run beside each other in threads."""
    archives = [item for item in files if _is_archive(item)]
    indices = {
        item.uri: known[item.uri]
        for item in archives
        if item.uri in known and known[item.uri].fits(item)
    }
    unread = [item for item in archives if item.uri not in indices]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for done, index in enumerate(pool.map(index_archive, unread), start=1):
            indices[index.archive] = index
            watch(done, len(unread))
    return dict(sorted(indices.items()))


def _with_members(
    files: Iterable[Found], indices: Mapping[str, TarIndex], notes: list[SourceNote]
) -> Iterator[Found]:
    """Archives replaced by their members; of two members with one name the first counts."""
    for item in files:
        if not _is_archive(item):
            yield item
            continue
        members = found_members(indices[item.uri], item)
        kept: dict[str, Found] = {}
        for member in members:
            kept.setdefault(member.uri, member)
        yield from kept.values()
        if len(kept) < len(members):
            counts = Counter(member.uri for member in members if member.refused_kind is None)
            notes += [SourceNote(uri, uri, "duplicate") for uri, n in counts.items() if n > 1]
