"""How the cells of a query frame weigh those of its context: window, top-k and softmax, as data."""

import math
from dataclasses import dataclass
from typing import Literal


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

    softmax: Literal["joint", "per_frame"] = "joint"
    """`joint`: one softmax, and one top-k, over the cells of all context frames; `per_frame`: one in
    each frame, and the mean over the frames."""

    top_k_stage: Literal["before", "after"] = "before"
    """`before`: only the kept cells enter the softmax, so their weights add up to 1; `after`: all seen
    cells do, then the kept ones keep their weights, which add up to less than 1."""

    def __post_init__(self) -> None:
        if self.top_k is not None and self.top_k < 1:
            raise ValueError(f"top_k must be at least 1, not {self.top_k}")
        if self.radius_cells is not None and not self.radius_cells > 0:
            raise ValueError(f"radius_cells must be positive, not {self.radius_cells}")

    def reach_cells(self, most: int) -> int:
        """Largest |dy| or |dx| of a seen cell, `most` or less; for a protocol with a window."""
        assert self.radius_cells is not None
        radius = min(self.radius_cells, most + 1.0)
        return min(most, math.floor(radius) if self.window_closed else math.ceil(radius) - 1)
