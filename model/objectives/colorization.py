"""Colourisation as the training signal (Vondrick et al. 2018, section 3).

The first T - 1 frames of a clip are references, the last is the target (`targets: every` lets each be
it in turn). The pointer copies the references' colour codes to the target; the loss is the negative log
of the mixture's probability of the true code.

Shape suffixes: B clips, T frames, K clusters, H, W pixels, h, w cells.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from model.colorizer import Colorizer, normalise_grey
from model.errors import UserError
from model.pointer import copy_through_pointer, mixture_negative_log_likelihood


@dataclass(frozen=True)
class ClipBatch:
    """What a training step takes."""

    grey_BTHW: Tensor
    """Luma of the frames, uint8 [B, T, H, W]."""
    target_BTKhw: Tensor
    """One-hot colour codes, uint8 [B, T, K, h, w] with h = H / 8."""

    def to(self, device: torch.device) -> "ClipBatch":
        return ClipBatch(
            self.grey_BTHW.to(device, non_blocking=True),
            self.target_BTKhw.to(device, non_blocking=True),
        )

    def __len__(self) -> int:
        """Clips."""
        return self.grey_BTHW.shape[0]

    def split(self, parts: int) -> list["ClipBatch"]:
        """At most so many batches of nearly the same size, in order."""
        size = -(-len(self) // parts)
        pairs = zip(self.grey_BTHW.split(size), self.target_BTKhw.split(size), strict=True)
        return [ClipBatch(grey, target) for grey, target in pairs]


@dataclass(frozen=True)
class ObjectiveResult:
    """What an objective gives back: scalars on the batch's device."""

    loss: Tensor
    accuracy: Tensor
    """Share of target cells whose most probable code is the true one."""
    copy_accuracy: Tensor
    """The same for repeating the nearest reference's code in place: the number to beat."""

    @staticmethod
    def mean(results: Sequence["ObjectiveResult"], weights: Sequence[float]) -> "ObjectiveResult":
        """Means of each over parts of a batch, with weights that sum to one; without gradients."""
        rows = [torch.stack((r.loss.detach(), r.accuracy, r.copy_accuracy)) for r in results]
        loss, accuracy, copy_accuracy = torch.stack(rows).T @ rows[0].new_tensor(weights)
        return ObjectiveResult(loss, accuracy, copy_accuracy)


@dataclass(frozen=True)
class ColorizationConfig:
    """What a clip teaches."""

    targets: Literal["last", "every"] = "last"
    """last: the last frame is coloured from the ones before it (the paper); every: each frame in turn is
    coloured from all others, which costs no further pass through the network. Validation takes the
    last."""

    def __post_init__(self) -> None:
        if self.targets not in ("last", "every"):
            raise UserError(f"targets must be last or every, not {self.targets}")


class Colorization(nn.Module):
    """Wraps the colouriser so that one forward pass gives the loss (and DDP sees it)."""

    def __init__(self, colorizer: Colorizer, config: ColorizationConfig | None = None) -> None:
        super().__init__()
        self.colorizer = colorizer
        self.config = config or ColorizationConfig()

    def forward(self, batch: ClipBatch) -> ObjectiveResult:
        embeddings = self.colorizer(normalise_grey(batch.grey_BTHW))
        codes = batch.target_BTKhw.float()
        last = codes.shape[1] - 1
        every = self.training and self.config.targets == "every"
        results = [_colour(embeddings, codes, t) for t in (range(last + 1) if every else [last])]
        means = torch.stack(results).mean(dim=0)
        return ObjectiveResult(means[0], means[1].detach(), means[2].detach())


def _colour(embeddings_BTChw: Tensor, codes_BTKhw: Tensor, target: int) -> Tensor:
    """Loss, accuracy and copy accuracy of colouring one frame from all others: [3]."""
    others = [t for t in range(codes_BTKhw.shape[1]) if t != target]
    references, truth = codes_BTKhw[:, others], codes_BTKhw[:, target]
    mixture = copy_through_pointer(
        embeddings_BTChw[:, others], embeddings_BTChw[:, target], references
    )
    true_code = truth.argmax(dim=1)
    nearest = codes_BTKhw[:, target - 1 if target else 1].argmax(dim=1)
    accuracy = (mixture.argmax(dim=1) == true_code).float().mean()
    copy_accuracy = (nearest == true_code).float().mean()
    return torch.stack((mixture_negative_log_likelihood(mixture, truth), accuracy, copy_accuracy))
