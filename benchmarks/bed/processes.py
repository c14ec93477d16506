"""Processes that the bed starts, waits for and ends."""

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path


class Server:
    """A process that runs until it is ended, with its log."""

    def __init__(self, words: Sequence[str], environment: Mapping[str, str], log: Path) -> None:
        self._words, self._environment, self.log = list(words), dict(environment), log
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with self.log.open("ab") as output:
            self._process = subprocess.Popen(
                self._words,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )

    @property
    def runs(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def kill(self) -> None:
        """End it and what it started, at once."""
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()

    def wait_until(self, answers: Callable[[], bool], within_s: float) -> None:
        """Return when `answers()`. Raises `RuntimeError` with the log when it ends, or takes too long."""
        deadline_s = time.monotonic() + within_s
        while not answers():
            if not self.runs or time.monotonic() > deadline_s:
                raise RuntimeError(f"{self._words}: {self.log.read_text(errors='replace')[-4000:]}")
            time.sleep(0.2)
