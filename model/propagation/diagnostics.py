"""What an affinity tells of itself while it carries labels: how sure it is, and whether the colours it
carries are those that are really there.

The video is in colour, so its colours are labels whose truth is known in every frame. They ride along
as four more columns: the true colours of each context frame, which tell how well this frame is matched,
and colours that were carried from the annotated frame on, which add up the errors on the way there.

Shape suffixes: H, W pixels, h, w cells, 2 (a, b) of CIE Lab, 3 (L, a, b), 4 the columns: (a, b) as they
are in a frame and (a, b) as they arrived there from the annotated one.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from model.color import rgb_to_lab
from model.propagation.affinity import WeightStatistics
from model.propagation.grid import CellGrid


@dataclass(frozen=True)
class CellDiagnostics:
    """Float32 maps on the cell grid; NaN in a frame that nothing was carried to, the first one."""

    grid: CellGrid
    lab_3hw: Tensor
    """CIE Lab of each cell's mean colour. Never NaN."""
    entropy_hw: Tensor
    """See `model.propagation.affinity.WeightStatistics`, as the next two."""
    top1_hw: Tensor
    spread_hw: Tensor
    colour_residual_hw: Tensor
    """Distance in the ab plane, in Lab units, of the true colour from the one that the affinity carries
    here from the true colours of the context."""
    drift_residual_hw: Tensor
    """The same from colours that were carried on since the annotated frame, as labels are."""


def cell_lab(frame_HW3: np.ndarray, grid: CellGrid, device: torch.device) -> Tensor:
    """CIE Lab [3,h,w] of the mean sRGB colour of every cell's pixels, uint8 RGB frame [H,W,3]."""
    return rgb_to_lab(grid.mean_in_cells(np.moveaxis(frame_HW3, 2, 0), device))


def at_anchor(lab_3hw: Tensor) -> Tensor:
    """The colour columns [4,h,w] that an annotated frame hands on."""
    return lab_3hw[1:].repeat(2, 1, 1)


def unmatched(grid: CellGrid, lab_3hw: Tensor) -> CellDiagnostics:
    """Of a frame that nothing was carried to."""
    unknown_hw = torch.full_like(lab_3hw[0], torch.nan)
    return CellDiagnostics(grid, lab_3hw, *[unknown_hw] * 5)


def diagnose(
    grid: CellGrid, lab_3hw: Tensor, carried_4hw: Tensor, weights: WeightStatistics
) -> tuple[CellDiagnostics, Tensor]:
    """The maps of a frame, and the colour columns [4,h,w] that it hands on when it is no anchor.

    `carried_4hw` is what the affinity makes of the context's columns.
    """
    tiny = torch.finfo(torch.float32).tiny
    arrived_4hw = carried_4hw / weights.mass_HW.clamp_min(tiny)
    true_2hw = lab_3hw[1:]
    diagnostics = CellDiagnostics(
        grid=grid,
        lab_3hw=lab_3hw,
        entropy_hw=weights.entropy_HW,
        top1_hw=weights.top1_HW,
        spread_hw=weights.spread_HW,
        colour_residual_hw=(arrived_4hw[:2] - true_2hw).norm(dim=0),
        drift_residual_hw=(arrived_4hw[2:] - true_2hw).norm(dim=0),
    )
    return diagnostics, torch.cat((true_2hw, arrived_4hw[2:]))
