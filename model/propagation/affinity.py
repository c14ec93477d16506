"""Carrying labels from context frames to a query frame through a softmax affinity.

Shape suffixes: C channels, L label columns, F frames, H W rows and columns of the cell grid,
P = H*W cells of one frame, N context cells and Q query cells considered together, S cells of one
softmax, G softmaxes.

For query cell j and context cell i the logit is the dot product s_ij = <query_j, key_i>; any
normalisation and temperature is already inside the vectors. The weights are a softmax over the
context cells that query cell j may see, and the carried label is y_j = sum_i A_ij c_i: the pointer
of Vondrick et al. 2018 (arXiv 1806.09594). `Matching` says what is seen and kept: the top-k and the
window of Jabri et al. 2020 (arXiv 2006.14613), and how other systems do it.

- Window: in a frame marked `windowed`, query cell (y, x) sees only the cells within the window.
- Top-k: the largest logits, over all frames together or in each frame, in float32.
- Ties: context cells are numbered by frame (in the order given), then row, then column. Among
  equal logits the lowest number wins, so exactly k cells are kept and the choice does not depend
  on the device or on the tiling. (DINO keeps every cell that ties with the k-th; here k are kept.)

`carry_dense` is the readable reference; `carry_tiled` gives the same answer from far fewer dot
products and is what `carry` runs. `find_affinity` keeps the weights, for labels that come later.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from model.propagation.matching import Matching
from model.propagation.tiles import TILE_CELLS, TileWeights, tile_weights

DENSE_BLOCK_QUERIES = 64  # query cells per block of the dense reference, bounds its memory


@dataclass(frozen=True)
class ContextFrame:
    """One frame labels are carried from."""

    key_CHW: Tensor
    """Matching vectors, any floating type (products are taken in float32)."""
    labels_LHW: Tensor
    """Label columns on the same grid: soft masks, joints, colours, in any mixture."""
    windowed: bool
    """Whether the window limits what a query cell sees of this frame."""


@dataclass(frozen=True)
class Affinity:
    """What every cell of a query frame takes from which context cells: found once, applied to any labels.

    With a top-k it is sparse: k numbers and weights a cell (771 kB for 480x854 px at stride 8, k = 10).
    """

    size_cells: tuple[int, int]
    frames: int
    """Context frames; cell (y, x) of frame f has the number (f * height + y) * width + x."""
    tiles: tuple[TileWeights, ...]

    def apply(self, labels: Sequence[Tensor]) -> Tensor:
        """Label columns [L,H,W] of each context frame -> those of the query frame, float32 [L,H,W].

        Raises ValueError for labels of another number of frames or another grid.
        """
        if len(labels) != self.frames:
            raise ValueError(f"labels of {len(labels)} frames, expected {self.frames}")
        _check_labels(labels, self.size_cells)
        return _apply(self.tiles, labels)


@dataclass(frozen=True)
class WeightStatistics:
    """How every cell of a query frame spreads its weights over the context: float32 maps [H,W]."""

    entropy_HW: Tensor
    """Of the kept weights of a softmax, scaled to add up to 1, in nats: 0 where one cell has them all,
    log k where k cells have the same. With a softmax a frame, the mean over the frames."""
    top1_HW: Tensor
    """The largest weight of a softmax (with a top-k after it, among all cells that are seen); with a
    softmax a frame, the mean over the frames."""
    spread_HW: Tensor
    """Standard deviation of the place of the matched cells, in cells, over all context frames."""
    mass_HW: Tensor
    """Sum of all weights: 1, or less with a top-k after the softmax."""


@torch.no_grad()
def find_affinity(
    query_CHW: Tensor, keys: Sequence[Tensor], windowed: Sequence[bool], matching: Matching
) -> Affinity:
    """The affinity of a query frame to the context frames with those keys [C,H,W].

    Without a top-k it holds a weight for every pair of cells that can see each other, which `carry`
    does not. Raises ValueError for shapes that do not fit together or an empty context.
    """
    _check_keys(query_CHW, keys)
    tiles = tuple(tile_weights(query_CHW, keys, windowed, matching))
    return Affinity((query_CHW.shape[1], query_CHW.shape[2]), len(keys), tiles)


def carry(query_CHW: Tensor, context: Sequence[ContextFrame], matching: Matching) -> Tensor:
    """Labels [L,H,W] float32 of the query frame: `carry_tiled` with its default tile."""
    return carry_tiled(query_CHW, context, matching)


@torch.no_grad()
def carry_tiled(
    query_CHW: Tensor,
    context: Sequence[ContextFrame],
    matching: Matching,
    *,
    tile_cells: int = TILE_CELLS,
) -> Tensor:
    """The fast path: weights are found and used tile by tile, and not kept.

    Returns labels [L,H,W] float32, equal to `carry_dense` within rounding. Raises as it does.
    """
    keys = [frame.key_CHW for frame in context]
    labels = [frame.labels_LHW for frame in context]
    _check_keys(query_CHW, keys)
    _check_labels(labels, query_CHW.shape[1:])
    windowed = [frame.windowed for frame in context]
    return _apply(tile_weights(query_CHW, keys, windowed, matching, tile_cells), labels)


@torch.no_grad()
def carry_observed(
    query_CHW: Tensor,
    context: Sequence[ContextFrame],
    matching: Matching,
    observed: Sequence[Tensor],
) -> tuple[Tensor, Tensor, WeightStatistics]:
    """What `carry` returns, bit for bit; the columns `observed` [O,H,W] of each context frame, carried by
    the same weights; and how the weights were spread. Raises as `carry` does.
    """
    keys = [frame.key_CHW for frame in context]
    labels = [frame.labels_LHW for frame in context]
    size_cells = (query_CHW.shape[1], query_CHW.shape[2])
    _check_keys(query_CHW, keys)
    _check_labels(labels, size_cells)
    _check_labels(observed, size_cells)
    windowed = [frame.windowed for frame in context]
    observed_NO = torch.cat([columns.float().flatten(1).T for columns in observed])
    carried_OHW = observed_NO.new_empty(observed_NO.shape[1], *size_cells)
    statistics_4HW = observed_NO.new_empty(4, *size_cells)

    def watched() -> Iterator[TileWeights]:
        for weights in tile_weights(query_CHW, keys, windowed, matching):
            tile = weights.tile
            place = (..., slice(tile.top, tile.bottom), slice(tile.left, tile.right))
            for maps, part in (
                (carried_OHW[place], weights.apply(observed_NO).T),
                (statistics_4HW[place], weights.statistics(size_cells)),
            ):
                maps.copy_(part.reshape(maps.shape))
            yield weights

    labels_LHW = _apply(watched(), labels)
    return labels_LHW, carried_OHW, WeightStatistics(*statistics_4HW)


def carry_dense(query_CHW: Tensor, context: Sequence[ContextFrame], matching: Matching) -> Tensor:
    """The reference: every query cell against every context cell, then the window, then the top-k.

    Returns labels [L,H,W] float32. Raises ValueError for shapes that do not fit together or an empty
    context.
    """
    _check_keys(query_CHW, [frame.key_CHW for frame in context])
    _check_labels([frame.labels_LHW for frame in context], query_CHW.shape[1:])
    _, height, width = query_CHW.shape
    query_QC = query_CHW.float().flatten(1).T
    key_NC = torch.cat([frame.key_CHW.float().flatten(1).T for frame in context])
    labels_NL = torch.cat([frame.labels_LHW.float().flatten(1).T for frame in context])
    cell_P = torch.arange(height * width, device=key_NC.device)
    windowed_F1 = torch.tensor([[frame.windowed] for frame in context], device=key_NC.device)
    softmaxes = 1 if matching.softmax == "joint" else len(context)

    carried_QL = []
    for cell_Q in cell_P.split(DENSE_BLOCK_QUERIES):
        logits_QN = query_QC[cell_Q] @ key_NC.T
        if matching.radius_cells is not None:
            outside_QP = _outside(cell_Q, cell_P, width, matching)
            outside_QFP = outside_QP[:, None] & windowed_F1
            logits_QN.masked_fill_(outside_QFP.flatten(1), -torch.inf)
        logits_QGS = logits_QN.unflatten(1, (softmaxes, -1))
        kept_QGS = _kept(logits_QGS, matching.top_k)
        if matching.top_k_stage == "before":
            weights_QGS = logits_QGS.masked_fill(~kept_QGS, -torch.inf).softmax(2)
        else:
            weights_QGS = logits_QGS.softmax(2).masked_fill(~kept_QGS, 0.0)
        carried_QL.append(weights_QGS.flatten(1) / softmaxes @ labels_NL)
    return torch.cat(carried_QL).T.reshape(-1, height, width)


def _outside(cell_Q: Tensor, cell_P: Tensor, width: int, matching: Matching) -> Tensor:
    """Whether cell p lies outside the window of query cell q: bool [Q,P]."""
    assert matching.radius_cells is not None
    dy_QP = (cell_P // width - (cell_Q // width)[:, None]).abs()
    dx_QP = (cell_P % width - (cell_Q % width)[:, None]).abs()
    if matching.window_shape == "square":
        distance_QP, radius = torch.maximum(dy_QP, dx_QP), matching.radius_cells
    else:
        distance_QP, radius = dy_QP.square() + dx_QP.square(), matching.radius_cells**2
    return distance_QP > radius if matching.window_closed else distance_QP >= radius


def _kept(logits_QGS: Tensor, top_k: int | None) -> Tensor:
    """Which cells of each softmax the top-k keeps: bool [Q,G,S]."""
    if top_k is None or top_k >= logits_QGS.shape[2]:
        return torch.ones_like(logits_QGS, dtype=torch.bool)
    least_QG1 = logits_QGS.topk(top_k, dim=2).values[..., -1:]
    above_QGS = logits_QGS > least_QG1
    tied_QGS = logits_QGS == least_QG1
    room_QG1 = top_k - above_QGS.sum(2, keepdim=True)
    return above_QGS | (tied_QGS & (tied_QGS.cumsum(2, dtype=torch.int32) <= room_QG1))


def _apply(tiles: Iterable[TileWeights], labels: Sequence[Tensor]) -> Tensor:
    labels_NL = torch.cat([columns.float().flatten(1).T for columns in labels])
    columns, height, width = labels[0].shape
    carried_HWL = labels_NL.new_empty(height, width, columns)
    for weights in tiles:
        tile = weights.tile
        rows, cells = slice(tile.top, tile.bottom), slice(tile.left, tile.right)
        part_HWL = weights.apply(labels_NL).view(tile.bottom - tile.top, -1, columns)
        carried_HWL[rows, cells] = part_HWL
    return carried_HWL.permute(2, 0, 1).contiguous()


def _check_keys(query_CHW: Tensor, keys: Sequence[Tensor]) -> None:
    if not keys:
        raise ValueError("labels can only be carried from at least one context frame")
    for key_CHW in keys:
        if key_CHW.shape != query_CHW.shape:
            raise ValueError(
                f"a key has shape {tuple(key_CHW.shape)}, the query {tuple(query_CHW.shape)}"
            )


def _check_labels(labels: Sequence[Tensor], size_cells: Sequence[int]) -> None:
    expected = (labels[0].shape[0], *size_cells)
    for columns in labels:
        if columns.shape != expected:
            raise ValueError(f"labels have shape {tuple(columns.shape)}, expected {expected}")
