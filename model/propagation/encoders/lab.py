"""Colour alone as an encoder.

Shape suffixes: H, W pixels, h, w cells.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from model.color import area_mean, rgb_to_lab
from model.trunk import STRIDE_PX

LAB_VARIANCE = 40.0
"""Squared distance of Lab colours is divided by twice this: sigma is 6.3 Lab units."""


class LabEncoder:
    """The mean Lab of each cell, compared by squared distance.

    logit = -|Lab_i - Lab_j|^2 / (2 * variance). As a dot product: key (a, -|Lab|^2 / (2 v)) and query
    (a, 1) with a = Lab / sqrt(v); the query's own square is the same for all keys and drops out of
    the softmax. The protocol's temperature and normalisation belong to learned features and do not
    apply.
    """

    def __init__(self, stride_px: int = STRIDE_PX, variance: float = LAB_VARIANCE) -> None:
        self.stride_px = stride_px
        self._variance = variance

    def encode(self, frame_3HW: Tensor) -> Tensor:
        height, width = frame_3HW.shape[-2:]
        cells = (height // self.stride_px, width // self.stride_px)
        return area_mean(rgb_to_lab(frame_3HW), cells)

    def match(self, references: Sequence[Tensor], target: Tensor) -> tuple[list[Tensor], Tensor]:
        scale = self._variance**-0.5
        keys = [
            torch.cat((lab * scale, -(lab**2).sum(dim=0, keepdim=True) / (2 * self._variance)))
            for lab in references
        ]
        return keys, torch.cat((target * scale, torch.ones_like(target[:1])))
