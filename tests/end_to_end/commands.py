"""Commands in processes of their own, that tests watch, kill and starve."""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from tests.conftest import REPOSITORY
from tests.processes import process_below

HUETRACK = [sys.executable, "-m", "jobs.cli"]

Start = Callable[[], psutil.Popen]
"""Starts the command once more."""


@contextmanager
def started(arguments: Sequence[str], log: Path) -> Iterator[Start]:
    """Each run in a session of its own, of which nothing is left at the end of the `with`."""
    runs: list[psutil.Popen] = []

    def begin() -> psutil.Popen:
        with log.open("ab") as output:
            run = psutil.Popen(
                [*HUETRACK, *arguments],
                cwd=REPOSITORY,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        runs.append(run)
        return run

    try:
        yield begin
    finally:
        for run in runs:
            if run.poll() is None:
                os.killpg(run.pid, signal.SIGKILL)
                run.wait()


def process_of(run: psutil.Popen, words: str, when: Callable[[], bool]) -> psutil.Process:
    """A process below the run whose command line holds the words, when the time has come."""
    return process_below(run, words, when, over=lambda: run.poll() is not None)


def on_a_full_disk(
    arguments: Callable[[Path], Sequence[str]], place: Path, too_small: int, enough: int
) -> tuple[str, Path]:
    """Run the command that makes `arguments(folder)` on a disk of too few bytes, and again on one of enough.

    Returns the last line that the first run wrote, and a copy of what the second one made.
    """
    disk, out = place / "disk", place / "disk" / "out"
    disk.mkdir()
    command = " ".join(f"'{word}'" for word in [*HUETRACK, *arguments(out)])
    script = (
        f"mount -t tmpfs -o size={too_small} tmpfs '{disk}' || exit 77\n"
        f"{command} 2>'{place}/full'; echo $? >'{place}/status'\n"
        f"mount -o remount,size={enough} '{disk}'\n"
        f"{command} && cp -r '{out}' '{place}/saved'\n"
    )
    if shutil.which("unshare") is None:
        pytest.skip("unshare is missing")
    done = subprocess.run(["unshare", "-rm", "sh", "-c", script], cwd=REPOSITORY, check=False)
    if done.returncode in (1, 77) and not (place / "status").exists():
        pytest.skip("file systems cannot be mounted here")
    assert (place / "status").read_text().strip() == "2"
    return (place / "full").read_text().strip().splitlines()[-1], place / "saved"
