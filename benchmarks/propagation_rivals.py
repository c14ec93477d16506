"""What the affinity is measured against: the ways of public implementations, written plainly.

Shape suffixes: C channels, L label columns, F frames, H W rows and columns of the cell grid, P = H*W,
N context cells and Q query cells, W places of a window.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from model.propagation.affinity import ContextFrame
from model.propagation.matching import Matching

CRW_BLOCK_QUERIES = 100  # of Contrastive Random Walk's released evaluation


def carry_in_blocks(
    query_CHW: Tensor,
    context: Sequence[ContextFrame],
    matching: Matching,
    block_queries: int = CRW_BLOCK_QUERIES,
) -> Tensor:
    """Every product, an additive mask and `torch.topk`, some query cells at a time into one buffer.

    Which of several equal logits is kept is unspecified.
    """
    assert matching.top_k is not None
    height, width = query_CHW.shape[1:]
    query_QC = query_CHW.flatten(1).T.contiguous()
    key_NC = torch.cat([frame.key_CHW.flatten(1).T for frame in context])
    labels_NL = torch.cat([frame.labels_LHW.flatten(1).T for frame in context])
    mask_PP = _mask(height, width, matching, 0.0, -torch.inf)
    logits_QN = torch.empty(min(block_queries, height * width), len(key_NC))
    carried = []
    for first in range(0, height * width, block_queries):
        block_QC = query_QC[first : first + block_queries]
        block_QN = logits_QN[: len(block_QC)]
        torch.mm(block_QC, key_NC.T, out=block_QN)
        block_QN.view(len(block_QC), len(context), -1).add_(
            mask_PP[first : first + block_queries, None]
        )
        values_QK, index_QK = block_QN.topk(matching.top_k, dim=1)
        carried.append((values_QK.softmax(1)[..., None] * labels_NL[index_QK]).sum(1))
    return torch.cat(carried).T.reshape(-1, height, width)


def carry_at_once(query_CHW: Tensor, context: Sequence[ContextFrame], matching: Matching) -> Tensor:
    """The same with all query cells together: the whole affinity lies in memory."""
    cells = query_CHW.shape[1] * query_CHW.shape[2]
    return carry_in_blocks(query_CHW, context, matching, block_queries=cells)


def carry_as_dino(query_CHW: Tensor, context: Sequence[ContextFrame], matching: Matching) -> Tensor:
    """DINO's neighbourhood mask: exponentials of all products, times a mask of 0 and 1 that is there
    for each context frame, those below the k-th set to 0, the others divided by their sum."""
    assert matching.top_k is not None
    height, width = query_CHW.shape[1:]
    query_FQC = query_CHW.flatten(1).T.repeat(len(context), 1, 1)
    key_FCN = torch.stack([frame.key_CHW.flatten(1) for frame in context])
    affinity_FQN = torch.exp(torch.bmm(query_FQC, key_FCN))
    mask_PP = _mask(height, width, matching, 1.0, 0.0)
    affinity_FQN *= mask_PP.repeat(len(context), 1, 1)
    affinity_NQ = affinity_FQN.transpose(2, 1).reshape(-1, height * width)
    least_Q = affinity_NQ.topk(matching.top_k, dim=0).values.amin(0)
    affinity_NQ[affinity_NQ < least_Q] = 0
    affinity_NQ = affinity_NQ / affinity_NQ.sum(0, keepdim=True)
    labels_LN = torch.cat([frame.labels_LHW.flatten(1) for frame in context], 1)
    return (labels_LN @ affinity_NQ).view(-1, height, width)


def carry_as_mast(query_CHW: Tensor, context: Sequence[ContextFrame], matching: Matching) -> Tensor:
    """MAST's windows: products with shifted copies; where windows are laid elsewhere, the keys of all
    their places are sampled first. Labels of all windows are laid out and summed."""
    _, height, width = query_CHW.shape
    reach = matching.reach_cells(most=height + width)
    place_HW2 = torch.stack(
        torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij"), 2
    )
    shifts_2HW = [_searched(query_CHW, frame, reach, place_HW2) for frame in context]
    logits = [
        _shifted_products(query_CHW, frame.key_CHW, reach)
        if shift_HW2 is None
        else (query_CHW[:, None] * _windows(frame.key_CHW, shift_HW2, reach, place_HW2)).sum(0)
        for frame, shift_HW2 in zip(context, shifts_2HW, strict=True)
    ]
    weights = torch.cat(logits).softmax(0).split([len(each) for each in logits])
    none_HW2 = torch.zeros(height, width, 2)
    carried_LHW = torch.zeros(len(context[0].labels_LHW), height, width)
    for frame, shift_HW2, weights_WHW in zip(context, shifts_2HW, weights, strict=True):
        shift_HW2 = none_HW2 if shift_HW2 is None else shift_HW2
        carried_LHW += (_windows(frame.labels_LHW, shift_HW2, reach, place_HW2) * weights_WHW).sum(
            1
        )
    return carried_LHW


def _searched(
    query_CHW: Tensor, frame: ContextFrame, reach: int, place_HW2: Tensor
) -> Tensor | None:
    """How far from each cell its window is laid (rows, columns); None for a frame that is not searched."""
    if not frame.dilation:
        return None
    coarse_WHW = _shifted_products(query_CHW, frame.key_CHW, reach, frame.dilation).softmax(0)
    step_W2 = torch.cartesian_prod(*[torch.arange(-reach, reach + 1)] * 2).float()
    return frame.dilation * torch.einsum("whx,wd->hxd", coarse_WHW, step_W2)


def _shifted_products(query_CHW: Tensor, key_CHW: Tensor, reach: int, dilation: int = 1) -> Tensor:
    """Dot products with the key at each place of the window, [W,H,W]; 0 outside the image."""
    _, height, width = query_CHW.shape
    padded = F.pad(key_CHW, [reach * dilation] * 4)
    starts = range(0, 2 * reach * dilation + 1, dilation)
    return torch.stack(
        [
            (query_CHW * padded[:, top : top + height, left : left + width]).sum(0)
            for top in starts
            for left in starts
        ]
    )


def _windows(plane_CHW: Tensor, shift_HW2: Tensor, reach: int, place_HW2: Tensor) -> Tensor:
    """What lies at each place of each cell's window, bilinear, 0 outside: [C,W,H,W]."""
    channels, height, width = plane_CHW.shape
    step_W2 = torch.cartesian_prod(*[torch.arange(-reach, reach + 1)] * 2)
    place_WHW2 = (place_HW2 + shift_HW2) + step_W2[:, None, None]
    scale_2 = torch.tensor([height - 1, width - 1]) / 2
    grid_WHW2 = (place_WHW2 / scale_2 - 1).flip(-1)
    copies = plane_CHW.repeat(len(step_W2), 1, 1, 1)
    sampled_WCHW = F.grid_sample(copies, grid_WHW2, align_corners=True)
    return sampled_WCHW.transpose(0, 1).reshape(channels, -1, height, width)


def _mask(height: int, width: int, matching: Matching, inside: float, outside: float) -> Tensor:
    """Float32 [P,P]: one value where a cell (column) is in the window of another (row), one elsewhere.

    Made a row of cells at a time, so that nothing else of its size is.
    """
    mask_HWP = torch.full((height, width, height * width), outside)
    y_P = torch.arange(height).repeat_interleave(width)
    x_P = torch.arange(width).repeat(height)
    for y, mask_WP in enumerate(mask_HWP):
        dx2_WP = (torch.arange(width)[:, None] - x_P).square()
        mask_WP.masked_fill_(matching.sees((y - y_P).square(), dx2_WP), inside)
    return mask_HWP.flatten(0, 1)
