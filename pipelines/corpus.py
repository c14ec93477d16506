"""Sources -> manifest: which videos there are, each named once.

A source is a folder (searched through), a glob, one video file, or a CSV, TSV or Parquet list. The
listing is our own: no name is skipped, whatever it begins with.
"""

import csv
import glob
import hashlib
import itertools
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path, PurePosixPath

import pyarrow as pa
import pyarrow.parquet as pq

from model.errors import UserError
from pipelines.storage import fingerprint, write_table

VIDEO_SUFFIXES = frozenset(
    [
        ".mp4",
        ".m4v",
        ".mov",
        ".avi",
        ".mkv",
        ".webm",
        ".mpg",
        ".mpeg",
        ".mpe",
        ".wmv",
        ".flv",
        ".ts",
        ".m2ts",
        ".3gp",
        ".ogv",
        ".vob",
    ]
)
LIST_SUFFIXES = frozenset({".csv", ".tsv", ".parquet"})
MANIFEST_SCHEMA = pa.schema(
    [
        ("video_id", pa.string()),
        ("uri", pa.string()),
        ("bytes", pa.int64()),
        ("etag", pa.string()),
        ("label", pa.string()),
        ("split", pa.string()),
    ]
)
_ETAG_BYTES = 1 << 16


@dataclass(frozen=True)
class Video:
    """A row of the manifest."""

    video_id: str
    uri: str
    bytes: int
    etag: str
    """Digest of the size and of the file's first and last 64 KiB."""
    label: str | None
    split: str
    """"train" or "val"."""


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
class _Found:
    """A file that a source names, before ids are made unique."""

    name: str
    path: Path
    label: str | None = None
    split: str | None = None


def build_manifest(sources: Sequence[str], config: CorpusConfig) -> list[Video]:
    """All videos of all sources, sorted by id.

    Raises `UserError` for a source that does not exist or holds no video, and for an id given twice.
    """
    found = [item for source in sources for item in _expand(source)]
    by_path: dict[Path, _Found] = {}
    for item in found:
        by_path.setdefault(item.path.absolute(), item)
    for item in by_path.values():
        shown = str(item.path).encode(errors="backslashreplace").decode()
        if shown != str(item.path):
            raise UserError(f"{shown}: the name is not UTF-8")
    videos = [_video(name, item, config) for name, item in _unique_names(by_path.values())]
    return sorted(videos, key=lambda video: video.video_id)


def save_manifest(videos: Iterable[Video], path: Path) -> None:
    """Write `manifest.parquet`."""
    rows = [asdict(video) for video in videos]
    write_table(path, pa.Table.from_pylist(rows, schema=MANIFEST_SCHEMA))


def load_manifest(path: Path) -> list[Video]:
    """Read `manifest.parquet`. Raises `UserError` when it is missing or is not one."""
    try:
        table = pq.read_table(path)
        return [Video(**row) for row in table.select(MANIFEST_SCHEMA.names).to_pylist()]
    except FileNotFoundError:
        raise UserError(f"{path}: no such manifest (run `huetrack preprocess`)") from None
    except (pa.ArrowInvalid, KeyError) as error:
        raise UserError(f"{path}: not a manifest ({error})") from error


def manifest_fingerprint(videos: Iterable[Video]) -> str:
    """Digest of what is to be decoded; it does not change when the corpus moves elsewhere."""
    return fingerprint([[v.video_id, v.bytes, v.etag, v.label, v.split] for v in videos])


def hashed_share(*parts: object) -> float:
    """A number in 0..1 that depends on nothing but the parts."""
    digest = hashlib.sha256("\0".join(map(str, parts)).encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64


def _expand(source: str) -> list[_Found]:
    path = Path(source)
    if path.is_dir():
        found = [
            _Found(file.relative_to(path).as_posix(), file)
            for file in sorted(path.rglob("*"))
            if file.suffix.lower() in VIDEO_SUFFIXES and file.is_file()
        ]
        if not found:
            raise UserError(f"{source}: the folder holds no video")
        return found
    if path.is_file():
        return (
            _from_list(path) if path.suffix.lower() in LIST_SUFFIXES else [_Found(path.name, path)]
        )
    if glob.has_magic(source):
        files = [Path(name) for name in sorted(_matches(source))]
        files = [file for file in files if file.is_file()]
        if not files:
            raise UserError(f"{source}: the pattern matches no file")
        base = Path(*itertools.takewhile(lambda part: not glob.has_magic(part), path.parts))
        return [_Found(file.relative_to(base).as_posix(), file) for file in files]
    raise UserError(f"{source}: no such file or folder")


def _matches(pattern: str) -> list[str]:
    return glob.glob(pattern, recursive=True, include_hidden=True)  # noqa: PTH207  # hidden ones too


def _from_list(path: Path) -> list[_Found]:
    """Rows of a list file: column `uri` (or `path`, `file`, `video`), optionally `video_id`,
    `label`, `split`. Relative paths start at the list's folder and may not leave it."""
    try:
        if path.suffix.lower() == ".parquet":
            rows = pq.read_table(path).to_pylist()
        else:
            delimiter = "\t" if path.suffix.lower() == ".tsv" else ","
            with path.open(newline="", encoding="utf-8-sig") as file:
                rows = list(csv.DictReader(file, delimiter=delimiter))
    except (UnicodeDecodeError, csv.Error, pa.ArrowInvalid) as error:
        raise UserError(f"{path}: not a readable list ({error})") from error
    if not rows:
        raise UserError(f"{path}: the list is empty")
    column = next((c for c in ("uri", "path", "file", "video") if c in rows[0]), None)
    if column is None:
        raise UserError(f"{path}: needs a column named uri, path, file or video")
    return [_listed(path, column, row) for row in rows]


def _listed(path: Path, column: str, row: Mapping[str, object]) -> _Found:
    def text(key: str) -> str | None:
        value = row.get(key)
        return None if value is None or value == "" else str(value)

    uri = text(column)
    if uri is None:
        raise UserError(f"{path}: a row has no {column}")
    split = text("split")
    if split is not None and split not in ("train", "val"):
        split = {"validation": "val", "valid": "val", "test": "val"}.get(split, split)
        if split not in ("train", "val"):
            raise UserError(f"{path}: split {split!r} is neither train nor val")
    file = Path(uri)
    if not file.is_absolute():
        if ".." in PurePosixPath(uri).parts:
            raise UserError(f"{path}: {uri} leaves the list's folder")
        file = path.parent / file
    name = text("video_id") or (uri if not Path(uri).is_absolute() else file.name)
    return _Found(name, file, text("label"), split)


def _unique_names(found: Iterable[_Found]) -> list[tuple[str, _Found]]:
    """The id is the name without its suffix, or with it where two files share the stem."""
    items = list(found)
    stems = Counter(_stem(item.name) for item in items)
    named = [(_stem(i.name) if stems[_stem(i.name)] == 1 else i.name, i) for i in items]
    twice = [name for name, count in Counter(name for name, _ in named).items() if count > 1]
    if twice:
        paths = ", ".join(str(item.path) for name, item in named if name == twice[0])
        raise UserError(f"two videos would have the id {twice[0]!r}: {paths}")
    return named


def _stem(name: str) -> str:
    pure = PurePosixPath(name)
    known = pure.suffix.lower() in VIDEO_SUFFIXES
    return str(pure.with_suffix("")) if known and pure.stem else name


def _video(name: str, item: _Found, config: CorpusConfig) -> Video:
    size, etag = _size_and_etag(item.path)
    held_out = hashed_share(config.seed, "split", name) < config.val_share
    return Video(
        video_id=name,
        uri=str(item.path.absolute()),
        bytes=size,
        etag=etag,
        label=item.label,
        split=item.split or ("val" if held_out else "train"),
    )


def _size_and_etag(path: Path) -> tuple[int, str]:
    """A listed file that is not there gets size 0 and no etag: decoding will report it."""
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            digest = hashlib.blake2b(file.read(_ETAG_BYTES), digest_size=12)
            file.seek(max(0, size - _ETAG_BYTES))
            digest.update(file.read(_ETAG_BYTES))
    except OSError:
        return 0, ""
    digest.update(str(size).encode())
    return size, digest.hexdigest()


def ensure_both_splits(videos: list[Video], config: CorpusConfig) -> list[Video]:
    """A small corpus may have no held-out video by chance: then the one with the lowest hash is."""
    if config.val_share == 0.0 or len(videos) < 2 or any(v.split == "val" for v in videos):
        return videos
    chosen = min(videos, key=lambda v: hashed_share(config.seed, "split", v.video_id)).video_id
    return [replace(v, split="val") if v.video_id == chosen else v for v in videos]
