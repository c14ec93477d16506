"""Sources -> manifest: which videos there are, each named once.

A source is a folder (searched through), a glob, one video file, a tar archive, or a CSV, TSV or Parquet
list. The annotation lists of Kinetics may be joined to them.
"""

import hashlib
import os
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from itertools import count
from typing import Literal

from model.errors import UserError
from pipelines.kinetics import KineticsConfig, SourceNote, join_annotations, read_annotations
from pipelines.listing import Found, list_files, stem
from pipelines.manifest import Video
from pipelines.s3_path import S3Path
from pipelines.storage import edge_digest, location
from pipelines.tar_index import TarIndex, found_members, index_archive
from pipelines.tar_members import is_archive, split_tar_uri
from pipelines.video_lists import LIST_SUFFIXES, read_list


@dataclass(frozen=True)
class CorpusConfig:
    """Which videos belong to the dataset."""

    val_share: float = 0.05
    """Share of the videos held out for validation, where the source names no split."""
    seed: int = 0
    """Chooses the held-out videos, the pixels of the codebook and its k-means start."""

    def __post_init__(self) -> None:
        if not 0.0 <= self.val_share < 1.0:
            raise UserError(f"val_share must lie in 0..1, not {self.val_share}")


@dataclass(frozen=True)
class Selection:
    """Which of the videos found are taken."""

    limit: int | None = None
    """The first so many; all by default."""
    split: Literal["train", "val"] | None = None
    """Those of one split; both by default."""
    shuffle_seed: int | None = None
    """Order in which files are taken and stored; by id by default. Members of an archive are stored in
    its own order always."""

    def __post_init__(self) -> None:
        if self.limit is not None and self.limit < 1:
            raise UserError(f"limit must be at least 1, not {self.limit}")


@dataclass(frozen=True)
class Earlier:
    """What an earlier run found out: what has not changed since is not read again."""

    videos: Sequence[Video] = ()
    indices: Mapping[str, TarIndex] = field(default_factory=dict)


@dataclass(frozen=True)
class Corpus:
    """All that the sources hold."""

    videos: list[Video]
    """The manifest: files in their order, then the members of each archive in its order."""
    notes: list[SourceNote]
    indices: list[TarIndex]


Watch = Callable[[int, int], None]
"""Called with archives read and archives in all."""


def build_corpus(
    sources: Sequence[str],
    config: CorpusConfig,
    selection: Selection = Selection(),  # frozen
    kinetics: KineticsConfig = KineticsConfig(),  # noqa: B008  # frozen
    earlier: Earlier = Earlier(),  # frozen
    watch: Watch = lambda *_: None,
) -> Corpus:
    """All videos of all sources.

    A file or member that must not or cannot be read is a video with `refused_kind`. Raises `UserError`
    for a source that does not exist or holds no video, for a list or an annotation that is damaged,
    and for an id given twice.
    """
    annotations, notes = read_annotations(kinetics.annotations)
    files = _once(item for source in sources for item in _list(source))
    repaired = [] if kinetics.replacements is None else _list(kinetics.replacements)
    mended = {item.uri for item in repaired}
    files = [item for item in files if item.uri not in mended]
    indices = _indices([item for item in (*files, *repaired) if _is_archive(item)], earlier, watch)
    found = _with_members(files, indices, notes)
    if kinetics.annotations:
        repaired = _with_members(repaired, indices, notes)
        found, account = join_annotations(found, repaired, annotations)
        notes += account
    videos = _select(found, config, selection, {video.uri: video for video in earlier.videos})
    if not videos:
        raise UserError(f"{', '.join(sources)}: none of the {len(files)} files is to be taken")
    if selection.split is None:
        videos = ensure_both_splits(videos, config)
    return Corpus(videos, notes, list(indices.values()))


def hashed_share(*parts: object) -> float:
    """A number in 0..1 that depends on nothing but the parts."""
    digest = hashlib.sha256("\0".join(map(str, parts)).encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64


def ensure_both_splits(videos: list[Video], config: CorpusConfig) -> list[Video]:
    """A small corpus may have no held-out video by chance: then the one with the lowest hash is."""
    readable = [video for video in videos if video.refused_kind is None]
    if config.val_share == 0.0 or len(readable) < 2 or any(v.split == "val" for v in readable):
        return videos
    chosen = min(readable, key=lambda v: hashed_share(config.seed, "split", v.video_id)).video_id
    return [replace(v, split="val") if v.video_id == chosen else v for v in videos]


def _list(source: str) -> list[Found]:
    path = location(source)
    if path.suffix.lower() in LIST_SUFFIXES and path.is_file():
        return read_list(path)
    return list_files(source)


def _once(found: Iterable[Found]) -> list[Found]:
    by_uri: dict[str, Found] = {}
    for item in found:
        by_uri.setdefault(item.uri, item)
    return list(by_uri.values())


def _is_archive(item: Found) -> bool:
    return item.refused_kind is None and is_archive(item.uri)


def _indices(archives: Sequence[Found], earlier: Earlier, watch: Watch) -> dict[str, TarIndex]:
    """What each archive holds. Decompression and digests run beside each other in threads."""
    known = {a.uri: earlier.indices[a.uri] for a in archives if a.uri in earlier.indices}
    known = {a.uri: known[a.uri] for a in archives if a.uri in known and known[a.uri].fits(a)}
    unread = [item for item in archives if item.uri not in known]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for done, index in enumerate(pool.map(index_archive, unread), start=1):
            known[index.archive] = index
            watch(done, len(unread))
    return dict(sorted(known.items()))


def _with_members(
    files: Iterable[Found], indices: Mapping[str, TarIndex], notes: list[SourceNote]
) -> list[Found]:
    """Archives replaced by their members; of two members with one name the first counts."""
    found: list[Found] = []
    for item in files:
        if not _is_archive(item):
            found.append(item)
            continue
        members = found_members(indices[item.uri], item)
        kept = _once(members)
        found += kept
        if len(kept) < len(members):
            counts = Counter(member.uri for member in members if member.refused_kind is None)
            notes += [SourceNote(uri, uri, "duplicate") for uri, n in counts.items() if n > 1]
    return found


def _unique_names(found: Sequence[Found]) -> list[str]:
    """The id is the name without its suffix, or with it where two files share the stem."""
    stems = [stem(item.name) for item in found]
    counts = Counter(s for s, item in zip(stems, found, strict=True) if item.refused_kind is None)
    names = [s if counts[s] == 1 else i.name for s, i in zip(stems, found, strict=True)]
    taken: dict[str, Found] = {}
    for name, item in zip(names, found, strict=True):
        if item.refused_kind is None and taken.setdefault(name, item) is not item:
            raise UserError(f"two videos would have the id {name!r}: {taken[name].uri}, {item.uri}")
    for row, item in enumerate(found):
        if item.refused_kind is not None:
            names[row] = name = next(n for k in count() if (n := item.name + "'" * k) not in taken)
            taken[name] = item
    return names


def _select(
    found: Sequence[Found],
    config: CorpusConfig,
    selection: Selection,
    earlier: Mapping[str, Video],
) -> list[Video]:
    """The manifest's rows in order. What is refused always stays: it has to be accounted for."""
    rows: list[tuple[float, str, int, str]] = []
    for position, (name, item) in enumerate(zip(_unique_names(found), found, strict=True)):
        held_out = hashed_share(config.seed, "split", name) < config.val_share
        split = item.split or ("val" if held_out else "train")
        seed = selection.shuffle_seed
        rank = 0.0 if seed is None else hashed_share(seed, "order", name)
        if item.refused_kind is not None or selection.split in (None, split):
            rows.append((rank, name, position, split))
    rows.sort()
    if selection.limit is not None:
        readable = [row for row in rows if found[row[2]].refused_kind is None]
        taken = {row[2] for row in readable[: selection.limit]}
        rows = [r for r in rows if r[2] in taken or found[r[2]].refused_kind is not None]

    def place(row: tuple[float, str, int, str]) -> tuple[str, int]:
        """Files first, in the order they have; then archive by archive, as it is read."""
        inside = split_tar_uri(found[row[2]].uri)
        return ("", 0) if inside is None else (inside[1], row[2])

    rows.sort(key=place)
    return [_video(name, found[position], split, earlier) for _, name, position, split in rows]


def _video(name: str, item: Found, split: str, earlier: Mapping[str, Video]) -> Video:
    before = earlier.get(item.uri)
    if item.etag or item.refused_kind is not None:
        etag = item.etag
    elif (
        before
        and before.etag
        and (before.bytes, before.modified_ns) == (item.bytes, item.modified_ns)
    ):
        etag = before.etag
    else:
        etag = _etag(item)
    return Video(
        name,
        item.uri,
        item.bytes,
        etag,
        item.label,
        split,
        item.modified_ns,
        item.refused_kind,
        item.refused_message,
    )


def _etag(item: Found) -> str:
    """Empty for a file that cannot be read or an object that is not there: decoding will report it."""
    path = location(item.uri)
    if isinstance(path, S3Path):
        return ""
    try:
        with path.open("rb") as file:
            return edge_digest(file, item.bytes)
    except OSError:
        return ""
