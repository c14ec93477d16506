"""How the cells of a query frame weigh those of its context: window, top-k and softmax, as data."""

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

RECENTRED_WITH = "top_k=none, window_shape=square, window_closed=true and window_outside=zero"

LARGEST_RADIUS_OUTSIDE = 100  # cells; places outside the image that count are made and multiplied


@dataclass(frozen=True)
class Matching:
    """Everything that turns logits into weights. Raises ValueError for a value out of range.

    For query cell j the weights are a softmax of the logits over the context cells i that j sees.
    """

    top_k: int | None = None
    """Cells kept for each query cell, of all frames or of each one (`softmax`); None: all."""

    radius_cells: float | None = None
    """Half width of the window in the frames that have one; None: no window."""

    window_shape: Literal["disc", "square"] = "disc"
    """`disc`: the Euclidean distance of two cells counts; `square`: the larger of |dy| and |dx|."""

    window_closed: bool = False
    """Whether a cell at exactly `radius_cells` is seen: distance <= radius instead of <."""

    window_outside: Literal["unseen", "zero"] = "unseen"
    """`unseen`: places of a window outside the image do not count; `zero`: they are cells whose keys
    and labels are 0, so that near the border they take a share of the weight."""

    softmax: Literal["joint", "per_frame"] = "joint"
    """`joint`: one softmax, and one top-k, over the cells of all context frames; `per_frame`: one in
    each frame, and the mean over the frames."""

    top_k_stage: Literal["before", "after"] = "before"
    """`before`: only the kept cells enter the softmax, so their weights add up to 1; `after`: all seen
    cells do, then the kept ones keep their weights, which add up to less than 1."""

    top_k_ties: Literal["first", "all"] = "first"
    """Of cells that tie with the k-th best: the first ones, so that k are kept, or all of them."""

    def __post_init__(self) -> None:
        if self.top_k is not None and self.top_k < 1:
            raise ValueError(f"top_k must be at least 1, not {self.top_k}")
        if self.radius_cells is not None and not self.radius_cells > 0:
            raise ValueError(f"radius_cells must be positive, not {self.radius_cells}")
        if self.window_outside == "zero" and (self.radius_cells or 0) > LARGEST_RADIUS_OUTSIDE:
            raise ValueError(
                f"radius_cells: {self.radius_cells} is above {LARGEST_RADIUS_OUTSIDE}, the most with "
                "window_outside=zero"
            )

    @property
    def may_recentre(self) -> bool:
        """Whether windows may be laid elsewhere (`RECENTRED_WITH`)."""
        return (
            self.top_k is None
            and self.radius_cells is not None
            and self.window_shape == "square"
            and self.window_closed
            and self.window_outside == "zero"
        )

    def reach_cells(self, most: int) -> int:
        """Largest |dy| or |dx| of a seen place; `most`, the largest inside the image, or less where
        places outside are unseen. For a protocol with a window."""
        assert self.radius_cells is not None
        radius = self.radius_cells
        if self.window_outside == "unseen":
            radius = min(radius, most + 1.0)
        reach = math.floor(radius) if self.window_closed else math.ceil(radius) - 1
        return reach if self.window_outside == "zero" else min(most, reach)

    def sees(self, dy2: Tensor, dx2: Tensor) -> Tensor:
        """Whether a cell at those squared distances is in the window."""
        assert self.radius_cells is not None
        distance2 = torch.maximum(dy2, dx2) if self.window_shape == "square" else dy2 + dx2
        radius2 = self.radius_cells**2
        return distance2 <= radius2 if self.window_closed else distance2 < radius2
