"""Single places (joints, points) as columns, drawn and found in two ways.

`reference` is what the public JHMDB evaluations of TimeCycle, UVC and CRW do. Pixel p of a frame is
drawn at cell coordinate c = p / (pixels of a cell), without a half-pixel term: a 4x4 window of cells that
starts at int(c - 1.5), with exp(-2 d^2) around its cell number 2 (a Gaussian of sigma 0.5 cells). What
lies outside the grid is cut off. A place is found as the mean of the k largest cells, weighted by their
values, in the same coordinates.

`strict` has neither the rounding nor the shift. Pixel p lies at cell coordinate
c = (p + 0.5) / (pixels of a cell) - 0.5, where whole numbers are the centres of cells, and is shared
among the four cells around it (bilinear), so that the weighted mean of the cells is c again. It is
found where 3x3 cells together have the greatest sum, as the weighted mean of the 5x5 cells around.
Closer than half a cell to the border of the grid there are no cells beyond, and the place is drawn at
the centre of the outermost ones.

In both a column without any value has no place: NaN. Nothing is drawn for NaN, nor for a place outside
the image in `strict` mode (in `reference` mode only the part of its window on the grid is).

Shape suffixes: M places, 2 (x, y) in pixel indices, h w cells.
"""

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor

from model.propagation.columns.kind import Drawing
from model.propagation.grid import CellGrid

WINDOW_CELLS = 4  # side of what `reference` draws
WINDOW_CENTRE = 2
PEAK_CELLS = 3  # side of the square whose sum says where `strict` looks
REFINE_CELLS = 5  # side of the square whose mean place it takes


def draw_places(xy_px_M2: NDArray[np.float64], drawing: Drawing) -> Tensor:
    """One column for each place, float32 [M,h,w]."""
    grid = drawing.grid
    maps_Mhw = np.zeros((len(xy_px_M2), *grid.size_cells), np.float32)
    for map_hw, (x, y) in zip(maps_Mhw, xy_px_M2, strict=True):
        if np.isnan(x) or np.isnan(y):
            continue
        if drawing.keypoint_mode == "reference":
            _draw_reference(map_hw, x, y, grid)
        else:
            _draw_strict(map_hw, x, y, grid)
    return torch.from_numpy(maps_Mhw).to(drawing.device)


def find_places(soft_Mhw: Tensor, drawing: Drawing) -> NDArray[np.float64]:
    """The place of each column [M,2]; NaN where a column holds nothing above 0."""
    maps_Mhw = soft_Mhw.double().cpu().numpy()
    xy_px_M2 = np.full((len(maps_Mhw), 2), np.nan)
    for place_2, map_hw in zip(xy_px_M2, maps_Mhw, strict=True):
        if not map_hw.max() > 0:
            continue
        if drawing.keypoint_mode == "reference":
            place_2[:] = _find_reference(map_hw, drawing)
        else:
            place_2[:] = _find_strict(map_hw, drawing.grid)
    return xy_px_M2


def sureness(soft_Mhw: Tensor) -> Tensor:
    """The greatest sum of 3x3 cells of each column, [M,1,1]: it does not depend on the place in a cell."""
    sums = F.avg_pool2d(soft_Mhw, PEAK_CELLS, stride=1, padding=PEAK_CELLS // 2)
    return PEAK_CELLS**2 * sums.amax((1, 2), keepdim=True)


def _draw_reference(map_hw: NDArray[np.float32], x: float, y: float, grid: CellGrid) -> None:
    cell_y, cell_x = grid.cell_size_px
    window = np.exp(-2.0 * (np.arange(WINDOW_CELLS) - WINDOW_CENTRE) ** 2)
    top, left = int(y / cell_y - 1.5), int(x / cell_x - 1.5)
    for row, weight_y in enumerate(window, start=top):
        for column, weight_x in enumerate(window, start=left):
            if 0 <= row < map_hw.shape[0] and 0 <= column < map_hw.shape[1]:
                map_hw[row, column] = weight_y * weight_x


def _draw_strict(map_hw: NDArray[np.float32], x: float, y: float, grid: CellGrid) -> None:
    height, width = grid.frame_size_px
    if not (-0.5 <= x < width - 0.5 and -0.5 <= y < height - 0.5):
        return
    (rows, columns), (cell_y, cell_x) = map_hw.shape, grid.cell_size_px
    at_y = min(max((y + 0.5) / cell_y - 0.5, 0.0), rows - 1.0)
    at_x = min(max((x + 0.5) / cell_x - 0.5, 0.0), columns - 1.0)
    top, left = int(at_y), int(at_x)
    for row, weight_y in ((top, 1 - (at_y - top)), (top + 1, at_y - top)):
        for column, weight_x in ((left, 1 - (at_x - left)), (left + 1, at_x - left)):
            if weight_y * weight_x > 0:
                map_hw[row, column] = weight_y * weight_x


def _find_reference(map_hw: NDArray[np.float64], drawing: Drawing) -> tuple[float, float]:
    values = map_hw.ravel()
    # A stable sort: among equal cells the first row, then the first column.
    best = np.argsort(-values, kind="stable")[: drawing.keypoint_cells]
    rows, columns = np.unravel_index(best, map_hw.shape)
    weights = values[best] / values[best].sum()
    cell_y, cell_x = drawing.grid.cell_size_px
    return float(weights @ columns) * cell_x, float(weights @ rows) * cell_y


def _find_strict(map_hw: NDArray[np.float64], grid: CellGrid) -> tuple[float, float]:
    sums = ndimage.uniform_filter(map_hw, PEAK_CELLS, mode="constant")
    row, column = np.unravel_index(int(sums.argmax()), sums.shape)
    at_y, at_x = _mean_place(map_hw, int(row), int(column), PEAK_CELLS // 2)
    at_y, at_x = _mean_place(map_hw, round(at_y), round(at_x), REFINE_CELLS // 2)
    cell_y, cell_x = grid.cell_size_px
    return (at_x + 0.5) * cell_x - 0.5, (at_y + 0.5) * cell_y - 0.5


def _mean_place(
    map_hw: NDArray[np.float64], row: int, column: int, reach: int
) -> tuple[float, float]:
    """(y, x) of the weighted mean of the cells no further than `reach` from a cell, both ways."""
    top, left = max(row - reach, 0), max(column - reach, 0)
    around = map_hw[top : row + reach + 1, left : column + reach + 1]
    at_y = top + float(around.sum(1) @ np.arange(around.shape[0])) / around.sum()
    at_x = left + float(around.sum(0) @ np.arange(around.shape[1])) / around.sum()
    return at_y, at_x
