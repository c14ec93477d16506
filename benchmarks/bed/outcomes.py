"""Rows of the table of `benchmarks/faults.py`: what became of a disturbed job, and what may become of it."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from benchmarks.bed.workload import Stage, Workload

KILLED = 137
"""Exit status of a submission whose command got SIGKILL."""
TOO_LONG = 124
"""In place of the exit status of a submission that did not end in time."""
_UNIT: dict[Stage, str] = {"preprocess": "shards", "train": "steps", "propagate": "videos"}
_BROKE_OFF = re.compile(r"^training broke off: ", re.MULTILINE)


@dataclass(frozen=True)
class Outcome:
    """A row of the table."""

    fault: str
    stage: Stage
    statuses: list[int] = field(default_factory=list)
    """Exit statuses of the submissions; `TOO_LONG` when one did not end in time."""
    lost: list[str] = field(default_factory=list)
    repeated: int = 0
    most_repeated: int = 0
    """What `repeated` may be."""
    seconds: float = 0.0
    told: str = ""
    """The lines of the log that say what happened."""
    spoilt: str = ""
    """Why the row tells nothing of the job, when it does not."""

    @property
    def good(self) -> bool:
        """The job, or the one that was submitted again, finished, nothing is lost, and no more is repeated
        than is promised."""
        return (
            not self.spoilt
            and self.statuses[-1:] == [0]
            and not self.lost
            and self.repeated <= self.most_repeated
            and (self.fault != "driver-killed" or self.statuses[0] == KILLED)
        )


def most_repeated(
    stage: Stage, fault: str, work: Workload, lost_workers: int, submissions: int, log: str
) -> int:
    """Of shards and videos one for each lost worker; those of a command that ended are lost with it. Of steps
    two intervals of checkpoints whenever a training broke off or was submitted again.

    On a full disk a worker tries what it cannot finish, so each may have read one more.
    """
    if stage == "train":
        return 2 * work.checkpoint_every * (len(_BROKE_OFF.findall(log)) + submissions - 1)
    lost = lost_workers + work.workers * (submissions - 1)
    return 2 * lost if fault == "disk-full" else lost


_TELLING = re.compile(
    r"lost|again|failed|answer|gave up|killed|without|No space|disk|late|not counted|interrupted|broke off"
)
_ROUTINE = re.compile(
    r"[│┌└├]|\x1b|\(raylet\)|\[?20\d\d-|(Running|Dataset|Run|Propagation) |job \S+ on |  "
    r"|\w+: \d+/\d+(?!.*again)"
)


def told(log: str) -> str:
    """What the log says of the trouble: the first two different lines of ours that are no routine."""
    found: list[str] = []
    for line in log.splitlines():
        text = line.strip().removeprefix("huetrack: ")
        if _TELLING.search(line) and not _ROUTINE.match(line) and text not in found:
            found.append(text)
    return "; ".join(found[:2])


def markdown(outcomes: Sequence[Outcome]) -> Iterator[str]:
    """The table of docs/reliability.md."""
    yield "| fault | stage | exit statuses | lost | repeated | seconds more | what the log says |"
    yield "|---|---|---|---|---|---|---|"
    for row in outcomes:
        statuses = ", then ".join(map(str, row.statuses)) or "none"
        if row.spoilt:
            yield f"| {row.fault} | {row.stage} | {statuses} | | | | **not tried**: {row.spoilt} |"
            continue
        lost = ", ".join(row.lost) or "nothing"
        repeated = f"{row.repeated} {_UNIT[row.stage]}"
        if row.repeated > row.most_repeated:
            repeated += f", more than {row.most_repeated}"
        yield (
            f"| {row.fault} | {row.stage} | {statuses} | {lost} | {repeated} | "
            f"{row.seconds:.0f} | {row.told} |"
        )
