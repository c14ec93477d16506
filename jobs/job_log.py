"""Following a job: its log as it grows, what Ctrl-C means, and the exit status that it ended with."""

import asyncio
import contextlib
import re
import sys
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Literal

import aiohttp
from rich.console import Console

from jobs.console import ProgressDisplay
from jobs.job_cluster import JobCluster, Unreachable
from model.errors import UserError

if TYPE_CHECKING:
    from ray.dashboard.modules.job.pydantic_models import JobDetails

LOST_AFTER_S = 300.0
"""How long the head may be out of reach before following gives up; the job goes on meanwhile."""
QUIET_S = 30.0
"""After so long without a line the job is asked for, in case that the connection is dead."""
AGAIN_S = 1.0
INTERRUPTED, LOST = 130, 3
"""Exit statuses beside those of commands."""

_PROGRESS = re.compile(r"([a-z]+): (\d+)/(\d+)(?: (.*))?")
_ETA = re.compile(r"(?:, )?eta \d+:\d\d:\d\d$")


class LogView:
    """Shows a log that comes in pieces: lines, and on a terminal the progress in them as bars."""

    def __init__(self, display: ProgressDisplay, console: Console) -> None:
        self.length = 0
        """Characters that have come so far."""
        self._display = display
        self._console = console
        self._line = ""

    def add(self, piece: str) -> None:
        self.length += len(piece)
        *lines, self._line = (self._line + piece).split("\n")
        for line in lines:
            self._show(line)

    def close(self) -> None:
        """Show what is left of the last line."""
        if self._line:
            self._show(self._line)
            self._line = ""

    def _show(self, line: str) -> None:
        progress = _PROGRESS.fullmatch(line) if self._console.is_terminal else None
        if progress:
            stage, done, total, remark = progress.groups()
            self._display(stage, int(done), int(total), _ETA.sub("", remark or ""))
        else:
            self._console.print(line, markup=False, highlight=False, soft_wrap=True)


@contextlib.contextmanager
def log_view() -> Iterator[LogView]:
    """A view on standard output."""
    console = Console()
    with ProgressDisplay(console) as display:
        view = LogView(display, console)
        try:
            yield view
        finally:
            view.close()


def follow_to_the_end(cluster: JobCluster, job_id: str) -> int:
    """Show the job's log until it ends, and return its exit status (`exit_status`).

    Ctrl-C asks whether to stop the job or to leave it running, which is what happens where nobody can
    be asked; both return 130. When the head stays out of reach for `LOST_AFTER_S`, returns 3.
    """
    shown = 0
    while True:
        try:
            with log_view() as view:
                view.length = shown
                try:
                    details = asyncio.run(_follow(cluster, job_id, view))
                finally:
                    shown = view.length
            return report_end(job_id, details)
        except Unreachable as error:
            _say(f"{error}. The job may go on: huetrack jobs follow {job_id}")
            return LOST
        except KeyboardInterrupt:
            answer = ask_what_to_do()
            if answer == "detach":
                _say(
                    f"job {job_id} goes on; huetrack jobs follow {job_id} shows it, "
                    f"huetrack jobs stop {job_id} stops it"
                )
                return INTERRUPTED
            if answer == "stop":
                cluster.stop(job_id)


def ask_what_to_do() -> Literal["detach", "stop", "follow"]:
    """After Ctrl-C. Whoever cannot be asked, or presses it again, detaches."""
    if not sys.stdin.isatty():
        return "detach"
    try:
        answer = input("\n[d]etach and let the job go on, [s]top it, or [f]ollow on? [d] ")
    except (EOFError, KeyboardInterrupt):
        return "detach"
    return {"s": "stop", "f": "follow"}.get(answer.strip().lower()[:1], "detach")  # type: ignore[return-value]


def report_end(job_id: str, details: "JobDetails") -> int:
    """Say how a job ended, unless all went well, and return its exit status."""
    status = exit_status(details)
    if details.status == "STOPPED":
        _say(f"job {job_id} was stopped")
    elif status == LOST:
        reason = next(iter((details.message or "no reason given").splitlines()))
        _say(f"the cluster lost job {job_id}: {reason}")
    elif status > 128:
        _say(
            f"job {job_id} was killed by signal {status - 128}; submit the same command again to go on"
        )
    return status


def exit_status(details: "JobDetails") -> int:
    """Of a job that has ended: what its command exited with (128 + N for signal N), 130 where it was
    stopped, 3 where the cluster did not run it to its end."""
    if details.status == "SUCCEEDED":
        return 0
    if details.status == "STOPPED":
        return INTERRUPTED
    code = details.driver_exit_code
    if not code:
        return LOST
    return code if code > 0 else 128 - code


async def _follow(cluster: JobCluster, job_id: str, view: LogView) -> "JobDetails":
    """Until the job has ended and all of its log is shown. Raises `Unreachable`."""
    answered_s = time.monotonic()
    while True:
        # A dropped connection is no news of the job, and the log begins anew with the next one.
        with contextlib.suppress(aiohttp.ClientError, OSError, RuntimeError, asyncio.TimeoutError):
            await _tail(cluster, job_id, view)
        try:
            details = cluster.job(job_id)
            if details.status.is_terminal():
                with contextlib.suppress(UserError):  # its node is gone, and the log with it
                    view.add(cluster.log(job_id)[view.length :])
                return details
            answered_s = time.monotonic()
        except Unreachable:
            if time.monotonic() - answered_s > LOST_AFTER_S:
                raise
        await asyncio.sleep(AGAIN_S)


async def _tail(cluster: JobCluster, job_id: str, view: LogView) -> None:
    """Show what is new in the log, until the connection ends or is quiet for `QUIET_S`."""
    known = view.length
    pieces = cluster.client.tail_job_logs(job_id)
    async with contextlib.aclosing(pieces):  # type: ignore[type-var]  # it is a generator
        while True:
            try:
                # Not `wait_for`, which loses a Ctrl-C that comes together with a piece (Python 3.11).
                async with asyncio.timeout(QUIET_S):
                    piece = await anext(pieces)
            except StopAsyncIteration:
                return
            view.add(piece[known:])
            known = max(0, known - len(piece))


def _say(line: str) -> None:
    print(f"huetrack: {line}", file=sys.stderr, flush=True)
