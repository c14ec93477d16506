"""Sources -> manifest: which videos there are, each named once.

A source is a folder (searched through), a glob, one video file, a tar archive, or a CSV, TSV or Parquet
list. The annotation lists of Kinetics may be joined to them.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from model.errors import UserError
from pipelines.columns import column_of, repeats, rows_of, values_of, with_column
from pipelines.kinetics import KineticsConfig, SourceNote
from pipelines.listing import stems_of
from pipelines.manifest import MANIFEST_SCHEMA, Manifest, Video
from pipelines.s3_path import S3Path
from pipelines.sources import Watch, read_sources
from pipelines.storage import edge_digest, location
from pipelines.tar_index import TarIndex


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

    videos: Manifest
    """Files in their order, then the members of each archive in its order."""
    notes: list[SourceNote]
    indices: list[TarIndex]


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
    holdings = read_sources(sources, kinetics, earlier.indices, watch)
    chosen = _select(holdings.found, config, selection)
    if chosen.num_rows == 0:
        raise UserError(f"{', '.join(sources)}: none of the {holdings.files} files is to be taken")
    videos = Manifest(_with_etags(chosen, Manifest.of(earlier.videos).table))
    if selection.split is None:
        videos = ensure_both_splits(videos, config)
    return Corpus(videos, holdings.notes, holdings.indices)


def hashed_share(*parts: object) -> float:
    """A number in 0..1 that depends on nothing but the parts."""
    digest = hashlib.sha256("\0".join(map(str, parts)).encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64


def ensure_both_splits(videos: Sequence[Video], config: CorpusConfig) -> Manifest:
    """A small corpus may have no held-out video by chance: then the one with the lowest hash is."""
    table = Manifest.of(videos).table
    readable = pc.is_null(table["refused_kind"])
    held_out = pc.any(pc.equal(table["split"].filter(readable), "val")).as_py()
    if config.val_share == 0.0 or pc.sum(readable).as_py() < 2 or held_out:
        return Manifest(table)
    names = values_of(table["video_id"].filter(readable))
    chosen = min(names, key=lambda name: hashed_share(config.seed, "split", name))
    split = pc.if_else(pc.equal(table["video_id"], chosen), "val", table["split"])
    return Manifest(with_column(table, "split", split))


def _select(found: pa.Table, config: CorpusConfig, selection: Selection) -> pa.Table:
    """The manifest's rows in order. What is refused always stays: it has to be accounted for."""
    refused = np.asarray(pc.is_valid(found["refused_kind"]))
    names = _unique_names(found, refused)
    held_out = _shares(config.seed, "split", names) < config.val_share
    split = pc.coalesce(found["split"], pc.if_else(pa.array(held_out), "val", "train"))
    table = with_column(found.rename_columns({"name": "video_id"}), "video_id", names)
    table = with_column(table, "split", split).select(MANIFEST_SCHEMA.names)
    seed = selection.shuffle_seed
    rank = np.zeros(len(names)) if seed is None else _shares(seed, "order", names)
    ranked = pa.table({"rank": rank, "name": names})
    order = np.asarray(pc.sort_indices(ranked, [("rank", "ascending"), ("name", "ascending")]))
    if selection.split is not None:
        order = order[refused[order] | np.asarray(pc.equal(split, selection.split))[order]]
    if selection.limit is not None:
        order = order[refused[order] | (np.cumsum(~refused[order]) <= selection.limit)]
    return table.take(_files_first(table["uri"], order))


def _files_first(uris: pa.ChunkedArray, order: np.ndarray) -> np.ndarray:
    """Rows of files in the order they have; then archive by archive, as each is read."""
    inside = np.asarray(pc.starts_with(uris, "tar://"))[order]
    if not inside.any():
        return order
    members = np.sort(order[inside])
    archives = [uri.rpartition("::")[2] for uri in values_of(uris.take(members))]
    return np.concatenate(
        [order[~inside], members[np.asarray(pc.sort_indices(pa.array(archives)))]]
    )


def _unique_names(found: pa.Table, refused: np.ndarray) -> pa.ChunkedArray:
    """The id is the name without its suffix, or with it where two files share the stem."""
    names = found["name"]
    stems = stems_of(names)
    readable = stems.filter(~refused)
    shared = readable.filter(repeats(readable))
    ids = pc.if_else(pc.is_in(stems, value_set=shared), names, stems)
    readable = ids.filter(~refused)
    for name in values_of(readable.filter(repeats(readable))):
        first, second, *_ = (
            found["uri"].filter(~refused).filter(pc.equal(readable, name)).to_pylist()
        )
        raise UserError(f"two videos would have the id {name!r}: {first}, {second}")
    return _named_apart(ids, names, refused) if refused.any() else ids


def _named_apart(
    ids: pa.ChunkedArray, names: pa.ChunkedArray, refused: np.ndarray
) -> pa.ChunkedArray:
    """What is refused gets its whole name, with primes where that is the id of a video."""
    wanted = names.filter(refused).to_pylist()
    near = pc.is_in(pc.utf8_rtrim(ids, "'"), value_set=pa.array([n.rstrip("'") for n in wanted]))
    taken = set(ids.filter(near).filter(~refused[np.asarray(near)]).to_pylist())
    for row, name in enumerate(wanted):
        wanted[row] = free = next(n for k in count() if (n := name + "'" * k) not in taken)
        taken.add(free)
    return pc.replace_with_mask(ids.combine_chunks(), refused, pa.array(wanted))


def _shares(seed: int, use: str, names: pa.ChunkedArray) -> np.ndarray:
    """`hashed_share` of every name, float64 [n]."""
    shares = (hashed_share(seed, use, name) for name in values_of(names))
    return np.fromiter(shares, np.float64, len(names))


def _with_etags(table: pa.Table, earlier: pa.Table) -> pa.Table:
    """A digest in every row that may be read; taken over where size and time are as in `earlier`."""
    row = pc.index_in(table["uri"], value_set=earlier["uri"])
    unchanged = [pc.equal(earlier[c].take(row), table[c]) for c in ("bytes", "modified_ns")]
    before = pc.if_else(pc.and_(*unchanged), earlier["etag"].take(row), "")
    listed = pc.or_(pc.not_equal(table["etag"], ""), pc.is_valid(table["refused_kind"]))
    etags = pc.if_else(listed, table["etag"], pc.coalesce(before, ""))
    unread = ~np.asarray(pc.or_(listed, pc.not_equal(etags, "")))
    if unread.any():
        files = table.select(["uri", "bytes"]).filter(unread)
        digests = column_of((_etag(uri, size) for uri, size in rows_of(files)), pa.string())
        etags = pc.replace_with_mask(etags.combine_chunks(), unread, digests.combine_chunks())
    return with_column(table, "etag", etags)


def _etag(uri: str, size: int) -> str:
    """Empty for a file that cannot be read or an object that is not there: decoding will report it."""
    path = location(uri)
    if isinstance(path, S3Path):
        return ""
    try:
        with path.open("rb") as file:
            return edge_digest(file, size)
    except OSError:
        return ""
