"""SIGTERM, by which `timeout`, schedulers and service managers end a command, stops it as Ctrl-C does."""

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType


class Terminated(KeyboardInterrupt):
    """Somebody sent SIGTERM."""


@contextlib.contextmanager
def stopping_like_ctrl_c() -> Iterator[None]:
    """In the body of the `with` the first SIGTERM raises `KeyboardInterrupt` in the main thread (`timeout`
    sends two of them), which leaves the body as `Terminated`.

    To be entered when Ray is connected: its own handler, which prints stacks of C++ and ends the process,
    comes with `ray.init`.
    """
    if threading.current_thread() is not threading.main_thread():  # where no handler can be set
        yield
        return
    terminated = False

    def stop(number: int, frame: FrameType | None) -> None:
        nonlocal terminated
        terminated = True
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    except KeyboardInterrupt as stopped:  # Ray raises one of its own
        if terminated:
            raise Terminated from stopped
        raise
    finally:
        # None: a handler that is not Python's, as Ray's, which cannot be put back.
        signal.signal(signal.SIGTERM, signal.SIG_DFL if before is None else before)
