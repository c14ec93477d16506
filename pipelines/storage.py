"""Folders on this machine and on S3 behind one set of functions: whole files or none, and digests.

A `Location` is a local path or an `S3Path`. A local file is written under a hidden name, flushed and
renamed; an object appears when its one request, or the last of its parts, is complete.
"""

import contextlib
import hashlib
import io
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath
from typing import IO, Any, BinaryIO, Protocol, TypeVar

import pyarrow as pa
import pyarrow.parquet as pq

from model.errors import UserError
from pipelines import s3
from pipelines.s3_path import SCHEME, S3Path

Location = Path | S3Path
AnyLocation = TypeVar("AnyLocation", Path, S3Path, Location)
_REQUESTS_AT_ONCE = 16
_EDGE_BYTES = 1 << 16
_READ_AHEAD_BYTES = 8 << 20


def location(text: str) -> Location:
    """`s3://bucket/key`, or a local path. Raises `UserError` for another scheme."""
    if text.startswith(SCHEME):
        return S3Path.parse(text)
    if "://" in text:
        raise UserError(
            f"{text.partition('://')[0]}://: not a place that is known (folders, s3://)"
        )
    return Path(text)


def write_atomically(path: Location, write: Callable[[Path], None]) -> int:
    """Let `write` fill a temporary local file that becomes `path`; returns its size in bytes.

    A temporary file for S3 has no name of its own, so that nothing is left when the process dies.
    """
    if isinstance(path, S3Path):
        with tempfile.TemporaryFile() as file:
            write(Path(f"/proc/self/fd/{file.fileno()}"))
            size = os.fstat(file.fileno()).st_size
            s3.upload(path.bucket, path.key, file)
            return size
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        write(temporary)
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        size = temporary.stat().st_size
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    return size


def write_bytes(path: Location, content: bytes) -> None:
    """Atomic file of these bytes."""
    if isinstance(path, S3Path):
        s3.put(path.bucket, path.key, content)
        return

    def put(temporary: Path) -> None:
        temporary.write_bytes(content)

    write_atomically(path, put)


def write_text(path: Location, text: str) -> None:
    """Atomic text file, UTF-8."""
    write_bytes(path, text.encode())


def write_json(path: Location, value: Any) -> None:
    """Atomic JSON file, indented, keys in the order given."""
    write_text(path, json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False) + "\n")


def read_json(path: Location) -> Any:
    """Raises `UserError` naming the file when it is missing or not JSON."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path}: not JSON ({error})") from error


def write_table(path: Location, table: pa.Table, row_group_size: int | None = None) -> None:
    """Atomic Parquet file."""

    def write(temporary: Path) -> None:
        pq.write_table(table, temporary, compression="zstd", row_group_size=row_group_size)

    write_atomically(path, write)


def parquet_source(path: Location) -> Path | pa.BufferReader:
    """What pyarrow's functions read a whole Parquet file from. Raises `FileNotFoundError`."""
    return pa.BufferReader(path.read_bytes()) if isinstance(path, S3Path) else path


def open_binary(path: Location) -> BinaryIO:
    """Open a file for reading; an object is fetched in large parts as they are needed.

    Raises `OSError`, for S3 as well.
    """
    if isinstance(path, Path):
        return path.open("rb")
    file = s3.arrow_filesystem().open_input_file(f"{path.bucket}/{path.key}")
    return io.BufferedReader(file, _READ_AHEAD_BYTES)


def arrow_paths(paths: Sequence[Location]) -> tuple[list[str], Any]:
    """Paths and the filesystem in which pyarrow and Ray find them (None for local ones)."""
    if any(isinstance(path, S3Path) for path in paths):
        return [str(path).removeprefix(SCHEME) for path in paths], s3.arrow_filesystem()
    return [str(path) for path in paths], None


def size_bytes(path: Location) -> int:
    """Raises `FileNotFoundError`."""
    return path.size_bytes() if isinstance(path, S3Path) else path.stat().st_size


def files_in(folder: AnyLocation) -> dict[str, AnyLocation]:
    """Files directly in a folder by name, in order; none when it is missing. One listing on S3."""
    if isinstance(folder, Path) and not folder.is_dir():
        return {}
    return {path.name: path for path in sorted(folder.iterdir(), key=_name) if path.is_file()}


def folders_in(folder: AnyLocation) -> dict[str, AnyLocation]:
    """Folders directly in a folder by name, in order; none when it is missing. One listing on S3."""
    if isinstance(folder, Path) and not folder.is_dir():
        return {}
    return {path.name: path for path in sorted(folder.iterdir(), key=_name) if path.is_dir()}


def _name(path: Location) -> str:
    return path.name


def read_all(paths: Sequence[Location]) -> list[bytes]:
    """The contents of many small files, several requests at a time."""
    # Several at once to each thread: handing them over one by one costs more than a small local file.
    length = -(-len(paths) // (4 * _REQUESTS_AT_ONCE)) or 1
    parts = [paths[start : start + length] for start in range(0, len(paths), length)]
    with ThreadPoolExecutor(_REQUESTS_AT_ONCE) as pool:
        read = pool.map(lambda part: [path.read_bytes() for path in part], parts)
        return [content for part in read for content in part]


def remove_files(paths: Sequence[Location]) -> None:
    """Remove files; those that are missing are no error."""
    for path in paths:
        if isinstance(path, Path):
            path.unlink(missing_ok=True)
    objects = [path for path in paths if isinstance(path, S3Path)]
    for bucket in {path.bucket for path in objects}:
        s3.delete(bucket, [path.key for path in objects if path.bucket == bucket])


def remove_folder(folder: Location) -> None:
    """Remove a folder with everything in it, if it is there."""
    if isinstance(folder, S3Path):
        remove_files(list(folder.files()))
    else:
        shutil.rmtree(folder, ignore_errors=True)


def drop_unfinished(folder: Location, patterns: Sequence[str]) -> None:
    """Remove what a killed process left: files of these patterns, or parts of uploads."""
    if isinstance(folder, S3Path):
        with contextlib.suppress(s3.StorageError):  # few are allowed to see them, and it is no harm
            s3.abort_uploads(folder.bucket, f"{folder.key}/".lstrip("/"))
        return
    remove_files([file for pattern in patterns for file in folder.glob(pattern)])


def download(path: S3Path, file: IO[bytes]) -> None:
    """Write an object's content into an empty file. Raises `FileNotFoundError` and `StorageError`."""
    s3.download(path.bucket, path.key, file)


@contextlib.contextmanager
def local_file(path: Location) -> Iterator[Path]:
    """The file itself, or a copy of the object for the body of the `with`.

    The copy has no name of its own, so that nothing is left of it when the process is killed; other
    processes of this user can open the path too. A `UserError` of the body passes through with the
    object's address in place of the copy's. Raises `FileNotFoundError` and `StorageError`.
    """
    if isinstance(path, Path):
        yield path
        return
    with tempfile.TemporaryFile() as file:
        download(path, file)
        file.flush()
        copy = Path(f"/proc/{os.getpid()}/fd/{file.fileno()}")
        try:
            yield copy
        except UserError as error:
            raise UserError(str(error).replace(str(copy), str(path))) from error


def upload_folder(source: Path, target: S3Path) -> None:
    """Copy all files below a local folder to a prefix, several at a time."""

    def send(file: Path) -> None:
        path = target.joinpath(*file.relative_to(source).parts)
        with file.open("rb") as content:
            s3.upload(path.bucket, path.key, content)

    with ThreadPoolExecutor(_REQUESTS_AT_ONCE) as pool:
        list(pool.map(send, [file for file in sorted(source.rglob("*")) if file.is_file()]))


def fingerprint(value: Any) -> str:
    """Short digest of anything JSON can hold; equal values give equal digests."""
    text = json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def inside(folder: AnyLocation, name: str) -> AnyLocation:
    """`folder / name`, refused with `UserError` when the name leaves the folder."""
    parts = PurePosixPath(name).parts
    if not parts or name.startswith("/") or ".." in parts or "\0" in name:
        raise UserError(f"{name!r} would leave {folder}")
    return folder.joinpath(*parts)


class Readable(Protocol):
    """A file that is read forward."""

    def read(self, size: int, /) -> bytes: ...

    def seek(self, position: int, /) -> object: ...


def edge_digest(file: Readable, size: int) -> str:
    """Digest of a file's size and of its first and last 64 KiB. Reads and seeks forward only."""
    if size <= 2 * _EDGE_BYTES:
        whole = _read_fully(file, size)
        head, tail = whole[:_EDGE_BYTES], whole[-_EDGE_BYTES:]
    else:
        head = _read_fully(file, _EDGE_BYTES)
        file.seek(size - _EDGE_BYTES)
        tail = _read_fully(file, _EDGE_BYTES)
    digest = hashlib.blake2b(head, digest_size=12)
    digest.update(tail)
    digest.update(str(size).encode())
    return digest.hexdigest()


def _read_fully(file: Readable, size: int) -> bytes:
    parts = []
    while size > 0 and (part := file.read(size)):
        parts.append(part)
        size -= len(part)
    return b"".join(parts)
