"""The weights of the affinity, a square tile of query cells at a time: the fast path.

Shape suffixes as in `model.propagation.affinity`: C channels, L label columns, H W rows and columns of
the cell grid, N context cells and Q query cells considered together, K cells kept by the top-k,
G groups of M cells.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise

import torch
from torch import Tensor

from model.propagation.matching import Matching
from model.propagation.tile_logits import Buffer, KeyFrame, Tile, TileLogits, tile_logits

TILE_CELLS = 12  # side of a query tile; larger: fewer, bigger products, more cells off the disc
GROUP_CELLS = 32  # context cells whose maximum is compared first when the top-k is selected


@dataclass(frozen=True)
class TileWeights:
    """What the query cells of one tile take from the context."""

    tile: Tile
    index: Tensor
    """Numbers of context cells: [K,Q] with a top-k, else [N], the same for all cells of the tile. The
    number behind the last cell stands for places outside the image, whose labels are 0."""
    weights: Tensor
    """Their weights, float32, [K,Q] or [N,Q]; 0 for a cell that is not seen."""
    softmax_rows: tuple[int, ...]
    """How many of these rows belong to each softmax, in order."""

    def apply(self, labels_NL: Tensor) -> Tensor:
        """Labels of all context cells, float32, and a row of zeros -> those carried to the tile, [Q,L]."""
        if self.index.ndim == 1:
            return self.weights.T @ labels_NL[self.index]
        return (self.weights[..., None] * labels_NL[self.index]).sum(0)

    def statistics(self, size_cells: tuple[int, int], frames: int) -> Tensor:
        """How each query cell of the tile spreads its weights over `frames` frames: float32 [4,Q], see
        `WeightStatistics`; places outside the image do not count."""
        height, width = size_cells
        tiny = torch.finfo(torch.float32).tiny
        outside = (self.index == frames * height * width).view(len(self.index), -1)
        weights = self.weights.masked_fill(outside, 0.0)
        mass_Q = weights.sum(0)
        entropy_Q, top1_Q = torch.zeros_like(mass_Q), torch.zeros_like(mass_Q)
        for weights_KQ in weights.split(self.softmax_rows):
            share_KQ = weights_KQ / weights_KQ.sum(0).clamp_min(tiny)
            entropy_Q += torch.special.entr(share_KQ).sum(0)
            top1_Q += weights_KQ.amax(0)
        share = weights / mass_Q.clamp_min(tiny)
        variance_Q = torch.zeros_like(mass_Q)
        for place in ((self.index // width) % height, self.index % width):
            place = place.float().view(len(place), -1)  # [K,Q], or [N,1] the same for all cells
            mean_Q = (share * place).sum(0)
            variance_Q += (share * (place - mean_Q).square()).sum(0)
        # The weights of a softmax add up to 1 / softmaxes, so its largest ones add up to their mean.
        entropy_Q /= len(self.softmax_rows)
        return torch.stack((entropy_Q, top1_Q, variance_Q.sqrt(), mass_Q))


def tile_weights(
    query_CHW: Tensor,
    context: Sequence[KeyFrame],
    matching: Matching,
    tile_cells: int = TILE_CELLS,
) -> Iterator[TileWeights]:
    """The weights of every query cell, tile by tile.

    Memory beyond the inputs: `tile_cells`^2 x (cells seen) logits, and the keys that the tile sees of a
    few frames.
    """
    _, height, width = query_CHW.shape
    outside = len(context) * height * width
    buffers = (Buffer(query_CHW), Buffer(query_CHW))
    groups = [context] if matching.softmax == "joint" else [[frame] for frame in context]
    for top, bottom in _spans(height, tile_cells):
        for left, right in _spans(width, tile_cells):
            tile = Tile(top, bottom, left, right)
            query_CQ = query_CHW[:, top:bottom, left:right].float().flatten(1)
            see = partial(tile_logits, query_CQ, tile, matching=matching, outside=outside)
            parts = [
                _weigh(see(frames, multiple=GROUP_CELLS, buffers=buffers), matching)
                for frames in groups
            ]
            index, weights = parts[0]
            if len(parts) > 1:
                index = torch.cat([index for index, _ in parts])
                weights = torch.cat([weights for _, weights in parts]) / len(parts)
            yield TileWeights(tile, index, weights, tuple(len(weights) for _, weights in parts))


def _weigh(logits: TileLogits, matching: Matching) -> tuple[Tensor, Tensor]:
    """Logits of one softmax -> numbers and weights."""
    index_N = torch.cat([index_N for index_N, _ in logits.parts])
    if matching.top_k is None:
        weights_NQ = logits.logits_NQ[: sum(logits.rows)].softmax(0)
        if any(windows is not None for _, windows in logits.parts):
            parts = zip(weights_NQ.split(logits.rows), logits.parts, strict=True)
            weights_NQ = torch.cat(
                [own_NQ if w is None else w.spread(own_NQ) for own_NQ, (_, w) in parts]
            )
        return index_N, weights_NQ
    values_KQ, kept_KQ = _top_k(logits.logits_NQ, matching.top_k)
    if matching.top_k_ties == "all":
        values_KQ, kept_KQ = _with_ties(logits.logits_NQ, values_KQ, kept_KQ)
    # Padding is kept only where fewer than k cells are seen, and weighs nothing.
    kept_KQ = index_N[kept_KQ.clamp(max=len(index_N) - 1)]
    if matching.top_k_stage == "before":
        return kept_KQ, values_KQ.softmax(0)
    return kept_KQ, (values_KQ - logits.logits_NQ.logsumexp(0)).exp()


def _top_k(logits_NQ: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Exact top k of each column, the lowest of equals first: values and rows, [K,Q].

    Rows are compared in groups of GROUP_CELLS first (N is a multiple of it). The k best rows lie
    in the k groups with the best maxima, because groups are consecutive rows: of two groups with
    the same maximum the earlier one holds the earlier best row.
    """
    best_GQ = logits_NQ.view(-1, GROUP_CELLS, logits_NQ.shape[1]).amax(1)
    group_G1 = torch.arange(len(best_GQ), device=logits_NQ.device)[:, None]
    group_KQ = _rank(best_GQ, group_G1).topk(min(k, len(best_GQ)), dim=0).indices
    member = torch.arange(GROUP_CELLS, device=logits_NQ.device)
    row_MQ = (group_KQ[:, None] * GROUP_CELLS + member[None, :, None]).flatten(0, 1)
    value_MQ = logits_NQ.gather(0, row_MQ)
    kept_KQ = _rank(value_MQ, row_MQ).topk(min(k, len(row_MQ)), dim=0).indices
    return value_MQ.gather(0, kept_KQ), row_MQ.gather(0, kept_KQ)


def _with_ties(logits_NQ: Tensor, values_KQ: Tensor, kept_KQ: Tensor) -> tuple[Tensor, Tensor]:
    """The top k of each column and all that equals its last one; -inf where a column has fewer."""
    least_Q = values_KQ[-1]
    best_NQ = (logits_NQ >= least_Q) & (logits_NQ > -torch.inf)
    most = int(best_NQ.sum(0).max())
    if most <= len(values_KQ):
        return values_KQ, kept_KQ
    values_KQ, kept_KQ = _top_k(logits_NQ, most)
    return values_KQ.masked_fill(values_KQ < least_Q, -torch.inf), kept_KQ


def _rank(values: Tensor, index: Tensor) -> Tensor:
    """int64 that orders float32 values first and lower indices (below 2^32) before higher ones.

    The bits of a float, with the magnitude bits of negative numbers flipped, order like the
    float; adding 0 turns -0.0 into 0.0, which is equal to it.
    """
    bits = (values + 0.0).view(torch.int32)
    ordered = bits ^ ((bits >> 31) & 0x7FFFFFFF)
    return (ordered.long() << 32) - index


def _spans(length: int, most: int) -> list[tuple[int, int]]:
    """Cut `length` into spans of nearly equal size, `most` or less each."""
    pieces = -(-length // most)
    edges = [length * piece // pieces for piece in range(pieces + 1)]
    return list(pairwise(edges))
