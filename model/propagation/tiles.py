"""The weights of the affinity, a square tile of query cells at a time: the fast path.

Shape suffixes as in `model.propagation.affinity`: C channels, L label columns, F frames, H W rows and
columns of the cell grid, R cells of a rectangle of it, N context cells and Q query cells considered
together, K cells kept by the top-k, G groups of M cells.

All cells of a tile share one rectangle of keys, the tile enlarged by the reach of the window; the
keys of consecutive windowed frames are stacked, so a tile costs one matrix product per run of frames.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise

import torch
from torch import Tensor

from model.propagation.matching import Matching

TILE_CELLS = 12  # side of a query tile; larger: fewer, bigger products, more cells off the disc
GROUP_CELLS = 32  # context cells whose maximum is compared first when the top-k is selected


@dataclass(frozen=True)
class Tile:
    """Query cells of rows [top, bottom) and columns [left, right)."""

    top: int
    bottom: int
    left: int
    right: int


@dataclass(frozen=True)
class TileWeights:
    """What the query cells of one tile take from the context."""

    tile: Tile
    index: Tensor
    """Numbers of context cells: [K,Q] with a top-k, else [N], the same for all cells of the tile."""
    weights: Tensor
    """Their weights, float32, [K,Q] or [N,Q]; 0 for a cell that is not seen."""
    softmax_rows: tuple[int, ...]
    """How many of these rows belong to each softmax, in order."""

    def apply(self, labels_NL: Tensor) -> Tensor:
        """Labels of all context cells, float32 -> those carried to the tile, [Q,L]."""
        if self.index.ndim == 1:
            return self.weights.T @ labels_NL[self.index]
        return (self.weights[..., None] * labels_NL[self.index]).sum(0)

    def statistics(self, size_cells: tuple[int, int]) -> Tensor:
        """How each query cell of the tile spreads its weights: float32 [4,Q], see `WeightStatistics`."""
        height, width = size_cells
        mass_Q = self.weights.sum(0)
        entropy_Q, top1_Q = torch.zeros_like(mass_Q), torch.zeros_like(mass_Q)
        for weights_KQ in self.weights.split(self.softmax_rows):
            share_KQ = weights_KQ / weights_KQ.sum(0).clamp_min(torch.finfo(torch.float32).tiny)
            entropy_Q += torch.special.entr(share_KQ).sum(0)
            top1_Q += weights_KQ.amax(0)
        share = self.weights / mass_Q.clamp_min(torch.finfo(torch.float32).tiny)
        variance_Q = torch.zeros_like(mass_Q)
        for place in ((self.index // width) % height, self.index % width):
            place = place.float().view(len(place), -1)  # [K,Q], or [N,1] the same for all cells
            mean_Q = (share * place).sum(0)
            variance_Q += (share * (place - mean_Q).square()).sum(0)
        # The weights of a softmax add up to 1 / softmaxes, so its largest ones add up to their mean.
        entropy_Q /= len(self.softmax_rows)
        return torch.stack((entropy_Q, top1_Q, variance_Q.sqrt(), mass_Q))


@dataclass(frozen=True)
class _Run:
    """Consecutive context frames with or without a window, keys stacked channels last."""

    key_FHWC: Tensor
    index_FHW: Tensor  # number of each cell in the whole context
    windowed: bool


def tile_weights(
    query_CHW: Tensor,
    keys: Sequence[Tensor],
    windowed: Sequence[bool],
    matching: Matching,
    tile_cells: int = TILE_CELLS,
) -> Iterator[TileWeights]:
    """The weights of every query cell, tile by tile.

    `keys` [C,H,W] and `windowed` have an entry for each context frame. Memory beyond the inputs: one
    float32 copy of the keys, and `tile_cells`^2 x (cells seen) logits.
    """
    _, height, width = query_CHW.shape
    query_HWC = query_CHW.permute(1, 2, 0).float().contiguous()
    has_window = [each and matching.radius_cells is not None for each in windowed]
    if matching.softmax == "joint":
        groups = [_runs(keys, has_window, 0)]
    else:
        groups = [
            _runs([key], [each], number * height * width)
            for number, (key, each) in enumerate(zip(keys, has_window, strict=True))
        ]
    for top, bottom in _spans(height, tile_cells):
        for left, right in _spans(width, tile_cells):
            tile = Tile(top, bottom, left, right)
            query_QC = query_HWC[top:bottom, left:right].flatten(0, 1)
            parts = [_weigh(*_tile_logits(query_QC, tile, g, matching), matching) for g in groups]
            index, weights = parts[0]
            if len(parts) > 1:
                index = torch.cat([index for index, _ in parts])
                weights = torch.cat([weights for _, weights in parts]) / len(parts)
            yield TileWeights(tile, index, weights, tuple(len(weights) for _, weights in parts))


def _weigh(logits_NQ: Tensor, index_N: Tensor, matching: Matching) -> tuple[Tensor, Tensor]:
    """Logits of one softmax (padded as `_tile_logits` gives them) -> numbers and weights."""
    if matching.top_k is None:
        return index_N, logits_NQ[: len(index_N)].softmax(0)
    values_KQ, kept_KQ = _top_k(logits_NQ, matching.top_k)
    # Padding is kept only where fewer than k cells are seen, and weighs nothing.
    kept_KQ = index_N[kept_KQ.clamp(max=len(index_N) - 1)]
    if matching.top_k_stage == "before":
        return kept_KQ, values_KQ.softmax(0)
    return kept_KQ, (values_KQ - logits_NQ.logsumexp(0)).exp()


def _runs(keys: Sequence[Tensor], windowed: Sequence[bool], cells_before: int) -> list[_Run]:
    """Float32 copies of the keys; the first cell of the first frame has number `cells_before`."""
    runs: list[_Run] = []
    for has_window, group in groupby(zip(keys, windowed, strict=True), lambda pair: pair[1]):
        chosen = [key_CHW for key_CHW, _ in group]
        channels, height, width = chosen[0].shape
        key_FHWC = torch.empty(
            (len(chosen), height, width, channels), dtype=torch.float32, device=chosen[0].device
        )
        for slot_HWC, key_CHW in zip(key_FHWC, chosen, strict=True):
            slot_HWC.copy_(key_CHW.permute(1, 2, 0))
        cells = len(chosen) * height * width
        index = torch.arange(cells_before, cells_before + cells, device=chosen[0].device)
        runs.append(_Run(key_FHWC, index.view(len(chosen), height, width), has_window))
        cells_before += cells
    return runs


def _tile_logits(
    query_QC: Tensor, tile: Tile, runs: Sequence[_Run], matching: Matching
) -> tuple[Tensor, Tensor]:
    """Logits [N,Q] of a tile against the cells it can see, and their context numbers [N].

    Rows are in the order of the context numbers. Logits outside a window are -inf, and so are a few
    rows of padding at the end, beyond N, which make the rows a multiple of GROUP_CELLS.
    """
    parts: list[tuple[Tensor, Tensor, Tensor | None]] = []
    for run in runs:
        if not run.windowed:
            parts.append((run.key_FHWC.flatten(0, 2), run.index_FHW.flatten(), None))
            continue
        _, height, width = run.index_FHW.shape
        reach = matching.reach_cells(most=height + width)
        rows = slice(max(tile.top - reach, 0), min(tile.bottom + reach, height))
        columns = slice(max(tile.left - reach, 0), min(tile.right + reach, width))
        parts.append(
            (
                run.key_FHWC[:, rows, columns].flatten(0, 2),
                run.index_FHW[:, rows, columns].flatten(),
                _window_mask(tile, rows, columns, matching, query_QC.device),
            )
        )
    seen = sum(len(index_N) for _, index_N, _ in parts)
    logits_NQ = query_QC.new_empty(-(-seen // GROUP_CELLS) * GROUP_CELLS, len(query_QC))
    logits_NQ[seen:] = -torch.inf
    first = 0
    for key_NC, index_N, mask_RQ in parts:
        part_NQ = logits_NQ[first : first + len(index_N)]
        torch.mm(key_NC, query_QC.T, out=part_NQ)
        if mask_RQ is not None:
            part_NQ.view(-1, *mask_RQ.shape).add_(mask_RQ)
        first += len(index_N)
    return logits_NQ, torch.cat([index_N for _, index_N, _ in parts])


def _window_mask(
    tile: Tile, rows: slice, columns: slice, matching: Matching, device: torch.device
) -> Tensor:
    """0 where a cell of the rectangle is in the window of a query cell, else -inf: [R,Q]."""
    assert matching.radius_cells is not None
    y_R = torch.arange(rows.start, rows.stop, device=device)[:, None]
    x_R = torch.arange(columns.start, columns.stop, device=device)[:, None]
    dy2 = (y_R - torch.arange(tile.top, tile.bottom, device=device)).square()[:, None, :, None]
    dx2 = (x_R - torch.arange(tile.left, tile.right, device=device)).square()[None, :, None, :]
    distance2 = dy2 + dx2 if matching.window_shape == "disc" else torch.maximum(dy2, dx2)
    radius2 = matching.radius_cells**2
    inside = distance2 <= radius2 if matching.window_closed else distance2 < radius2
    inside = inside.flatten(2).flatten(0, 1)
    return torch.zeros(inside.shape, device=device).masked_fill_(~inside, -torch.inf)


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
