"""Masks as columns: background first, then a share of every object in every cell.

Shape suffixes: L columns, H W pixels, h w cells.
"""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from model.errors import UserError
from model.propagation.annotations import MaskAnnotation
from model.propagation.columns.kind import ColumnName, LabelColumns

LARGEST_ID = 2**31 - 1


@dataclass(frozen=True)
class MaskColumns(LabelColumns[MaskAnnotation]):
    """Any number of objects; ids of one frame are added in ascending order."""

    @property
    def names(self) -> tuple[ColumnName, ...]:
        return (0, *self.ids)

    def extended(self, annotation: MaskAnnotation) -> "MaskColumns":
        ids = mask_ids(annotation.ids_HW, self.drawing.grid.frame_size_px)
        return replace(self, ids=(*self.ids, *(label for label in ids if label not in self.ids)))

    def encode(self, annotation: MaskAnnotation) -> Tensor:
        drawing = self.drawing
        mask_HW = annotation.ids_HW.astype(np.int32)
        return drawing.grid.to_cells(mask_HW, (0, *self.ids), drawing.label_resize, drawing.device)

    def decode(self, soft_LHW: Tensor) -> MaskAnnotation:
        """uint8 where all ids allow it, else int32; the likeliest label of every pixel."""
        drawing = self.drawing
        mask_HW = drawing.grid.to_mask(soft_LHW, (0, *self.ids), rescale=drawing.rescale_output)
        return MaskAnnotation(mask_HW)

    def completed(self, annotation: MaskAnnotation, predicted_LHW: Tensor) -> MaskAnnotation:
        """Of the predicted mask that part which is not annotated and belongs to none of its objects."""
        if annotation.complete:
            return annotation
        predicted_HW = self.decode(predicted_LHW).ids_HW
        predicted_HW[np.isin(predicted_HW, annotation.ids_HW)] = 0
        ids_HW = np.where(annotation.ids_HW > 0, annotation.ids_HW, predicted_HW)
        return MaskAnnotation(ids_HW.astype(predicted_HW.dtype))

    def confidence(self, soft_LHW: Tensor) -> Tensor:
        return soft_LHW.amax(0, keepdim=True)

    def names_something(self, annotation: MaskAnnotation) -> bool:
        return bool(annotation.ids_HW.any())


def mask_ids(mask_HW: NDArray[Any], size_px: tuple[int, ...]) -> tuple[int, ...]:
    """The objects of a mask in ascending order. UserError for no mask of a frame of `size_px`."""
    if mask_HW.ndim != 2 or mask_HW.dtype.kind not in "iu":
        raise UserError(
            f"the mask has shape {mask_HW.shape} and type {mask_HW.dtype}, "
            "expected one integer id per pixel"
        )
    if mask_HW.shape != tuple(size_px):
        (rows, columns), (height, width) = mask_HW.shape, size_px
        raise UserError(
            f"the mask is {columns}x{rows} px (width x height), its frame {width}x{height} px"
        )
    ids = [int(label) for label in np.unique(mask_HW)]
    if ids and not 0 <= ids[0] <= ids[-1] <= LARGEST_ID:
        raise UserError(f"the mask has ids from {ids[0]} to {ids[-1]}, expected 0 to {LARGEST_ID}")
    return tuple(label for label in ids if label)
