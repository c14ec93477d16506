"""Tar archives, plain or gzipped, read from beginning to end without unpacking them to disk.

A member is named in the chained form of fsspec, `tar://MEMBER::/path/of/archive.tar.gz`. What a tar
may hold beside plain files inside its folder (links, devices, absolute names, `..`) is refused by name.
"""

import gzip
import io
import re
import tarfile
import zlib
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import IO

import pyarrow as pa
import pyarrow.compute as pc

from pipelines.storage import Location, open_binary

ARCHIVE_SUFFIXES = (".tar", ".tar.gz", ".tgz")
_GZIP_MAGIC = b"\x1f\x8b"
_BUFFER_BYTES = 1 << 20
_LONGEST_HEADER_BYTES = 1 << 20
_LONGEST_TAIL_BYTES = 64 << 20
_HEADERS_WITH_CONTENT = (
    tarfile.XHDTYPE,
    tarfile.XGLTYPE,
    tarfile.SOLARIS_XHDTYPE,
    tarfile.GNUTYPE_LONGNAME,
    tarfile.GNUTYPE_LONGLINK,
)


@dataclass(frozen=True, slots=True)
class Member:
    """A file in an archive, or an entry that is refused."""

    name: str
    bytes: int
    refused_kind: str | None = None
    """The word that `errors.parquet` uses, where the entry is refused."""
    refused_message: str | None = None


class DamagedArchiveError(Exception):
    """The archive cannot be read further. `kind` is the word that `errors.parquet` uses: `missing`,
    `empty`, `truncated`, `unreadable` or `storage`."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind
        self.message = message


class Content:
    """The bytes of a member. Reading and seeking go forward only."""

    def __init__(self, file: IO[bytes], seekable: bool) -> None:
        self._file = file
        self._seekable = seekable
        self._position = 0

    def read(self, size: int) -> bytes:
        """Up to `size` bytes; none at the end. Raises `DamagedArchiveError`."""
        try:
            part = self._file.read(size)
        except Exception as error:
            raise _damage(error) from error
        self._position += len(part)
        return part

    def seek(self, position: int) -> None:
        """Skip to a position from the member's beginning. Raises `DamagedArchiveError`."""
        if self._seekable:
            self._position = self._file.seek(position)
        while self._position < position:
            if not self.read(min(position - self._position, _BUFFER_BYTES)):
                return


def is_archive(name: str) -> bool:
    """Whether a file of this name is taken for a tar archive."""
    return name.lower().endswith(ARCHIVE_SUFFIXES)


def are_archives(names: pa.ChunkedArray) -> pa.ChunkedArray:
    """`is_archive` of every name, many times as fast."""
    ends = "|".join(map(re.escape, ARCHIVE_SUFFIXES))
    return pc.match_substring_regex(names, rf"(?i:{ends})$")


def without_archive_suffix(name: str) -> str:
    """`part_0.tar.gz` -> `part_0`."""
    return next(name[: -len(s)] for s in ARCHIVE_SUFFIXES if name.lower().endswith(s))


def tar_uri(member: str, archive: str) -> str:
    """The name of a member. The archive's own path may not contain `::`."""
    return f"tar://{member}::{archive}"


def split_tar_uri(uri: str) -> tuple[str, str] | None:
    """Member and archive of a member's uri; None for any other uri."""
    if not uri.startswith("tar://"):
        return None
    member, _, archive = uri.removeprefix("tar://").rpartition("::")
    return member, archive


def read_members(archive: Location) -> Iterator[tuple[Member, Content]]:
    """Members in their order. The content of one is to be read before the next is asked for.

    Directories are left out; a refused member has no content. Raises `DamagedArchiveError` after the
    last member before the damage.
    """
    try:
        with ExitStack() as stack:
            raw = stack.enter_context(open_binary(archive))
            magic = raw.read(len(_GZIP_MAGIC))
            raw.seek(0)
            if not magic:
                raise DamagedArchiveError("empty", "the archive is empty")
            if magic != _GZIP_MAGIC:
                plain = tarfile.open(fileobj=raw, mode="r:", tarinfo=_Header)  # noqa: SIM115
                yield from _members(stack.enter_context(plain), seekable=True)
                return
            unzipped = stack.enter_context(_Unzipped(fileobj=raw))
            stream = tarfile.open(  # noqa: SIM115  # closed by the stack
                fileobj=unzipped, mode="r|", bufsize=_BUFFER_BYTES, tarinfo=_Header
            )
            yield from _members(stack.enter_context(stream), seekable=False)
            for _ in range(
                _LONGEST_TAIL_BYTES // _BUFFER_BYTES
            ):  # gzip's checksum stands at the end
                if not unzipped.read(_BUFFER_BYTES):
                    return
    except DamagedArchiveError:
        raise
    except Exception as error:
        raise _damage(error) from error


class _Unzipped(gzip.GzipFile):
    """Hands on what there is before it reports damage."""

    def read(self, size: int | None = -1) -> bytes:
        return self.read1(-1 if size is None else size)


class _EndsEarlyError(tarfile.ReadError):
    """There is nothing where a header should stand."""


class _Header(tarfile.TarInfo):
    """A header that is damaged or missing is an error; tarfile takes it for the archive's end."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> "_Header":
        try:
            header = super().frombuf(buf, encoding, errors)
        except tarfile.HeaderError as error:
            if len(buf) < tarfile.BLOCKSIZE:
                raise _EndsEarlyError(str(error)) from error
            if buf.count(b"\0") == tarfile.BLOCKSIZE:
                raise  # the mark of the end
            raise tarfile.ReadError(str(error)) from error
        if header.type in _HEADERS_WITH_CONTENT and header.size > _LONGEST_HEADER_BYTES:
            raise tarfile.ReadError(f"a header of {header.size} bytes")
        return header


def _members(tar: tarfile.TarFile, seekable: bool) -> Iterator[tuple[Member, Content]]:
    while (header := tar.next()) is not None:
        tar.members.clear()  # type: ignore[attr-defined]  # tarfile keeps every header that it has seen
        if header.size < 0:
            raise tarfile.ReadError(f"a member of {header.size} bytes")
        refused = _refusal(header)
        if refused is not None:
            name = header.name.encode(errors="backslashreplace").decode()
            yield Member(name, 0, *refused), Content(io.BytesIO(), seekable=True)
        elif header.isreg():
            file = tar.extractfile(header)
            assert file is not None
            yield Member(header.name, header.size), Content(file, seekable)


def _refusal(header: tarfile.TarInfo) -> tuple[str, str] | None:
    """Kind and message, or None for what is safe: plain files and directories inside the folder."""
    if header.name.startswith("/") or ".." in PurePosixPath(header.name).parts:
        return "unsafe_member", "the name leaves the archive's folder"
    if "\0" in header.name:
        return "unsafe_member", "the name holds a NUL"
    if header.issym() or header.islnk():
        return "unsafe_member", "a link"
    if header.isdev():
        return "unsafe_member", "a FIFO" if header.isfifo() else "a device"
    if header.issparse() or not (header.isreg() or header.isdir()):
        return "unsafe_member", "neither a plain file nor a folder"
    try:
        header.name.encode()
    except UnicodeEncodeError:
        return "unreadable", "the name is not UTF-8"
    return None


def _damage(error: Exception) -> DamagedArchiveError:
    text = " ".join(str(error).split())
    if isinstance(error, EOFError | _EndsEarlyError) or "unexpected end" in text:
        return DamagedArchiveError("truncated", f"the archive ends early ({text})")
    if isinstance(error, FileNotFoundError):
        return DamagedArchiveError("missing", "the archive does not exist")
    known = (tarfile.TarError, gzip.BadGzipFile, zlib.error)
    if isinstance(error, OSError) and not isinstance(error, known):
        return DamagedArchiveError("storage", f"the archive cannot be read ({text})")
    return DamagedArchiveError("unreadable", f"the archive is damaged ({text})")
