"""The rows of the table of faults: what makes one good, and what becomes of those that go wrong."""

import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from benchmarks import faults
from benchmarks.bed import breaking
from benchmarks.bed.breaking import NothingToBreak
from benchmarks.bed.outcomes import Outcome, markdown, most_repeated, told
from benchmarks.bed.workload import Workload

GOOD = Outcome("node-killed", "preprocess", [0], [], repeated=1, most_repeated=1, seconds=9.0)
BROKE_OFF = "training broke off: worker 1 on node 10.1.2.3 was lost (Its node has died)\n"
USUAL = faults.Usual({}, 0, 0.0)


@pytest.mark.parametrize(
    ("changes", "good"),
    [
        ({}, True),
        ({"statuses": [2, 0]}, True),
        ({"statuses": [0, 2]}, False),
        ({"statuses": []}, False),
        ({"lost": ["manifest.parquet"]}, False),
        ({"repeated": 2}, False),
        ({"spoilt": faults.UNTOUCHED}, False),
        ({"fault": "driver-killed"}, False),
        ({"fault": "driver-killed", "statuses": [2, 0]}, False),
        ({"fault": "driver-killed", "statuses": [137, 0]}, True),
    ],
)
def test_a_row_is_good_when_the_job_kept_every_promise(changes: dict[str, Any], good: bool) -> None:
    assert replace(GOOD, **changes).good == good


@pytest.mark.parametrize(
    ("stage", "fault", "lost_workers", "submissions", "log", "most"),
    [
        ("preprocess", "node-killed", 1, 1, "", 1),
        ("propagate", "head-cut", 2, 1, "", 2),
        ("propagate", "driver-killed", 0, 2, "", 2),
        ("preprocess", "mlflow-down", 0, 1, "", 0),
        ("propagate", "disk-full", 1, 2, "", 6),
        ("train", "mlflow-down", 0, 1, "", 0),
        ("train", "node-killed", 1, 1, BROKE_OFF, 12),
        ("train", "s3-down", 0, 2, BROKE_OFF + "train: 2/12\n" + BROKE_OFF, 36),
    ],
)
def test_what_may_be_repeated(
    stage: Any, fault: str, lost_workers: int, submissions: int, log: str, most: int
) -> None:
    work = Workload(workers=2, checkpoint_every=6)
    assert most_repeated(stage, fault, work, lost_workers, submissions, log) == most


def test_the_reason_of_a_restart_is_what_the_log_says() -> None:
    log = (
        f"train: 10/80 loss 2.1\n{BROKE_OFF}train: 9/80 loss 2, started again and repeating steps\n"
    )
    assert told(log).startswith(BROKE_OFF.strip() + "; train: 9/80")
    (_, _, row) = markdown([replace(GOOD, repeated=4, told=told(log))])
    assert "4 shards, more than 1" in row and BROKE_OFF.strip() in row


def given(monkeypatch: pytest.MonkeyPatch, *outcomes: Outcome | Exception) -> list[str]:
    """What disturbing a job comes to, time after time; the names of the jobs as they are made."""
    left, names = list(outcomes), []

    def disturbed(bed: Any, fault: str, stage: Any, prefix: str, usual: Any) -> Outcome:
        names.append(prefix)
        outcome = left.pop(0)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    monkeypatch.setattr(faults, "disturbed", disturbed)
    return names


def test_a_job_that_ended_too_early_is_disturbed_once_more(monkeypatch: pytest.MonkeyPatch) -> None:
    early = replace(GOOD, spoilt=faults.UNTOUCHED)
    names = given(monkeypatch, early, GOOD)
    bed: Any = None
    assert faults.row(bed, "node-killed", "preprocess", USUAL) == GOOD
    assert len(set(names)) == 2
    given(monkeypatch, early, early)
    assert faults.row(bed, "node-killed", "preprocess", USUAL) == early


def test_the_table_goes_on_after_a_row_that_failed_and_is_written_row_by_row(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    table = tmp_path / "build" / "faults.md"
    written: list[list[str]] = []

    @contextmanager
    def bed(*_: Any, **__: Any) -> Iterator[Any]:
        yield None

    def undisturbed(bed: Any, stage: str) -> faults.Usual:
        if stage == "train":
            raise RuntimeError("exit status 124\nand its log")
        return USUAL

    def watch(options: Any, outcomes: Any) -> None:
        write(options, outcomes)
        written.append(table.read_text().splitlines()[2:])

    write = faults._write
    monkeypatch.setattr(faults, "_write", watch)
    monkeypatch.setattr(faults, "cluster_bed", bed)
    monkeypatch.setattr(faults, "undisturbed", undisturbed)
    monkeypatch.setattr(faults.Workload, "upload", lambda *_: None)
    monkeypatch.setattr(
        sys, "argv", ["faults", "--faults", "node-killed", "s3-down", "--markdown", str(table)]
    )
    given(monkeypatch, RuntimeError("not all nodes came up\nlogs"), GOOD)
    with pytest.raises(SystemExit) as ended:
        faults.main()
    assert ended.value.code == 1
    assert [len(rows) for rows in written] == [1, 2, 3]
    without, failed, good = written[-1]
    assert without.startswith("| undisturbed | train |") and "exit status 124 |" in without
    assert failed.startswith("| node-killed | preprocess |")
    assert "**not tried**: RuntimeError: not all nodes came up |" in failed
    assert "nothing | 1 shards | 9 |" in good


def bed_of(busy: Callable[[], Counter[str]]) -> Any:
    node = SimpleNamespace(machine=SimpleNamespace(address="10.1.2.3"), server=SimpleNamespace())
    node.server.kill = lambda: None
    head = SimpleNamespace(processes=lambda: [])
    return SimpleNamespace(workers=[node], head=head, nodes_of_actors=lambda *_, **__: busy())


def test_a_node_with_workers_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(breaking, "_LOOK_S", 0.0)
    looks = iter([Counter(), Counter({"10.9.9.9": 1}), Counter({"10.1.2.3": 2})])
    assert breaking.node_killed(bed_of(lambda: next(looks)), "train") == 2
    monkeypatch.setattr(breaking, "_BUSY_WITHIN_S", 0.01)
    with pytest.raises(NothingToBreak):
        breaking.node_killed(bed_of(Counter), "train")


def test_a_driver_that_is_not_there_is_not_killed() -> None:
    with pytest.raises(NothingToBreak):
        breaking.driver_killed(bed_of(Counter), "train")
