"""The training loop over any iterable of batches. It knows nothing of Ray, files or trackers."""

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from model.errors import UserError
from model.fitter import Fitter, learning_rate_at
from model.objectives.colorization import ClipBatch


@dataclass(frozen=True)
class TrainRecord:
    """Means over the steps since the record before."""

    step: int
    epoch: int
    loss: float
    accuracy: float
    copy_accuracy: float
    learning_rate: float
    images_per_s: float
    """Frames that went through the network, per second of wall clock, on this worker."""
    data_wait_share: float
    """Share of the wall clock spent waiting for the next batch."""


@dataclass(frozen=True)
class ValidationRecord:
    """Means over the validation clips."""

    step: int
    loss: float
    accuracy: float
    copy_accuracy: float
    clips: int


class Reporter(Protocol):
    """What the loop tells the outside."""

    def on_train(self, record: TrainRecord) -> None: ...
    def validate(self, fitter: Fitter) -> None: ...
    def checkpoint(self, fitter: Fitter) -> None: ...


@dataclass
class _Meter:
    """Accumulates what a `TrainRecord` averages."""

    sums: Tensor
    steps: int = 0
    images: int = 0
    wait_s: float = 0.0
    started_s: float = 0.0


def _timed(batches: Iterable[ClipBatch]) -> Iterator[tuple[ClipBatch, float]]:
    """Batches, each with the seconds that it was waited for."""
    iterator = iter(batches)
    while True:
        waited_from = time.perf_counter()
        batch = next(iterator, None)
        if batch is None:
            return
        yield batch, time.perf_counter() - waited_from


def fit(
    fitter: Fitter,
    epoch_batches: Callable[[int], Iterable[ClipBatch]],
    reporter: Reporter,
) -> None:
    """Train until `config.steps`, going through `epoch_batches(epoch)` as often as needed.

    Raises `UserError` when an epoch holds no batch, `Diverged` when the loss or its gradient
    is not finite.
    """
    config = fitter.config

    def fresh() -> _Meter:
        return _Meter(torch.zeros(3, device=fitter.device), started_s=time.perf_counter())

    meter = fresh()
    while fitter.step < config.steps:
        before = fitter.step
        for batch, wait_s in _timed(epoch_batches(fitter.epoch)):
            meter.wait_s += wait_s
            result = fitter.train_step(batch)
            meter.sums += torch.stack((result.loss.detach(), result.accuracy, result.copy_accuracy))
            meter.steps += 1
            meter.images += batch.grey_BTHW.shape[0] * batch.grey_BTHW.shape[1]
            last = fitter.step == config.steps
            if fitter.step % config.log_every == 0 or last:
                reporter.on_train(_record(fitter, meter))
                meter = fresh()
            paused_from = time.perf_counter()
            if fitter.step % config.validate_every == 0 or last:
                reporter.validate(fitter)
            if fitter.step % config.checkpoint_every == 0 or last:
                reporter.checkpoint(fitter)
            meter.started_s += time.perf_counter() - paused_from
            if last:
                break
        if fitter.step == before:
            raise UserError("the dataset holds fewer training clips than one batch")
        fitter.epoch += 1


def _record(fitter: Fitter, meter: _Meter) -> TrainRecord:
    elapsed_s = max(time.perf_counter() - meter.started_s, 1e-9)
    loss, accuracy, copy_accuracy = (meter.sums / meter.steps).tolist()
    return TrainRecord(
        step=fitter.step,
        epoch=fitter.epoch,
        loss=loss,
        accuracy=accuracy,
        copy_accuracy=copy_accuracy,
        learning_rate=learning_rate_at(fitter.step - 1, fitter.config),
        images_per_s=meter.images / elapsed_s,
        data_wait_share=min(meter.wait_s / elapsed_s, 1.0),
    )
