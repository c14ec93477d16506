"""One process at a time that makes a dataset, trains into a run's folder, or labels an archive.

On this machine's file systems the kernel frees the lock when its holder ends, however it ends. On S3 the
holder rewrites an object every few seconds; one that no longer changes belongs to a run that is gone, and
a holder that finds another's object in its place ends. No clocks are compared. The lock's first line says
which process on which machine holds it.
"""

import contextlib
import fcntl
import os
import platform
import signal
import sys
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
_ENDS_WITHIN_S = 60.0
"""What a process that has lost the lock may take for ending by itself."""


@contextmanager
def only_run(out: Location, beat_s: float = BEAT_S, *, makes: str = "dataset") -> Iterator[None]:
    """Hold the folder for the body of the `with`. Raises `UserError` when another run holds it.

    The body belongs into the main thread, which is interrupted when another run has taken a lock on S3
    that got no sign of life through; the `with` then raises `UserError`. A folder that is not there is
    made, and removed again where nothing comes of it.
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


def _holder(token: str = "") -> bytes:
    """Who holds the lock; different at each call, so that an object's ETag changes."""
    return f"{os.getpid()} on {platform.node()}\n{token}\n{uuid.uuid4().hex}\n".encode()


def _refusal(lock: Location, makes: str) -> UserError:
    holder = ""
    with contextlib.suppress(
        FileNotFoundError, s3.StorageError
    ):  # it has just ended, or S3 is away
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
    lease = _Lease(lock, makes)
    lease.take(beat_s)
    ended, lost = threading.Event(), threading.Event()
    beat = threading.Thread(target=_beat, args=(lease, ended, lost, beat_s), daemon=True)
    beat.start()
    try:
        try:
            yield
        finally:
            ended.set()
            beat.join()
            # Where it cannot be removed it is unchanged from now on, and stops nobody for long.
            with contextlib.suppress(s3.StorageError):
                if not lost.is_set() and lease.is_held():
                    remove_files([lock])
    except KeyboardInterrupt as interrupt:
        if lost.is_set():
            raise lease.loss() from interrupt
        raise
    if lost.is_set():
        raise lease.loss()


class _Lease:
    """The object on S3 that is the lock, rewritten by the process that holds it.

    Its second line is that process's own. A write whose answer is lost on the way is sent again, and then
    refused because of itself; who wrote the object tells that from a loss.
    """

    def __init__(self, lock: S3Path, makes: str) -> None:
        self._lock = lock
        self._makes = makes
        self._token = uuid.uuid4().hex
        self._etag: str | None = None

    def take(self, beat_s: float) -> None:
        """Waits some beats where there is a lock already. Raises `UserError` when its holder lives."""
        if self.write():
            return
        before = self._listed_etag()
        deadline_s = time.monotonic() + _MISSED_BEATS * beat_s
        while time.monotonic() < deadline_s:
            time.sleep(beat_s / 2)
            if self._listed_etag() != before:
                raise _refusal(self._lock, self._makes)
        self._etag = before
        if not self.write():
            raise _refusal(self._lock, self._makes)

    def write(self) -> bool:
        """Rewrite the object as it was last known; False when it is another process's now."""
        content = _holder(self._token)
        etag = s3.put_if_unchanged(self._lock.bucket, self._lock.key, content, self._etag)
        if etag is None:
            # Listed before it is read: what is ours when it is read has been ours since.
            etag = self._listed_etag()
            if not self.is_held():
                return False
        self._etag = etag
        return True

    def is_held(self) -> bool:
        """Whether this process wrote the object last."""
        try:
            return self._token in self._lock.read_text(encoding="utf-8").splitlines()
        except FileNotFoundError:
            return False

    def loss(self) -> UserError:
        """What to tell when another process has taken it."""
        return UserError(
            f"{_refusal(self._lock, self._makes)}; it took over when it saw no sign of life of this one, "
            "which has ended for that"
        )

    def _listed_etag(self) -> str | None:
        found = s3.list_objects(self._lock.bucket, self._lock.key)
        return next((o.etag for o in found if o.key == self._lock.key), None)


def _beat(lease: _Lease, ended: threading.Event, lost: threading.Event, beat_s: float) -> None:
    """Rewrite the lock until the body has ended. When it is lost, interrupt the body as Ctrl-C does."""
    while not ended.wait(beat_s):
        try:
            if lease.write():
                continue
        except s3.StorageError:  # the next beat may get through; shards report lasting trouble
            continue
        lost.set()
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
        if not ended.wait(_ENDS_WITHIN_S):  # where Ctrl-C is ignored
            print(f"huetrack: {lease.loss()}", file=sys.stderr, flush=True)
            os._exit(2)
        return
