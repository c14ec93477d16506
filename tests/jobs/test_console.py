"""What is shown while a command works, on a terminal and in a log."""

import io

import pytest
from rich.console import Console

from jobs.console import ProgressDisplay
from pipelines.progress import Throughput


class Clock:
    now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def shown(terminal: bool, width: int = 120) -> tuple[ProgressDisplay, io.StringIO, Clock]:
    screen, clock = io.StringIO(), Clock()
    console = Console(file=screen, force_terminal=terminal, width=width, color_system=None)
    return ProgressDisplay(console, clock), screen, clock


def test_a_log_gets_a_line_every_five_seconds_with_figures_and_eta() -> None:
    display, log, clock = shown(terminal=False)
    with display:
        for shards in range(0, 21):
            clock.now_s = 100.0 + 2 * shards
            work = Throughput(16 * shards, shards, 960 * shards, 11_000_000 * shards, 2.0 * shards)
            display("shards", 30 + shards, 50, work)
    lines = log.getvalue().splitlines()
    assert lines[0] == "shards: 30/50"
    # Three shards in six seconds leave seventeen, thirty-four seconds.
    assert lines[1] == (
        "shards: 33/50 48 videos, 8.0 videos/s, 480 frames/s, 3 errors, 33.0 MB, eta 0:00:34"
    )
    assert lines[-1] == "shards: 50/50 320 videos, 8.0 videos/s, 480 frames/s, 20 errors, 220.0 MB"
    assert [int(line.split("/")[0].removeprefix("shards: ")) for line in lines] == [
        30, 33, 36, 39, 42, 45, 48, 50,
    ]  # fmt: skip


def test_long_waits_are_shown_in_hours() -> None:
    display, log, clock = shown(terminal=False)
    display("shards", 0, 20_000, Throughput())
    clock.now_s += 10
    display("shards", 2, 20_000, Throughput(32, 0, 1920, 3_200_000_000, 10.0))
    assert log.getvalue().splitlines()[1] == (
        "shards: 2/20000 32 videos, 3.2 videos/s, 192 frames/s, 0 errors, 3.2 GB, eta 27:46:30"
    )


def test_plain_remarks_of_other_stages_stay_as_they_are() -> None:
    display, log, _ = shown(terminal=False)
    display("manifest", 9, 9, "9 videos")
    display("manifest", 9, 9, "9 videos")
    assert log.getvalue() == "manifest: 9/9 9 videos\n"


@pytest.mark.parametrize("width", [80, 120])
def test_a_terminal_shows_bars_with_every_figure(width: int) -> None:
    display, screen, clock = shown(terminal=True, width=width)
    with display:
        display("manifest", 9, 9, "[odd] remark")
        display("shards", 0, 8, Throughput())
        clock.now_s += 4
        display("shards", 2, 8, Throughput(32, 5, 640, 5_600_000, 4.0))
    words = " ".join(screen.getvalue().split())
    assert "[odd] remark" in words
    for figure in ("2/8", "8.0 videos/s", "160", "5 errors", "5.6 MB", "0:00:12"):
        assert figure in words
