"""Which files a source holds: a folder or `s3://` prefix (searched through), a glob, or one file.

The listing is our own: no name is skipped, whatever it begins with. It asks the file system once per
file, so that a large corpus is listed in seconds.
"""

import glob
import itertools
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from model.errors import UserError
from pipelines.s3 import S3Object
from pipelines.s3_path import S3Path
from pipelines.storage import Location, location
from pipelines.tar_members import is_archive

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


@dataclass(frozen=True, slots=True)
class Found:
    """A file that a source names, before ids are made unique."""

    name: str
    """What the id is made of: the path inside the source."""
    uri: str
    bytes: int
    modified_ns: int
    etag: str = ""
    """Known already for members of archives and for objects on S3."""
    label: str | None = None
    split: str | None = None
    refused_kind: str | None = None
    """The word that `errors.parquet` uses, where the file is refused without being read."""
    refused_message: str | None = None


def list_files(source: str) -> Iterator[Found]:
    """Videos and archives of a folder, of an `s3://` prefix, of a glob, or one file.

    Raises `UserError` when the source does not exist or holds neither.
    """
    path = location(source)
    if isinstance(path, S3Path):
        found, nothing = _objects(path), "no video has this address or lies below it"
    elif path.is_dir():
        found, nothing = _walk(str(path.absolute()), ""), "the folder holds no video"
    elif path.is_file() or not glob.has_magic(source):
        found, nothing = _one(path), "no such file or folder"
    else:
        found, nothing = _matching(source), "the pattern matches no file"
    first = next(found, None)
    if first is None:
        raise UserError(f"{source}: {nothing}")
    yield first
    yield from found


def _one(path: Path) -> Iterator[Found]:
    if path.is_file():
        yield found_file("" if is_archive(path.name) else path.name, path)


def _matching(pattern: str) -> Iterator[Found]:
    """Files that fit, hidden ones too."""
    base = Path(*itertools.takewhile(lambda part: not glob.has_magic(part), Path(pattern).parts))
    names = glob.glob(pattern, recursive=True, include_hidden=True)  # noqa: PTH207  # hidden ones
    for file in map(Path, sorted(names)):
        if file.is_file():
            yield found_file(file.relative_to(base).as_posix(), file)


def _objects(path: S3Path) -> Iterator[Found]:
    """Patterns are not expanded: a key may hold a star."""
    if is_video(path.name) or is_archive(path.name):
        listed = path.looked_up()
        if listed is not None:
            yield found_file("" if is_archive(path.name) else path.name, listed)
            return
    for file in path.files():
        if is_video(file.name) or is_archive(file.name):
            yield found_file(file.relative_to(path).as_posix(), file)


def found_file(
    name: str, path: Location, label: str | None = None, split: str | None = None
) -> Found:
    """One file by its path. A file that is not there gets size 0: decoding will report it.

    Of an object counts what its listing said.
    """
    if isinstance(path, S3Path):
        item = path.listed or S3Object(path.key, 0, "", 0)
        return _checked(name, str(path), item.bytes, item.modified_ns, label, split, item.etag)
    try:
        status = path.stat()
        size, modified_ns = status.st_size, status.st_mtime_ns
    except OSError:
        size = modified_ns = 0
    return _checked(name, str(path.absolute()), size, modified_ns, label, split)


def stems_of(names: pa.ChunkedArray) -> pa.ChunkedArray:
    """`stem` of every name, many times as fast."""
    suffixes = "|".join(suffix[1:] for suffix in sorted(VIDEO_SUFFIXES))
    return pc.replace_substring_regex(names, rf"(?s)^(.*[^/])\.(?i:{suffixes})$", r"\1")


def stem(name: str) -> str:
    """The name without its suffix, where that is one of a video."""
    base = _before_suffix(name)
    return name if base is None else base


def is_video(name: str) -> bool:
    """Whether a file of this name is taken for a video."""
    return _before_suffix(name) is not None


def _before_suffix(name: str) -> str | None:
    base, _, suffix = name.rpartition(".")  # pathlib takes ten times as long
    named = base and not base.endswith("/") and f".{suffix.lower()}" in VIDEO_SUFFIXES
    return base if named else None


def _walk(folder: str, inside: str) -> Iterator[Found]:
    """Depth first; `inside` is the path from the source, with a slash at its end."""
    try:
        with os.scandir(folder) as entries:
            listed = list(entries)
    except OSError as error:
        message = f"the folder cannot be listed ({error.strerror})"
        yield _refused(inside.rstrip("/") or folder, folder, "unreadable", message)
        return
    for entry in listed:
        if entry.is_dir(follow_symlinks=False):
            yield from _walk(entry.path, f"{inside}{entry.name}/")
        elif is_video(entry.name) or is_archive(entry.name):
            name = inside + entry.name
            try:
                status = entry.stat()
            except OSError:
                yield _refused(name, entry.path, "missing", "a link that leads nowhere")
                continue
            if stat.S_ISREG(status.st_mode):
                yield _checked(name, entry.path, status.st_size, status.st_mtime_ns)
            elif not stat.S_ISDIR(status.st_mode):
                yield _refused(name, entry.path, "unreadable", "not a plain file")


def _checked(
    name: str,
    uri: str,
    size: int,
    modified_ns: int,
    label: str | None = None,
    split: str | None = None,
    etag: str = "",
) -> Found:
    """The file, or its refusal when no table could hold its name."""
    try:
        uri.encode()
    except UnicodeEncodeError:
        return _refused(name or uri, uri, "unreadable", "the name is not UTF-8")
    if "::" in uri and is_archive(uri):
        return _refused(name or uri, uri, "unreadable", "the path of an archive may not hold ::")
    return Found(name, uri, size, modified_ns, etag, label, split)


def _refused(name: str, uri: str, kind: str, message: str) -> Found:
    shown_name, shown_uri = (
        text.encode(errors="backslashreplace").decode() for text in (name, uri)
    )
    return Found(shown_name, shown_uri, 0, 0, refused_kind=kind, refused_message=message)
