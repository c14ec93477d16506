"""The readable reference of the affinity: every query cell against every cell of every context frame.

Shape suffixes as in `model.propagation.affinity`: C channels, L label columns, H W rows and columns of
the cell grid, N context cells and Q query cells considered together, S cells of one frame (with a
margin, where places outside the image count) or of one softmax.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from model.propagation.affinity import ContextFrame, check_keys, check_labels
from model.propagation.matching import Matching
from model.propagation.recentred import RecentredWindows, recentred_windows

BLOCK_QUERIES = 64  # query cells at a time, which bounds the memory


@dataclass(frozen=True)
class _Frame:
    """A context frame, flattened; with a margin of zeros where places outside the image count."""

    key_SC: Tensor
    labels_SL: Tensor
    y_S: Tensor
    x_S: Tensor
    size_cells: tuple[int, int]
    windowed: bool
    dilation: int

    @classmethod
    def of(cls, frame: ContextFrame, matching: Matching) -> "_Frame":
        _, height, width = frame.key_CHW.shape
        windowed = frame.windowed and matching.radius_cells is not None
        margin = 0
        if windowed and not frame.dilation and matching.window_outside == "zero":
            margin = matching.reach_cells(most=height + width)
        place_S2 = torch.cartesian_prod(
            torch.arange(-margin, height + margin), torch.arange(-margin, width + margin)
        ).to(frame.key_CHW.device)
        return cls(
            key_SC=F.pad(frame.key_CHW.float(), [margin] * 4).flatten(1).T,
            labels_SL=F.pad(frame.labels_LHW.float(), [margin] * 4).flatten(1).T,
            y_S=place_S2[:, 0],
            x_S=place_S2[:, 1],
            size_cells=(height, width),
            windowed=windowed,
            dilation=frame.dilation,
        )


def carry_dense(query_CHW: Tensor, context: Sequence[ContextFrame], matching: Matching) -> Tensor:
    """Every product, then the window, then the top-k, then the softmax.

    Returns labels [L,H,W] float32. Raises ValueError for shapes that do not fit together, an empty
    context, or a dilation where the windows cannot be laid elsewhere.
    """
    dilations = [frame.dilation for frame in context]
    check_keys(query_CHW, [frame.key_CHW for frame in context], dilations, matching)
    check_labels([frame.labels_LHW for frame in context], query_CHW.shape[1:])
    _, height, width = query_CHW.shape
    query_QC = query_CHW.float().flatten(1).T
    frames = [_Frame.of(frame, matching) for frame in context]
    cells = torch.arange(height * width, device=query_QC.device)
    carried_QL = [
        _carry_block(query_QC[cell_Q], cell_Q // width, cell_Q % width, frames, matching)
        for cell_Q in cells.split(BLOCK_QUERIES)
    ]
    return torch.cat(carried_QL).T.reshape(-1, height, width)


def _carry_block(
    query_QC: Tensor, y_Q: Tensor, x_Q: Tensor, frames: Sequence[_Frame], matching: Matching
) -> Tensor:
    """Labels [Q,L] of the query cells at those rows and columns."""
    logits: list[Tensor] = []
    windows: list[RecentredWindows | None] = []
    for frame in frames:
        logits_QS = query_QC @ frame.key_SC.T
        elsewhere = None
        if frame.dilation:
            reach = matching.reach_cells(most=sum(frame.size_cells))
            places_2Q = torch.stack((y_Q, x_Q))
            elsewhere = recentred_windows(
                logits_QS.T, places_2Q, frame.size_cells, reach, frame.dilation
            )
            logits_QS = elsewhere.logits_WQ.T
        elif frame.windowed:
            dy2_QS = (frame.y_S - y_Q[:, None]).square()
            dx2_QS = (frame.x_S - x_Q[:, None]).square()
            logits_QS = logits_QS.masked_fill(~matching.sees(dy2_QS, dx2_QS), -torch.inf)
        logits.append(logits_QS)
        windows.append(elsewhere)
    softmaxes = [torch.cat(logits, 1)] if matching.softmax == "joint" else logits
    weights_QN = torch.cat([_weights(each_QS, matching) for each_QS in softmaxes], 1)
    weights_QN /= len(softmaxes)
    carried_QL = torch.zeros(len(query_QC), frames[0].labels_SL.shape[1], device=query_QC.device)
    parts = weights_QN.split([logits_QS.shape[1] for logits_QS in logits], 1)
    for frame, elsewhere, weights_QS in zip(frames, windows, parts, strict=True):
        own_QS = weights_QS if elsewhere is None else elsewhere.spread(weights_QS.T).T
        carried_QL += own_QS @ frame.labels_SL
    return carried_QL


def _weights(logits_QS: Tensor, matching: Matching) -> Tensor:
    """Of all cells of one softmax, [Q,S]."""
    kept_QS = _kept(logits_QS, matching)
    if matching.top_k_stage == "before":
        return logits_QS.masked_fill(~kept_QS, -torch.inf).softmax(1)
    return logits_QS.softmax(1).masked_fill(~kept_QS, 0.0)


def _kept(logits_QS: Tensor, matching: Matching) -> Tensor:
    """Which cells of a softmax the top-k keeps: bool [Q,S]."""
    top_k = matching.top_k
    if top_k is None or top_k >= logits_QS.shape[1]:
        return torch.ones_like(logits_QS, dtype=torch.bool)
    least_Q1 = logits_QS.topk(top_k, dim=1).values[:, -1:]
    above_QS, tied_QS = logits_QS > least_Q1, logits_QS == least_Q1
    if matching.top_k_ties == "all":
        return above_QS | tied_QS
    room_Q1 = top_k - above_QS.sum(1, keepdim=True)
    return above_QS | (tied_QS & (tied_QS.cumsum(1, dtype=torch.int32) <= room_Q1))
