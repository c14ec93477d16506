"""How a submitted job is followed: its exit status, a connection that breaks, progress."""

import asyncio
import io
from collections.abc import AsyncIterator
from typing import Any

import pytest
from ray.job_submission import JobDetails
from rich.console import Console

from jobs import job_log
from jobs.console import ProgressDisplay
from jobs.job_cluster import Unreachable


@pytest.mark.parametrize(
    ("status", "code", "expected"),
    [
        ("SUCCEEDED", 0, 0),
        ("FAILED", 1, 1),
        ("FAILED", 2, 2),
        ("FAILED", -9, 137),
        ("FAILED", None, 3),
        ("STOPPED", None, 130),
    ],
)
def test_exit_statuses(status: str, code: int | None, expected: int) -> None:
    assert job_log.exit_status(details(status, code)) == expected


def test_a_killed_command_is_told_of(capsys: pytest.CaptureFixture[str]) -> None:
    assert job_log.report_end("first", details("FAILED", -9)) == 137
    assert "job first was killed by signal 9; submit the same" in capsys.readouterr().err


def details(status: str, code: int | None = None) -> JobDetails:
    return JobDetails(type="SUBMISSION", status=status, entrypoint="x", driver_exit_code=code)


class DroppingCluster:
    """A job whose log comes in connections that break, and whose head is away now and then."""

    def __init__(self, connections: list[list[str]], away: int) -> None:
        self.client = self
        self._connections = connections
        self._away = away
        self.asked = 0

    async def tail_job_logs(self, job_id: str) -> AsyncIterator[str]:
        for piece in self._connections.pop(0):
            yield piece
        if self._connections:
            raise RuntimeError("WebSocket connection closed unexpectedly")

    def job(self, job_id: str) -> JobDetails:
        self.asked += 1
        if self.asked <= self._away:
            raise Unreachable("head: no answer")
        return details("RUNNING" if self._connections else "SUCCEEDED", 0)

    def log(self, job_id: str) -> str:
        return "one\ntwo\nthree\nthe end"


def test_a_connection_that_breaks_loses_and_repeats_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(job_log, "AGAIN_S", 0.0)
    cluster: Any = DroppingCluster(
        [["one\ntw"], [], ["one\n", "two\nthr"], ["one\ntwo\nthree\n"]], 1
    )
    shown = io.StringIO()
    console = Console(file=shown)
    view = job_log.LogView(ProgressDisplay(console), console)
    asyncio.run(job_log._follow(cluster, "job", view))
    view.close()
    assert shown.getvalue() == "one\ntwo\nthree\nthe end\n"
    monkeypatch.setattr(job_log, "LOST_AFTER_S", -1.0)
    lost: Any = DroppingCluster([["one\n"], []], 9)
    assert job_log.follow_to_the_end(lost, "job") == 3


def test_progress_in_a_log_is_shown_as_bars_on_a_terminal() -> None:
    told: list[Any] = []
    terminal = Console(file=io.StringIO(), force_terminal=True)
    view = job_log.LogView(lambda *progress: told.append(progress), terminal)  # type: ignore[arg-type]
    view.add("shards: 1/4 16 videos, 2 errors, eta 0:00:34\nshards: 4/4")
    view.add(" 64 videos\nsome: other line\n")
    assert told == [("shards", 1, 4, "16 videos, 2 errors"), ("shards", 4, 4, "64 videos")]
    assert "some: other line" in terminal.file.getvalue()  # type: ignore[attr-defined]
