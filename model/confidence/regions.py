"""Where each object of a frame is, on pixels and on the cell grid, whatever kind of label it has.

Shape suffixes: H, W pixels, h, w cells, L columns, M places, 2 (x, y), 4 (x, y, width, height).
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from model.propagation.annotations import (
    Annotation,
    BoxAnnotation,
    ColourAnnotation,
    KeypointAnnotation,
    MaskAnnotation,
)
from model.propagation.columns.boxes import covered
from model.propagation.columns.layout import kind_word
from model.propagation.grid import CellGrid
from model.propagation.results import Carried

Floats = NDArray[np.floating[Any]]

PLACE_CELLS = 1  # cells on each side of that of a joint or point that belong to it as well


@dataclass(frozen=True)
class Region:
    """One object in one frame."""

    kind: str
    """mask, keypoints, box or point."""
    object_id: int
    area_px: float
    """Mask: its pixels; box: width x height; NaN for places. 0 where the object is not there."""
    box_xywh_px: tuple[float, float, float, float]
    """Rectangle around it, in pixel edges; NaN where the object is not there."""
    centre_xy_px: tuple[float, float]
    """Mean of its pixels or places; NaN where the object is not there."""
    share_hw: Floats
    """How much of each cell belongs to it, 0 to 1; of places 1 in their cells and the ones around."""
    soft_hw: Floats
    """Its column on the grid, of keypoints the greatest of its columns; NaN where it has none."""

    @property
    def there(self) -> bool:
        """Whether it has a place, and a part of it lies in the image."""
        return bool(np.isfinite(self.centre_xy_px[0])) and bool(self.share_hw.any())

    @property
    def diameter_px(self) -> float:
        """Of masks and boxes the side of a square of that area, of joints the diagonal around them."""
        if np.isnan(self.area_px):
            return float(np.hypot(*self.box_xywh_px[2:]))
        return float(np.sqrt(self.area_px))


def object_kind(kind: type[Annotation]) -> str:
    """mask, keypoints, box or point, as tables name them."""
    return "keypoints" if kind is KeypointAnnotation else kind_word(kind)


def regions_of(carried: Carried[Any], grid: CellGrid) -> list[Region]:
    """Every object that is known in the video, in the order of its columns; none for colours."""
    record = carried.record
    if isinstance(record, ColourAnnotation):
        return []
    kind = object_kind(type(record))
    softs = _softs(carried, grid)
    if isinstance(record, MaskAnnotation):
        return [_mask_region(record.ids_HW, label, soft, grid) for label, soft in softs.items()]
    places = _places(record)
    return [
        _box_region(label, places[label], soft, grid)
        if isinstance(record, BoxAnnotation) and label in places
        else _place_region(kind, label, places.get(label, np.full((1, 2), np.nan)), soft, grid)
        for label, soft in softs.items()
    ]


def _softs(carried: Carried[Any], grid: CellGrid) -> dict[int, Floats]:
    """The column of each object; models without columns have the ids of the record, and NaN."""
    soft_Lhw = carried.soft_Lhw.float().cpu().numpy()
    softs: dict[int, Floats] = {}
    for name, soft_hw in zip(carried.names, soft_Lhw, strict=True):
        label = name[0] if isinstance(name, tuple) else name
        assert isinstance(label, int)
        softs[label] = np.maximum(softs[label], soft_hw) if label in softs else soft_hw
    if isinstance(carried.record, MaskAnnotation):
        softs.pop(0, None)
    elif not carried.names:
        softs = {label: np.full(grid.size_cells, np.nan) for label in carried.record.ids}
    return softs


def _places(record: Any) -> dict[int, Floats]:
    """Of boxes [4], of instances their joints [M,2], of points [1,2]."""
    if isinstance(record, BoxAnnotation):
        return dict(zip(record.ids, record.xywh_px_N4, strict=True))
    if isinstance(record, KeypointAnnotation):
        return dict(zip(record.ids, record.xy_px_NK2, strict=True))
    return dict(zip(record.ids, record.xy_px_N2[:, None], strict=True))


def _mask_region(ids_HW: NDArray[Any], label: int, soft_hw: Floats, grid: CellGrid) -> Region:
    inside_HW = ids_HW == label
    rows, columns = inside_HW.sum(1), inside_HW.sum(0)
    area_px = float(rows.sum())
    if area_px == 0:
        return _nowhere("mask", label, 0.0, soft_hw)
    y, x = np.flatnonzero(rows), np.flatnonzero(columns)
    return Region(
        kind="mask",
        object_id=label,
        area_px=area_px,
        box_xywh_px=(x[0], y[0], x[-1] - x[0] + 1.0, y[-1] - y[0] + 1.0),
        centre_xy_px=(float(x @ columns[x]) / area_px, float(y @ rows[y]) / area_px),
        share_hw=grid.mean_in_cells(inside_HW[None], torch.device("cpu"))[0].numpy(),
        soft_hw=soft_hw,
    )


def _box_region(label: int, box_4: Floats, soft_hw: Floats, grid: CellGrid) -> Region:
    x, y, width, height = (float(value) for value in box_4)
    if not (width > 0 and height > 0):
        return _nowhere("box", label, 0.0, soft_hw)
    (cell_y, cell_x), (rows, columns) = grid.cell_size_px, grid.size_cells
    share_y = covered(y / cell_y, (y + height) / cell_y, rows)
    share_x = covered(x / cell_x, (x + width) / cell_x, columns)
    return Region(
        kind="box",
        object_id=label,
        area_px=width * height,
        box_xywh_px=(x, y, width, height),
        centre_xy_px=(x + (width - 1) / 2, y + (height - 1) / 2),
        share_hw=share_y[:, None] * share_x,
        soft_hw=soft_hw,
    )


def _place_region(
    kind: str, label: int, xy_px_M2: Floats, soft_hw: Floats, grid: CellGrid
) -> Region:
    seen_M2 = xy_px_M2[np.isfinite(xy_px_M2).all(1)]
    if not len(seen_M2):
        return _nowhere(kind, label, np.nan, soft_hw)
    (cell_y, cell_x), (height, width) = grid.cell_size_px, grid.frame_size_px
    share_hw = np.zeros(grid.size_cells, np.float32)
    for x, y in seen_M2:
        if 0 <= x + 0.5 < width and 0 <= y + 0.5 < height:
            row, column = int((y + 0.5) / cell_y), int((x + 0.5) / cell_x)
            top, left = max(row - PLACE_CELLS, 0), max(column - PLACE_CELLS, 0)
            share_hw[top : row + PLACE_CELLS + 1, left : column + PLACE_CELLS + 1] = 1
    (left, top), (right, bottom) = seen_M2.min(0), seen_M2.max(0)
    return Region(
        kind=kind,
        object_id=label,
        area_px=np.nan,
        box_xywh_px=(left, top, right - left + 1.0, bottom - top + 1.0),
        centre_xy_px=(float(seen_M2[:, 0].mean()), float(seen_M2[:, 1].mean())),
        share_hw=share_hw,
        soft_hw=soft_hw,
    )


def _nowhere(kind: str, label: int, area_px: float, soft_hw: Floats) -> Region:
    nan = np.nan
    empty_hw = np.zeros(soft_hw.shape, np.float32)
    return Region(kind, label, area_px, (nan, nan, nan, nan), (nan, nan), empty_hw, soft_hw)
