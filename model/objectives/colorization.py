"""Colourisation as the training signal (Vondrick et al. 2018, section 3).

The first T - 1 frames of a clip are references, the last is the target. The pointer copies the
references' colour codes to the target; the loss is the negative log of the mixture's probability of
the true code.

Shape suffixes: B clips, T frames, K clusters, H, W pixels, h, w cells.
"""

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


@dataclass(frozen=True)
class ObjectiveResult:
    """What an objective gives back: scalars on the batch's device."""

    loss: Tensor
    accuracy: Tensor
    """Share of target cells whose most probable code is the true one."""
    copy_accuracy: Tensor
    """The same for repeating the last reference's code in place: the number to beat."""


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
