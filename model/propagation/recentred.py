"""Windows that go where a coarse search finds the cell: for frames that lie long ago.

MAST (Lai et al. 2020, arXiv 2002.07793, "ROI localisation"; the numerics are those of its released
code, zlai0/MAST a57b043). An object moves further in many frames than a window reaches, so for an old
frame the window is not laid around the query cell's own place. It is searched for with the same number
of places, `dilation` cells apart: their logits go through a softmax, and the mean of the offsets,
weighted by it, is where the window is laid. That is between cells, so keys and labels are read by
bilinear interpolation. Outside the image keys and labels are 0, in the search as in the window.

A dot product with an interpolated key is the interpolated dot product, so nothing of the size of
places x channels is ever made (in MAST it is, 4 GB a frame).

Shape suffixes: P cells of the frame, Q query cells, W = side^2 places of a window, 2 (y, x).
"""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class RecentredWindows:
    """The windows of some query cells in one frame."""

    logits_WQ: Tensor
    """Of the places of each window, row by row; 0 for a place outside the image."""
    _corner_2Q: Tensor
    """The cell above and left of the window's first place, whole numbers; it may lie outside."""
    _fraction_2Q: Tensor
    """How far behind that cell the place is, in [0, 1)."""
    _size_cells: tuple[int, int]

    def spread(self, weights_WQ: Tensor) -> Tensor:
        """Weights of the places -> of the frame's cells, [P,Q]; what falls outside the image is lost."""
        places, queries = weights_WQ.shape
        side = round(places**0.5)
        weights_YXQ = weights_WQ.view(side, side, queries)
        for dim, fraction_Q in enumerate(self._fraction_2Q):
            nothing = torch.zeros_like(weights_YXQ.narrow(dim, 0, 1))
            here = torch.cat((weights_YXQ, nothing), dim) * (1 - fraction_Q)
            weights_YXQ = here + torch.cat((nothing, weights_YXQ), dim) * fraction_Q
        index_BQ = _cells(self._corner_2Q, torch.arange(side + 1), self._size_cells)
        height, width = self._size_cells
        spread_PQ = weights_WQ.new_zeros(height * width + 1, queries)
        return spread_PQ.scatter_add_(0, index_BQ, weights_YXQ.flatten(0, 1))[:-1]


def recentred_windows(
    products_PQ: Tensor, place_2Q: Tensor, size_cells: tuple[int, int], reach: int, dilation: int
) -> RecentredWindows:
    """The windows of query cells at `place_2Q`, whole numbers, in a frame of `size_cells`.

    `products_PQ` are the dot products of all its keys with the queries. Windows and search have
    (2 * reach + 1)^2 places.
    """
    zero_1Q = products_PQ.new_zeros(1, products_PQ.shape[1])
    products_PQ = torch.cat((products_PQ, zero_1Q))  # what `_cells` calls outside
    offset_O = torch.arange(-reach, reach + 1, device=products_PQ.device)
    coarse_OOQ = (
        products_PQ.gather(0, _cells(place_2Q, offset_O * dilation, size_cells))
        .softmax(0)
        .view(len(offset_O), len(offset_O), -1)
    )
    shift_2Q = dilation * torch.stack(
        [
            (coarse_OOQ.sum(1) * offset_O[:, None]).sum(0),
            (coarse_OOQ.sum(0) * offset_O[:, None]).sum(0),
        ]
    )
    whole_2Q = shift_2Q.floor()
    fraction_2Q = shift_2Q - whole_2Q
    corner_2Q = place_2Q + whole_2Q.long() - reach
    index_BQ = _cells(corner_2Q, torch.arange(2 * reach + 2), size_cells)
    logits_YXQ = products_PQ.gather(0, index_BQ).view(2 * reach + 2, 2 * reach + 2, -1)
    for dim, fraction_Q in enumerate(fraction_2Q):
        here = logits_YXQ.narrow(dim, 0, 2 * reach + 1) * (1 - fraction_Q)
        logits_YXQ = here + logits_YXQ.narrow(dim, 1, 2 * reach + 1) * fraction_Q
    return RecentredWindows(logits_YXQ.flatten(0, 1), corner_2Q, fraction_2Q, size_cells)


def _cells(place_2Q: Tensor, step_O: Tensor, size_cells: tuple[int, int]) -> Tensor:
    """Numbers of the cells at all pairs of steps from each place, [O*O,Q]; outside it is that behind
    the last cell."""
    height, width = size_cells
    step_O1 = step_O.to(place_2Q.device)[:, None]
    y_O1Q, x_1OQ = (place_2Q[0] + step_O1)[:, None], (place_2Q[1] + step_O1)[None]
    inside = (y_O1Q >= 0) & (y_O1Q < height) & (x_1OQ >= 0) & (x_1OQ < width)
    return torch.where(inside, y_O1Q * width + x_1OQ, height * width).flatten(0, 1)
