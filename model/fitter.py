"""One optimiser step, and all that a checkpoint of a training must hold.

Vondrick et al. 2018: Adam, 400,000 iterations of 32 clips, learning rate 1e-3 for the first 60,000
and 1e-4 after that. The defaults are those; `steps` scales the schedule.
"""

import math
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, Literal

import torch
import torch.distributed as dist
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
    """Gradients longer than this are shortened to it; inf for none."""
    accumulate: int = 1
    """Parts that a batch is gone through in, one after the other, when it does not fit in memory. Batch
    norm then sees one part at a time."""
    precision: Literal["auto", "bf16", "float32"] = "auto"
    """bf16 autocast; auto takes it where the hardware multiplies bf16 natively."""
    compile: Literal["auto", "on", "off"] = "auto"
    """torch.compile; auto on a GPU only (the first step then takes a minute)."""
    log_every: int = 20
    """Steps between two log records."""
    validate_every: int = 500
    """Steps between two validations on held-out videos."""
    checkpoint_every: int = 250
    """Steps between two checkpoints. A restart repeats what was done since the last one that is stored: these
    and those that storing it took, so two intervals at most, by default less than a virtual epoch."""

    def __post_init__(self) -> None:
        for name in ("steps", "accumulate", "log_every", "validate_every", "checkpoint_every"):
            if getattr(self, name) < 1:
                raise UserError(f"{name} must be at least 1, not {getattr(self, name)}")
        if not 0.0 <= self.lr_drop_at <= 1.0:
            raise UserError(f"lr_drop_at must lie in 0..1, not {self.lr_drop_at}")
        if not 0.0 < self.lr_drop_factor <= 1.0:
            raise UserError(
                f"lr_drop_factor must lie in 0..1, without 0, not {self.lr_drop_factor}"
            )
        if not 0.0 < self.learning_rate < math.inf:
            raise UserError(f"learning_rate must be finite and above 0, not {self.learning_rate}")
        if not self.clip_grad_norm > 0.0:
            raise UserError(f"clip_grad_norm must be above 0, not {self.clip_grad_norm}")


class Diverged(ArithmeticError):
    """`quantity`, which is a loss or the norm of its gradient, is not finite any more.

    `batch` is what it was computed from, None for a loss of all held-out clips.
    """

    def __init__(self, quantity: str, value: float, step: int, batch: ClipBatch | None) -> None:
        super().__init__(f"{quantity} is {value} at step {step}")
        self.step = step
        self.batch = batch


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
    """Objective, optimiser and counters.

    `wrap` puts the objective into what the forward pass of a training step goes through (DDP); it is
    given the objective on its device and in its memory format. `loss_weight` is how many clips this
    worker has of every batch, in shares of what workers have on average: DDP takes the mean over
    workers, which then is that over clips.
    """

    def __init__(
        self,
        objective: nn.Module,
        config: FitConfig,
        device: torch.device,
        wrap: Callable[[nn.Module], nn.Module] | None = None,
        loss_weight: float = 1.0,
    ) -> None:
        on_gpu = device.type == "cuda"
        self.objective = objective.to(device)
        if on_gpu:  # tensor cores want it; oneDNN on CPUs chooses its own layouts
            self.objective.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.module = self.objective if wrap is None else wrap(self.objective)
        self._compiled: Callable[[ClipBatch], ObjectiveResult] = self.module
        if config.compile == "on" or (config.compile == "auto" and on_gpu):
            self._compiled = torch.compile(self.module)
        self.config = config
        self.device = device
        self.loss_weight = loss_weight
        self.optimizer = torch.optim.Adam(
            self.objective.parameters(), lr=config.learning_rate, fused=True
        )
        self.step = 0
        self.epoch = 0
        wanted = config.precision == "bf16" or (config.precision == "auto" and bf16_pays(device))
        self.autocast_dtype = torch.bfloat16 if wanted else None

    def _autocast(self) -> torch.autocast:
        enabled = self.autocast_dtype is not None
        return torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=enabled)

    def train_step(self, batch: ClipBatch) -> ObjectiveResult:
        """One optimiser step. Raises `Diverged` when the loss or its gradient, which is that of all
        workers, is not finite; the weights are then still those of the step before."""
        self.module.train()
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate_at(self.step, self.config)
        self.optimizer.zero_grad(set_to_none=True)
        parts = batch.split(self.config.accumulate)
        shares = [len(part) / len(batch) for part in parts]
        results = [
            self._add_gradients(part, share, last=part is parts[-1])
            for part, share in zip(parts, shares, strict=True)
        ]
        result = ObjectiveResult.mean(results, shares)
        norm = nn.utils.clip_grad_norm_(self.objective.parameters(), self.config.clip_grad_norm)
        checked = torch.stack((result.loss, norm)).tolist()  # the device is waited for once
        for quantity, value in zip(("loss", "gradient norm"), checked, strict=True):
            if not math.isfinite(value):
                raise Diverged(quantity, value, self.step, batch)
        self.optimizer.step()
        self.step += 1
        return result

    def _add_gradients(self, part: ClipBatch, share: float, last: bool) -> ObjectiveResult:
        """Those of a part's loss, which is `share` of the batch's; workers exchange theirs with the last
        part only."""
        no_sync = getattr(self.module, "no_sync", None)
        alone: AbstractContextManager[None] = nullcontext() if last or not no_sync else no_sync()
        with alone:
            with self._autocast():
                result: ObjectiveResult = self._compiled(part.to(self.device))
            (result.loss * (share * self.loss_weight)).backward()
        return result

    @torch.no_grad()
    def evaluate(self, batches: Iterable[ClipBatch]) -> tuple[Tensor, int]:
        """Sums of (loss, accuracy, copy accuracy) over clips, [3], and the number of clips.

        Sums, so that several workers can add theirs before dividing. All workers must call it, and get
        rank 0's statistics of batch norm, those that its checkpoint has: each has its own since its last
        batch, and DDP hands out rank 0's only when the next one begins.
        """
        if dist.is_initialized():
            for buffer in self.objective.buffers():
                dist.broadcast(buffer, src=0)
        self.objective.eval()
        sums = torch.zeros(3, device=self.device)
        clips = 0
        for batch in batches:
            with self._autocast():
                result: ObjectiveResult = self.objective(batch.to(self.device))
            sums += len(batch) * torch.stack((result.loss, result.accuracy, result.copy_accuracy))
            clips += len(batch)
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
