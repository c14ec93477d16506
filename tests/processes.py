"""Processes that a test ends, found by their command lines."""

import contextlib
import time
from collections.abc import Callable

import psutil

LONGEST_S = 400.0
_LOOKS_AGAIN_S = 1.0
"""Looking through all processes takes long on a busy machine."""


def processes_below(parent: psutil.Process, words: str) -> list[psutil.Process]:
    """Those whose command lines hold the words, in no order; one that ends meanwhile is none of them."""
    found = []
    with contextlib.suppress(psutil.NoSuchProcess):
        for process in parent.children(recursive=True):
            with contextlib.suppress(psutil.Error):
                if words in " ".join(process.cmdline()):
                    found.append(process)
    return found


def process_below(
    parent: psutil.Process,
    words: str,
    when: Callable[[], bool] = lambda: True,
    over: Callable[[], bool] = lambda: False,
) -> psutil.Process:
    """One of them as soon as `when()`, which is asked last. Fails when all is `over()` before."""
    deadline_s = time.monotonic() + LONGEST_S
    while time.monotonic() < deadline_s and not over():
        found, again_s = processes_below(parent, words), time.monotonic() + _LOOKS_AGAIN_S
        while found and time.monotonic() < again_s:
            if when() and (running := [process for process in found if process.is_running()]):
                return running[0]
            time.sleep(0.01)
        time.sleep(0.01)
    raise AssertionError(f"no process {words!r} was seen")


def kill(find: Callable[[], psutil.Process]) -> psutil.Process:
    """Kill the process that is found; where it has ended by itself, the one that is found next."""
    while True:
        process = find()
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
            return process
