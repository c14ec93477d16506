"""What a worker does at records, checkpoints and notices, without a cluster around it."""

import math
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import ray.train
import torch
import torch.distributed as dist

import jobs.train_worker
from jobs.probe_options import ProbeConfig
from jobs.tracking import TrackedRun
from jobs.tracking_uri import TrackingUri
from jobs.train_checkpoint import NOT_VALIDATED
from jobs.train_worker import WorkerReporter, WorkerSpec
from model.fit import TrainRecord
from model.fitter import Diverged, FitConfig
from pipelines.run_folder import read_history

LOSS = 0.25


@dataclass
class StandIn:
    """A fitter of which only the step is looked at; validation batches come to a loss of `held_out_loss`."""

    step: int = 0
    held_out_loss: float = LOSS
    loss_weight: float = 1.0
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))

    def evaluate(self, _: object) -> tuple[torch.Tensor, int]:
        return torch.tensor([2 * self.held_out_loss, 2 * 0.8, 2 * 0.7]), 2


@dataclass
class Worker:
    """The reporter of the only worker, and what it handed to Ray Train."""

    fitter: StandIn
    reporter: WorkerReporter
    reports: list[dict[str, Any]]
    leaving: list[str]
    """Machines that were given notice."""

    def record(self, step: int) -> None:
        self.fitter.step = step
        self.reporter.on_train(TrainRecord(step, 0, 1.0, 0.8, 0.7, 0.1, 10.0, 0.0))

    def checkpoint(self, step: int) -> dict[str, Any]:
        self.fitter.step = step
        self.reporter.checkpoint(self.fitter)  # type: ignore[arg-type]  # a stand-in
        return self.reports[-1]


@pytest.fixture
def worker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Worker:
    leaving: list[str] = []
    reports: list[dict[str, Any]] = []
    context = SimpleNamespace(get_world_rank=lambda: 0, get_world_size=lambda: 1)

    def notice() -> object:
        return SimpleNamespace(preempted_node_ids=list(leaving)) if leaving else None

    def report(fitter: StandIn, held_out_loss: float, **how: bool) -> None:
        reports.append({"step": fitter.step, "loss": held_out_loss, **how})

    monkeypatch.setattr(ray.train, "get_context", lambda: context)
    monkeypatch.setattr(ray.train, "get_preemption_info", notice)
    monkeypatch.setattr(jobs.train_worker, "report_checkpoint", report)
    monkeypatch.setattr(WorkerReporter, "_validation_batches", lambda _: [])
    unused: Any = None
    spec = WorkerSpec(
        dataset=unused,
        run=tmp_path,
        model=unused,
        colorization=unused,
        fit=FitConfig(steps=100),
        batches=unused,
        seed=0,
        tracked=TrackedRun(TrackingUri(""), ""),
        probe=ProbeConfig(every=50),
        initial=None,
        fallback=None,
    )
    fitter = StandIn()
    reporter = WorkerReporter(spec, fitter)  # type: ignore[arg-type]  # a stand-in
    return Worker(fitter, reporter, reports, leaving)


def test_a_notice_is_answered_once_with_a_checkpoint_that_is_waited_for(worker: Worker) -> None:
    worker.record(10)
    assert worker.reports == []
    worker.leaving.append("a")
    worker.record(20)
    answer = {"step": 20, "loss": NOT_VALIDATED, "writes": True, "wait": True, "probe": False}
    assert worker.reports == [answer]
    worker.record(30)
    assert worker.reports == [answer]
    worker.leaving.append("b")  # another machine
    worker.record(40)
    assert worker.reports == [answer, answer | {"step": 40}]


def test_a_notice_at_a_checkpoint_costs_no_second_one(worker: Worker) -> None:
    worker.checkpoint(20)
    worker.leaving.append("a")
    worker.record(20)
    assert [report["step"] for report in worker.reports] == [20]


def test_a_record_is_the_mean_over_the_clips_of_all_workers(
    worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """This one has three clips of every four, the other worker the fourth."""
    others = torch.tensor([0.5 * 3.0, 0.5 * 0.4, 0.5 * 0.3, 0.5, 30.0])
    monkeypatch.setattr(dist, "is_initialized", lambda: True)
    monkeypatch.setattr(dist, "all_reduce", lambda values: values.add_(others))
    worker.reporter._workers = 2
    worker.fitter.loss_weight = 1.5
    worker.record(10)
    (record,) = read_history(worker.reporter._spec.run)
    means = {"loss": 1.5, "accuracy": 0.7, "copy_accuracy": 0.6, "data_wait_share": 0.25}
    expected = means | {"images_per_s": 40.0, "workers": 2}
    assert {name: record[name] for name in expected} == pytest.approx(expected)


def test_what_is_looked_at_is_validated_and_the_last_step_is_looked_at(worker: Worker) -> None:
    plain = worker.checkpoint(40)
    assert (plain["probe"], plain["loss"]) == (False, NOT_VALIDATED)
    looked = worker.checkpoint(60)
    assert (looked["probe"], looked["loss"], looked["wait"]) == (True, LOSS, False)
    assert not worker.checkpoint(80)["probe"]
    worker.fitter.step = 100
    worker.reporter.validate(worker.fitter)  # type: ignore[arg-type]  # a stand-in
    assert worker.checkpoint(100)["probe"]
    records = read_history(worker.reporter._spec.run)
    assert [r["step"] for r in records if r["kind"] == "validation"] == [60, 100]


@pytest.mark.parametrize("loss", [math.nan, math.inf])
def test_a_held_out_loss_that_is_no_number_ends_training_before_the_checkpoint(
    worker: Worker, loss: float
) -> None:
    worker.checkpoint(40)
    worker.fitter.held_out_loss = loss
    with pytest.raises(Diverged, match=f"held-out loss is {loss} at step 60"):
        worker.checkpoint(60)  # which is looked at, and so validated
    assert [report["step"] for report in worker.reports] == [40]
    assert all(r["kind"] != "validation" for r in read_history(worker.reporter._spec.run))


def test_a_look_that_a_notice_came_before_is_made_up_for(worker: Worker) -> None:
    worker.leaving.append("a")
    worker.record(50)  # saved in a hurry, not looked at
    assert worker.checkpoint(60)["probe"]
