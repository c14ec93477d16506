"""What a command shows: a progress bar on a terminal, plain lines in a job's log."""

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType

from rich.console import Console
from rich.filesize import decimal
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Column, Table

from pipelines.progress import Remark, Throughput

PLAIN_EVERY_S = 5.0


@dataclass
class _Stage:
    """A stage as it was when it was first heard of, and when it last got a line."""

    first_done: int
    first_s: float
    line_s: float = -PLAIN_EVERY_S
    line: str = ""

    def remaining(self, done: int, total: int, now_s: float) -> str:
        """Time to the end at the pace so far, as `eta 1:23:45`; empty while that is not known."""
        if done >= total or done <= self.first_done:
            return ""
        left_s = round((now_s - self.first_s) * (total - done) / (done - self.first_done))
        return f"eta {left_s // 3600}:{left_s // 60 % 60:02d}:{left_s % 60:02d}"


class ProgressDisplay:
    """Shows stages with items done; call it like `pipelines.progress.Progress`.

    `clock` gives the time in seconds.
    """

    def __init__(
        self, console: Console | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._console = console or Console(stderr=True)
        self._clock = clock
        self._stages: dict[str, _Stage] = {}
        self._bars: Progress | None = None
        if self._console.is_terminal:
            self._bars = Progress(
                TextColumn("{task.description:>9}"),
                BarColumn(bar_width=16, table_column=Column(min_width=6)),
                MofNCompleteColumn(table_column=Column(no_wrap=True)),
                TimeElapsedColumn(table_column=Column(no_wrap=True)),
                # On a narrow terminal the figures go on in a second line.
                TextColumn("{task.fields[remark]}", markup=False, table_column=Column()),
                console=self._console,
            )

    def __enter__(self) -> "ProgressDisplay":
        if self._bars is not None:
            self._bars.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._bars is not None:
            self._bars.stop()

    def __call__(self, stage: str, done: int, total: int, remark: Remark = "") -> None:
        now_s = self._clock()
        new = stage not in self._stages
        record = self._stages.setdefault(stage, _Stage(done, now_s))
        parts = (_text(remark), record.remaining(done, total, now_s))
        text = ", ".join(part for part in parts if part)
        if self._bars is None:
            line = f"{stage}: {done}/{total} {text}".rstrip()
            due = now_s - record.line_s >= PLAIN_EVERY_S or done == total
            if due and line != record.line:
                record.line_s, record.line = now_s, line
                print(line, file=self._console.file, flush=True)
            return
        if new:
            self._bars.add_task(stage, total=total, remark=text)
        task = self._bars.tasks[list(self._stages).index(stage)].id
        self._bars.update(task, completed=done, total=total, remark=text)


def _text(remark: Remark) -> str:
    if isinstance(remark, str):
        return remark
    return ", ".join(_figures(remark)) if remark.videos else ""


def _figures(work: Throughput) -> list[str]:
    figures = [
        f"{work.videos} videos",
        f"{work.videos_per_s:.{1 if work.videos_per_s < 100 else 0}f} videos/s",
        f"{work.frames_per_s:.0f} frames/s",
        f"{work.errors} errors",
    ]
    return [*figures, decimal(work.bytes)] if work.bytes else figures


def print_facts(title: str, facts: dict[str, object]) -> None:
    """The short summary at the end of a command, on standard output."""
    table = Table(title=title, show_header=False, title_justify="left")
    for name, value in facts.items():
        table.add_row(name, str(value))
    Console(width=None if sys.stdout.isatty() else 120).print(table)
