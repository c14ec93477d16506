"""What a command shows: a progress bar on a terminal, plain lines in a job's log."""

import sys
import time
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

PLAIN_EVERY_S = 5.0


class ProgressDisplay:
    """Shows stages with items done; call it like `pipelines.preprocess.Progress`."""

    def __init__(self) -> None:
        self._console = Console(stderr=True)
        self._bars: Progress | None = None
        self._tasks: dict[str, int] = {}
        self._last_s: dict[str, float] = {}
        self._last_line = ""
        if self._console.is_terminal:
            self._bars = Progress(
                TextColumn("{task.description:>12}"),
                BarColumn(),
                MofNCompleteColumn(),
                TimeRemainingColumn(),
                TextColumn("{task.fields[remark]}"),
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

    def __call__(self, stage: str, done: int, total: int, remark: str = "") -> None:
        if self._bars is None:
            self._line(stage, done, total, remark)
            return
        if stage not in self._tasks:
            self._tasks[stage] = self._bars.add_task(stage, total=total, remark=remark)
        task = self._bars.tasks[self._tasks[stage]].id
        self._bars.update(task, completed=done, total=total, remark=remark)

    def _line(self, stage: str, done: int, total: int, remark: str) -> None:
        now_s = time.monotonic()
        due = now_s - self._last_s.get(stage, -PLAIN_EVERY_S) >= PLAIN_EVERY_S
        line = f"{stage}: {done}/{total} {remark}".rstrip()
        if line != self._last_line and (due or done == total):
            self._last_s[stage] = now_s
            self._last_line = line
            print(line, file=sys.stderr, flush=True)


def print_facts(title: str, facts: dict[str, object]) -> None:
    """The short summary at the end of a command, on standard output."""
    table = Table(title=title, show_header=False, title_justify="left")
    for name, value in facts.items():
        table.add_row(name, str(value))
    Console(width=None if sys.stdout.isatty() else 120).print(table)
