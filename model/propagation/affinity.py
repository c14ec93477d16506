"""Carrying labels from context frames to a query frame through a softmax affinity.

Shape suffixes: C channels, L label columns, F frames, H W rows and columns of the cell grid,
P = H*W cells of one frame, N context cells and Q query cells considered together, S cells of one
softmax, G softmaxes.

For query cell j and context cell i the logit is the dot product s_ij = <query_j, key_i>; any
normalisation and temperature is already inside the vectors. The weights are a softmax over the
context cells that query cell j may see, and the carried label is y_j = sum_i A_ij c_i: the pointer
of Vondrick et al. 2018 (arXiv 1806.09594). `Matching` says what is seen and kept: the top-k and the
window of Jabri et al. 2020 (arXiv 2006.14613), and how other systems do it.

- Window: in a frame marked `windowed`, query cell (y, x) sees only the cells within the window. In a
  frame with a `dilation` the window is laid where a coarse search finds the cell
  (`model.propagation.recentred`).
- Top-k: the largest logits, over all frames together or in each frame, in float32.
- Ties: context cells are numbered by frame (in the order given), then row, then column. Among
  equal logits the lowest number wins, so exactly k cells are kept and the choice does not depend
  on the device or on the tiling; or, with `top_k_ties="all"`, all that equal the k-th are kept.

`carry_tiled` is what `carry` runs: the same as `model.propagation.dense`, the readable reference, from
far fewer dot products. `find_affinity` keeps the weights, for labels that come later.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from model.propagation.matching import RECENTRED_WITH, Matching
from model.propagation.tile_logits import KeyFrame
from model.propagation.tiles import TILE_CELLS, TileWeights, tile_weights


@dataclass(frozen=True)
class ContextFrame:
    """One frame labels are carried from."""

    key_CHW: Tensor
    """Matching vectors, any floating type (products are taken in float32)."""
    labels_LHW: Tensor
    """Label columns on the same grid: soft masks, joints, colours, in any mixture."""
    windowed: bool
    """Whether the window limits what a query cell sees of this frame."""
    dilation: int = 0
    """Cells between the places of the search that lays the windows; 0: they are around the query cells."""


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
        check_labels(labels, self.size_cells)
        return _apply(self.tiles, labels)

    def observe(
        self, labels: Sequence[Tensor], observed: Sequence[Tensor]
    ) -> "tuple[Tensor, Tensor, WeightStatistics]":
        """As `carry_observed`."""
        return _observe(self.tiles, labels, observed)


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
    """Sum of all weights: 1, or less with a top-k after the softmax or with places outside the image."""


@torch.no_grad()
def find_affinity(
    query_CHW: Tensor,
    keys: Sequence[Tensor],
    windowed: Sequence[bool],
    matching: Matching,
    dilations: Sequence[int] | None = None,
) -> Affinity:
    """The affinity of a query frame to the context frames with those keys [C,H,W].

    `windowed` and `dilations` (None: 0 for all) as in `ContextFrame`. Without a top-k it holds a weight
    for every pair of cells that can see each other, which `carry` does not. Raises ValueError for shapes
    that do not fit together, an empty context, or a dilation where the windows cannot be laid elsewhere.
    """
    frames = _key_frames(query_CHW, keys, windowed, dilations or [0] * len(keys), matching)
    tiles = tuple(tile_weights(query_CHW, frames, matching))
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
    frames = _key_frames(
        query_CHW,
        [frame.key_CHW for frame in context],
        [frame.windowed for frame in context],
        [frame.dilation for frame in context],
        matching,
    )
    labels = [frame.labels_LHW for frame in context]
    check_labels(labels, query_CHW.shape[1:])
    return _apply(tile_weights(query_CHW, frames, matching, tile_cells), labels)


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
    frames = _key_frames(
        query_CHW,
        [frame.key_CHW for frame in context],
        [frame.windowed for frame in context],
        [frame.dilation for frame in context],
        matching,
    )
    labels = [frame.labels_LHW for frame in context]
    check_labels(labels, query_CHW.shape[1:])
    check_labels(observed, query_CHW.shape[1:])
    return _observe(tile_weights(query_CHW, frames, matching), labels, observed)


def _observe(
    tiles: Iterable[TileWeights], labels: Sequence[Tensor], observed: Sequence[Tensor]
) -> tuple[Tensor, Tensor, WeightStatistics]:
    size_cells = (observed[0].shape[1], observed[0].shape[2])
    observed_NO = _with_outside(observed)
    carried_OHW = observed_NO.new_empty(observed_NO.shape[1], *size_cells)
    statistics_4HW = observed_NO.new_empty(4, *size_cells)

    def watched() -> Iterator[TileWeights]:
        for weights in tiles:
            tile = weights.tile
            place = (..., slice(tile.top, tile.bottom), slice(tile.left, tile.right))
            for maps, part in (
                (carried_OHW[place], weights.apply(observed_NO).T),
                (statistics_4HW[place], weights.statistics(size_cells, len(observed))),
            ):
                maps.copy_(part.reshape(maps.shape))
            yield weights

    labels_LHW = _apply(watched(), labels)
    return labels_LHW, carried_OHW, WeightStatistics(*statistics_4HW)


def _with_outside(labels: Sequence[Tensor]) -> Tensor:
    """Labels of all context cells, float32 [N+1,L]; the last row stands for places outside the image."""
    outside_1L = labels[0].new_zeros(1, len(labels[0]), dtype=torch.float32)
    return torch.cat([*(each.float().flatten(1).T for each in labels), outside_1L])


def _apply(tiles: Iterable[TileWeights], labels: Sequence[Tensor]) -> Tensor:
    columns, height, width = labels[0].shape
    labels_NL = _with_outside(labels)
    carried_HWL = labels_NL.new_empty(height, width, columns)
    for weights in tiles:
        tile = weights.tile
        rows, cells = slice(tile.top, tile.bottom), slice(tile.left, tile.right)
        part_HWL = weights.apply(labels_NL).view(tile.bottom - tile.top, -1, columns)
        carried_HWL[rows, cells] = part_HWL
    return carried_HWL.permute(2, 0, 1).contiguous()


def _key_frames(
    query_CHW: Tensor,
    keys: Sequence[Tensor],
    windowed: Sequence[bool],
    dilations: Sequence[int],
    matching: Matching,
) -> list[KeyFrame]:
    check_keys(query_CHW, keys, dilations, matching)
    cells = query_CHW.shape[1] * query_CHW.shape[2]
    has_window = matching.radius_cells is not None
    return [
        KeyFrame(key_CHW, number * cells, each and has_window, dilation)
        for number, (key_CHW, each, dilation) in enumerate(
            zip(keys, windowed, dilations, strict=True)
        )
    ]


def check_keys(
    query_CHW: Tensor, keys: Sequence[Tensor], dilations: Sequence[int], matching: Matching
) -> None:
    """ValueError for what `find_affinity` refuses."""
    if not keys:
        raise ValueError("labels can only be carried from at least one context frame")
    for key_CHW in keys:
        if key_CHW.shape != query_CHW.shape:
            raise ValueError(
                f"a key has shape {tuple(key_CHW.shape)}, the query {tuple(query_CHW.shape)}"
            )
    if any(dilations) and not matching.may_recentre:
        raise ValueError(f"windows are laid elsewhere only with {RECENTRED_WITH}")


def check_labels(labels: Sequence[Tensor], size_cells: Sequence[int]) -> None:
    """ValueError for labels of different sizes."""
    expected = (labels[0].shape[0], *size_cells)
    for columns in labels:
        if columns.shape != expected:
            raise ValueError(f"labels have shape {tuple(columns.shape)}, expected {expected}")
