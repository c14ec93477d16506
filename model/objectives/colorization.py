"""Colourisation as the training signal (Vondrick et al. 2018, section 3).

The first T - 1 frames of a clip are references, the last is the target. The pointer copies the
references' colour codes to the target; the loss is the negative log of the mixture's probability of
the true code.

Shape suffixes: B clips, T frames, K clusters, H, W pixels, h, w cells.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from model.colorizer import Colorizer, normalise_grey
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
    """The same for repeating the last reference's code in place: the number to beat."""

    @staticmethod
    def mean(results: Sequence["ObjectiveResult"], weights: Sequence[float]) -> "ObjectiveResult":
        """Means of each over parts of a batch, with weights that sum to one; without gradients."""
        rows = [torch.stack((r.loss.detach(), r.accuracy, r.copy_accuracy)) for r in results]
        loss, accuracy, copy_accuracy = torch.stack(rows).T @ rows[0].new_tensor(weights)
        return ObjectiveResult(loss, accuracy, copy_accuracy)


class Colorization(nn.Module):
    """Wraps the colouriser so that one forward pass gives the loss (and DDP sees it)."""

    def __init__(self, colorizer: Colorizer) -> None:
        super().__init__()
        self.colorizer = colorizer

    def forward(self, batch: ClipBatch) -> ObjectiveResult:
        embeddings = self.colorizer(normalise_grey(batch.grey_BTHW))
        codes = batch.target_BTKhw.float()
        references, truth = codes[:, :-1], codes[:, -1]
        mixture = copy_through_pointer(embeddings[:, :-1], embeddings[:, -1], references)
        with torch.no_grad():
            true_code = truth.argmax(dim=1)
            accuracy = (mixture.argmax(dim=1) == true_code).float().mean()
            copy_accuracy = (references[:, -1].argmax(dim=1) == true_code).float().mean()
        loss = mixture_negative_log_likelihood(mixture, truth)
        return ObjectiveResult(loss, accuracy, copy_accuracy)
