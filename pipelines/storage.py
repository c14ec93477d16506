"""Writing files so that they appear whole or not at all, and digests of what they hold.

Paths are local here; this module is the one place that will learn other file systems.
"""

import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from model.errors import UserError


def write_atomically(path: Path, write: Callable[[Path], None]) -> None:
    """Let `write` fill a temporary file beside `path`, flush it to disk and rename it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        write(temporary)
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_bytes(path: Path, content: bytes) -> None:
    """Atomic file of these bytes."""

    def put(temporary: Path) -> None:
        temporary.write_bytes(content)

    write_atomically(path, put)


def write_text(path: Path, text: str) -> None:
    """Atomic text file, UTF-8."""
    write_bytes(path, text.encode())


def write_json(path: Path, value: Any) -> None:
    """Atomic JSON file, indented, keys in the order given."""
    write_text(path, json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False) + "\n")


def read_json(path: Path) -> Any:
    """Raises `UserError` naming the file when it is missing or not JSON."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    except ValueError as error:
        raise UserError(f"{path}: not JSON ({error})") from error


def write_table(path: Path, table: pa.Table) -> None:
    """Atomic Parquet file."""
    write_atomically(path, lambda temporary: pq.write_table(table, temporary, compression="zstd"))


def fingerprint(value: Any) -> str:
    """Short digest of anything JSON can hold; equal values give equal digests."""
    text = json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def inside(folder: Path, name: str) -> Path:
    """`folder / name`, refused with `UserError` when the name leaves the folder."""
    parts = PurePosixPath(name).parts
    if not parts or name.startswith("/") or ".." in parts or "\0" in name:
        raise UserError(f"{name!r} would leave {folder}")
    return folder.joinpath(*parts)
