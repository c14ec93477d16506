"""One process at a time that makes a dataset, trains into a run's folder, or labels an archive.

On this machine's file systems the kernel frees the lock when its holder ends, however it ends. On S3 the
holder rewrites an object every few seconds; one that no longer changes belongs to a run that is gone.
No clocks are compared. The lock's first line says which process on which machine holds it.
"""

import contextlib
import fcntl
import os
import platform
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from model.errors import UserError
from pipelines import s3
from pipelines.s3_path import S3Path
from pipelines.storage import Location, remove_files

LOCK_FILE = ".lock"
BEAT_S = 5.0
"""Between two signs of life."""
_MISSED_BEATS = 4


@contextmanager
def only_run(out: Location, beat_s: float = BEAT_S, *, makes: str = "dataset") -> Iterator[None]:
    """Hold the folder for the body of the `with`. Raises `UserError` when another run holds it.

    A folder that is not there is made, and removed again where nothing comes of it.
    """
    if isinstance(out, S3Path):
        with _leased(out / LOCK_FILE, makes, beat_s):
            yield
        return
    made = not out.exists()
    out.mkdir(parents=True, exist_ok=True)
    descriptor = _locked(out / LOCK_FILE)
    if descriptor is None:
        raise _refusal(out / LOCK_FILE, makes)
    try:
        with contextlib.suppress(
            OSError
        ):  # on a full disk it has no text, and is held all the same
            os.ftruncate(descriptor, 0)
            os.write(descriptor, _holder())
        yield
    finally:
        (out / LOCK_FILE).unlink(missing_ok=True)
        os.close(descriptor)
        if made and not any(out.iterdir()):
            out.rmdir()  # nothing came of it


def _holder() -> bytes:
    """Who holds the lock; different at each call, so that an object's ETag changes."""
    return f"{os.getpid()} on {platform.node()}\n{uuid.uuid4().hex}\n".encode()


def _refusal(lock: Location, makes: str) -> UserError:
    holder = ""
    with contextlib.suppress(FileNotFoundError):  # it has just ended
        holder, _, _ = lock.read_text(encoding="utf-8").partition("\n")
    process = f"process ({holder})" if holder else "process"
    return UserError(f"{lock.parent}: another {process} is making this {makes}")


def _locked(path: Path) -> int | None:
    """The descriptor that holds the lock; None when another process holds it."""
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            with contextlib.suppress(FileNotFoundError):
                if os.fstat(descriptor).st_ino == path.stat().st_ino:
                    return descriptor
        except BlockingIOError:
            os.close(descriptor)
            return None
        os.close(descriptor)  # the file's last holder removed it meanwhile


@contextmanager
def _leased(lock: S3Path, makes: str, beat_s: float) -> Iterator[None]:
    etag = _taken(lock, makes, beat_s)
    ended = threading.Event()
    beat = threading.Thread(target=_beat, args=(lock, etag, ended, beat_s), daemon=True)
    beat.start()
    try:
        yield
    finally:
        ended.set()
        beat.join()
        with contextlib.suppress(s3.StorageError):  # unchanged, it stops nobody for long
            remove_files([lock])


def _taken(lock: S3Path, makes: str, beat_s: float) -> str:
    """The ETag of the lock that is now ours. Waits some beats where there is one already."""
    etag = _write(lock, None)
    if etag is not None:
        return etag
    before = _etag(lock)
    deadline_s = time.monotonic() + _MISSED_BEATS * beat_s
    while time.monotonic() < deadline_s:
        time.sleep(beat_s / 2)
        if _etag(lock) != before:
            raise _refusal(lock, makes)
    etag = _write(lock, before)
    if etag is None:
        raise _refusal(lock, makes)
    return etag


def _beat(lock: S3Path, etag: str, ended: threading.Event, beat_s: float) -> None:
    while not ended.wait(beat_s):
        try:
            etag = _write(lock, etag) or etag
        except s3.StorageError:  # the next beat may get through; shards report lasting trouble
            continue


def _write(lock: S3Path, etag: str | None) -> str | None:
    return s3.put_if_unchanged(lock.bucket, lock.key, _holder(), etag)


def _etag(lock: S3Path) -> str | None:
    return next((o.etag for o in s3.list_objects(lock.bucket, lock.key) if o.key == lock.key), None)
