"""Boxes as filled masks: a column each, its value the share of a cell that the box covers.

Boxes may overlap, so they do not compete for cells and there is no background. A box is found as follows:

- the cells with at least half of the column's greatest value, of these the connected ones (sides, not
  corners) with the greatest sum;
- the profile of this region along x is the greatest value of each of its columns of cells, and of the ones
  just outside; an edge lies where the profile, linear between the centres of cells, crosses that half. The
  same along y. Edges are cut off at the borders of the image.

An edge comes back within 0.09 cells if the box fills a cell in both directions; a smaller one comes back
as large as one or two cells. A column without any value has no box: NaN.

Shape suffixes: N boxes, L = N columns, h w cells, 4 (x, y, width, height) in pixel edges.
"""

from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor

from model.errors import UserError
from model.propagation.annotations import BoxAnnotation
from model.propagation.columns.kind import (
    ColumnName,
    LabelColumns,
    checked_array,
    checked_ids,
)

LEVEL = 0.5  # share of the greatest value at which a box ends


@dataclass(frozen=True)
class BoxColumns(LabelColumns[BoxAnnotation]):
    """A box that lies outside the image, or whose place is NaN, is drawn nowhere."""

    @property
    def names(self) -> tuple[ColumnName, ...]:
        return self.ids

    def extended(self, annotation: BoxAnnotation) -> "BoxColumns":
        boxes = checked_array(annotation.xywh_px_N4, (None, 4), "boxes")
        if (boxes[:, 2:] < 0).any():
            raise UserError("boxes: a width or height is negative")
        return replace(self, ids=checked_ids(self.ids, annotation.ids, len(boxes), "boxes"))

    def encode(self, annotation: BoxAnnotation) -> Tensor:
        grid = self.drawing.grid
        (height, width), (cell_y, cell_x) = grid.frame_size_px, grid.cell_size_px
        rows, columns = grid.size_cells
        maps = np.zeros((len(self.ids), rows, columns), np.float32)
        drawn = self._drawn(annotation)
        for label, (x, y, w, h) in zip(
            np.array(annotation.ids)[drawn].tolist(), annotation.xywh_px_N4[drawn], strict=True
        ):
            # What the image cuts off must not end at its border: the padding belongs to the box.
            right = np.inf if x + w >= width else x + w
            below = np.inf if y + h >= height else y + h
            share_y = covered(y / cell_y, below / cell_y, rows)
            share_x = covered(x / cell_x, right / cell_x, columns)
            maps[self.ids.index(label)] = share_y[:, None] * share_x
        return torch.from_numpy(maps).to(self.drawing.device)

    def decode(self, soft_LHW: Tensor) -> BoxAnnotation:
        boxes = [self._find(map_hw) for map_hw in soft_LHW.double().cpu().numpy()]
        return BoxAnnotation(self.ids, np.array(boxes).reshape(-1, 4))

    def confidence(self, soft_LHW: Tensor) -> Tensor:
        return soft_LHW.amax((1, 2), keepdim=True)

    def names_something(self, annotation: BoxAnnotation) -> bool:
        return bool(self._drawn(annotation).any())

    def _drawn(self, annotation: BoxAnnotation) -> NDArray[np.bool_]:
        """Which boxes cover a part of the image, bool [N]."""
        x, y, w, h = annotation.xywh_px_N4.T
        height, width = self.drawing.grid.frame_size_px
        inside = (x < width) & (y < height) & (x + w > 0) & (y + h > 0)
        return np.asarray(inside & (w > 0) & (h > 0))  # NaN is none of these

    def _find(self, map_hw: NDArray[np.float64]) -> tuple[float, float, float, float]:
        level = LEVEL * map_hw.max()
        if not level > 0:
            return (np.nan,) * 4
        regions, count = ndimage.label(map_hw >= level)
        sums = ndimage.sum_labels(map_hw, regions, np.arange(1, count + 1))
        rows, columns = ndimage.find_objects(regions)[int(np.argmax(sums))]
        top, bottom = _edges(map_hw[:, columns].max(1), rows, level)
        left, right = _edges(map_hw[rows].max(0), columns, level)
        (height, width), (cell_y, cell_x) = (
            self.drawing.grid.frame_size_px,
            self.drawing.grid.cell_size_px,
        )
        top, bottom = top * cell_y, min(bottom * cell_y, height)
        left, right = left * cell_x, min(right * cell_x, width)
        return left, top, right - left, bottom - top


def covered(start: float, stop: float, cells: int) -> NDArray[np.float64]:
    """Share of each cell [i, i+1] that lies inside [start, stop]."""
    edges = np.arange(cells + 1.0)
    return np.clip(np.minimum(edges[1:], stop) - np.maximum(edges[:-1], start), 0.0, 1.0)


def _edges(profile: NDArray[np.float64], inside: slice, level: float) -> tuple[float, float]:
    """Where a profile crosses `level` on both sides of its part `inside`, in cell edges."""
    padded = np.concatenate(([0.0], profile, [0.0]))  # cell i is padded[i + 1]

    def outward(cell: int, outer: int) -> float:
        """Distance from the centre of `cell` to the crossing on the way to its neighbour `outer`."""
        high, low = padded[cell + 1], padded[outer + 1]
        return (high - level) / (high - low) if high > low else 0.5

    first, last = inside.start, inside.stop - 1
    start = first + 0.5 - outward(first, first - 1)
    stop = last + 0.5 + outward(last, last + 1)
    return max(start, 0.0), min(stop, float(len(profile)))
