"""A video's uri -> a local path, for as long as the video is read.

A file is read where it lies. The member of an archive, or an object on S3, is copied to a temporary
file without a name, so nothing stays behind when the process is killed; its path leads through this
process's descriptor.
"""

import os
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TypeVar

from pipelines.decode import DecodeError
from pipelines.manifest import Video
from pipelines.s3 import StorageError
from pipelines.s3_path import S3Path
from pipelines.storage import download, location
from pipelines.tar_members import Content, DamagedArchiveError, Member, read_members, split_tar_uri

_COPY_BYTES = 1 << 20
Item = TypeVar("Item")


def grouped_for_reading(
    items: Iterable[Item], archive_of: Callable[[Item], str | None]
) -> list[list[Item]]:
    """What one worker should fetch in a row: all items of an archive together, any other alone."""
    groups: list[list[Item]] = []
    last: str | None = None
    for item in items:
        archive = archive_of(item)
        if archive is not None and archive == last:
            groups[-1].append(item)
        else:
            groups.append([item])
        last = archive
    return groups


class Fetcher:
    """Fetches videos one at a time. Members of an archive are cheap in the archive's order: then it is
    read once. Any other order gives the same and starts the archive again."""

    def __init__(self) -> None:
        self._archive = ""
        self._members: Iterator[tuple[Member, Content]] = iter(())
        self._passed: set[str] = set()
        self._ending = DecodeError("missing", "no archive is open")

    @contextmanager
    def local(self, video: Video) -> Iterator[Path]:
        """A path to read inside the `with`.

        Raises `DecodeError` with kind `missing`, `empty`, `storage`, the kind of a damaged archive, or
        the kind under which the listing refused the video. A `DecodeError` of the body passes through
        with the video's uri in place of the temporary path.
        """
        if video.refused_kind is not None:
            raise DecodeError(video.refused_kind, video.refused_message or "")
        member = split_tar_uri(video.uri)
        source = location(video.uri) if member is None else None
        if isinstance(source, Path):
            if not source.is_file():
                raise DecodeError("missing", "the file does not exist")
            if video.bytes == 0:
                raise DecodeError("empty", "the file is empty")
            yield source
            return
        if video.bytes == 0:
            raise DecodeError("empty", "the file is empty")
        with _temporary_file() as file:
            if member is not None:
                _copy(self._find(*member), file)
            elif isinstance(source, S3Path):
                _download(source, file)
            path = Path(f"/proc/{os.getpid()}/fd/{file.fileno()}")
            try:
                yield path
            except DecodeError as error:
                message = error.message.replace(str(path), video.uri)
                raise DecodeError(error.kind, message) from error

    def _find(self, name: str, archive: str) -> Content:
        if archive != self._archive or name in self._passed:
            self._archive, self._passed = archive, set()
            self._members = read_members(location(archive))
            self._ending = DecodeError("missing", "the archive holds no such member")
        try:
            for member, content in self._members:
                if member.refused_kind is None:
                    self._passed.add(member.name)
                    if member.name == name:
                        return content
        except DamagedArchiveError as error:
            self._ending = DecodeError(error.kind, error.message)
        raise self._ending


def _temporary_file() -> IO[bytes]:
    try:
        return tempfile.TemporaryFile()  # the caller closes it
    except OSError as error:
        raise DecodeError("storage", f"no temporary file: {error.strerror}") from error


def _download(source: S3Path, file: IO[bytes]) -> None:
    try:
        download(source, file)
        file.flush()
    except FileNotFoundError:
        raise DecodeError("missing", "the object does not exist") from None
    except StorageError as error:
        raise DecodeError("storage", str(error)) from error
    except OSError as error:
        raise DecodeError("storage", f"no temporary copy: {error.strerror}") from error


def _copy(content: Content, file: IO[bytes]) -> None:
    try:
        while part := content.read(_COPY_BYTES):
            file.write(part)
        file.flush()
    except DamagedArchiveError as error:
        raise DecodeError(error.kind, error.message) from error
    except OSError as error:
        raise DecodeError("storage", f"no temporary copy: {error.strerror}") from error
