"""The training loop over any iterable of batches. It knows nothing of Ray, files or trackers.

Vondrick et al. 2018: Adam, 400,000 iterations of 32 clips, learning rate 1e-3 for the first 60,000
and 1e-4 after that. The defaults are those; `steps` scales the schedule.
"""

import math
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import torch
from torch import Tensor, nn

from model.errors import UserError
from model.objectives.colorization import ClipBatch, ObjectiveResult


@dataclass(frozen=True)
class FitConfig:
    """Optimisation."""

    steps: int = 400_000
    """Optimiser steps in all."""
    learning_rate: float = 1e-3
    """Adam's learning rate at the start."""
    lr_drop_at: float = 0.15
    """Share of the steps after which the learning rate drops (paper: 60 k of 400 k)."""
    lr_drop_factor: float = 0.1
    """Factor of that drop."""
    clip_grad_norm: float = 10.0
    """Gradients longer than this are shortened to it."""
    precision: Literal["auto", "bf16", "float32"] = "auto"
    """bf16 autocast; auto takes it where the hardware multiplies bf16 natively."""
    log_every: int = 20
    """Steps between two log records."""
    validate_every: int = 500
    """Steps between two validations on held-out videos."""
    checkpoint_every: int = 500
    """Steps between two checkpoints."""

    def __post_init__(self) -> None:
        for name in ("steps", "log_every", "validate_every", "checkpoint_every"):
            if getattr(self, name) < 1:
                raise UserError(f"{name} must be at least 1, not {getattr(self, name)}")
        if not 0.0 <= self.lr_drop_at <= 1.0:
            raise UserError(f"lr_drop_at must lie in 0..1, not {self.lr_drop_at}")


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


class Diverged(ArithmeticError):
    """The loss is not a number any more; `batch` is what it was computed from."""

    def __init__(self, loss: float, step: int, batch: ClipBatch) -> None:
        super().__init__(f"loss is {loss} at step {step}")
        self.step = step
        self.batch = batch


class Reporter(Protocol):
    """What the loop tells the outside."""

    def on_train(self, record: TrainRecord) -> None: ...
    def validate(self, fitter: "Fitter") -> None: ...
    def checkpoint(self, fitter: "Fitter") -> None: ...


def learning_rate_at(step: int, config: FitConfig) -> float:
    """Learning rate of 0-based optimiser step `step`."""
    dropped = step >= config.lr_drop_at * config.steps
    return config.learning_rate * (config.lr_drop_factor if dropped else 1.0)


def bf16_pays(device: torch.device) -> bool:
    """Whether the device multiplies bf16 natively."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    cpu: Any = torch.cpu
    return bool(cpu._is_avx512_bf16_supported() or cpu._is_amx_tile_supported())


class Fitter:
    """Objective, optimiser and counters: all that a checkpoint must hold.

    `module` is what the forward pass goes through (the objective itself, or its DDP wrapper).
    """

    def __init__(
        self,
        objective: nn.Module,
        config: FitConfig,
        device: torch.device,
        module: nn.Module | None = None,
    ) -> None:
        self.objective = objective
        self.module = objective if module is None else module
        self.config = config
        self.device = device
        self.optimizer = torch.optim.Adam(
            objective.parameters(), lr=config.learning_rate, fused=device.type == "cuda"
        )
        self.step = 0
        self.epoch = 0
        wanted = config.precision == "bf16" or (config.precision == "auto" and bf16_pays(device))
        self.autocast_dtype = torch.bfloat16 if wanted else None

    def _forward(self, batch: ClipBatch) -> ObjectiveResult:
        enabled = self.autocast_dtype is not None
        with torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=enabled):
            result: ObjectiveResult = self.module(batch.to(self.device))
        return result

    def train_step(self, batch: ClipBatch) -> ObjectiveResult:
        """One optimiser step. Raises `Diverged` when the loss is not finite."""
        self.module.train()
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate_at(self.step, self.config)
        self.optimizer.zero_grad(set_to_none=True)
        result = self._forward(batch)
        if not math.isfinite(loss := result.loss.item()):
            raise Diverged(loss, self.step, batch)
        result.loss.backward()
        nn.utils.clip_grad_norm_(self.objective.parameters(), self.config.clip_grad_norm)
        self.optimizer.step()
        self.step += 1
        return result

    @torch.no_grad()
    def evaluate(self, batches: Iterable[ClipBatch]) -> tuple[Tensor, int]:
        """Sums of (loss, accuracy, copy accuracy) over clips, [3], and the number of clips.

        Sums, so that several workers can add theirs before dividing.
        """
        self.objective.eval()
        sums = torch.zeros(3, device=self.device)
        clips = 0
        for batch in batches:
            enabled = self.autocast_dtype is not None
            with torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=enabled):
                result = self.objective(batch.to(self.device))
            size = batch.grey_BTHW.shape[0]
            sums += size * torch.stack((result.loss, result.accuracy, result.copy_accuracy))
            clips += size
        return sums, clips

    def state_dict(self) -> dict[str, Any]:
        """Tensors, numbers and strings only: `torch.load(weights_only=True)` reads it."""
        return {
            "objective": self.objective.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "step": self.step,
            "epoch": self.epoch,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.objective.load_state_dict(state["objective"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.step = int(state["step"])
        self.epoch = int(state["epoch"])


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

    Raises `UserError` when an epoch holds no batch, `Diverged` when the loss is not finite.
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
