"""Colours as two columns of plain values, a and b of CIE Lab: carried as they are, nothing is decided.

Shape suffixes: H W pixels, 2 (a, b), h w cells.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from model.errors import UserError
from model.propagation.annotations import ColourAnnotation
from model.propagation.columns.kind import ColumnName, LabelColumns, checked_array


@dataclass(frozen=True)
class ColourColumns(LabelColumns[ColourAnnotation]):
    """The mean of every cell; on the way back bilinear between cells."""

    @property
    def names(self) -> tuple[ColumnName, ...]:
        return ("a", "b")

    def extended(self, annotation: ColourAnnotation) -> "ColourColumns":
        ab = checked_array(annotation.ab_HW2, (*self.drawing.grid.frame_size_px, 2), "colours")
        if np.isnan(ab).any():
            raise UserError("colours: a value is not a number")
        return self

    def encode(self, annotation: ColourAnnotation) -> Tensor:
        ab_2HW = np.moveaxis(annotation.ab_HW2, 2, 0).astype(np.float32)
        return self.drawing.grid.mean_in_cells(ab_2HW, self.drawing.device)

    def decode(self, soft_LHW: Tensor) -> ColourAnnotation:
        planes = [self.drawing.grid.to_pixels(plane_hw) for plane_hw in soft_LHW]
        return ColourAnnotation(torch.stack(planes, dim=-1).cpu().numpy())

    def confidence(self, soft_LHW: Tensor) -> Tensor:
        return torch.ones_like(soft_LHW[:1])

    def names_something(self, annotation: ColourAnnotation) -> bool:
        return True

    @property
    def plain_values(self) -> bool:
        return True
