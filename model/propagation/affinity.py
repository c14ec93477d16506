"""Carrying labels from context frames to a query frame through a softmax affinity.

Shape suffixes: C channels, L label channels, F frames, H W rows and columns of the cell grid,
P = H*W cells of one frame, R cells of a rectangle of it, N context cells and Q query cells
considered together, K cells kept by the top-k, G groups of M cells.

For query cell j and context cell i the logit is the dot product s_ij = <query_j, key_i>; any
normalisation and temperature is already inside the vectors. The weights are one softmax over
*all* context cells that query cell j may see (joint over the frames), and the carried label is
y_j = sum_i A_ij c_i: the pointer of Vondrick et al. 2018 (arXiv 1806.09594), with the top-k and
the window of Jabri et al. 2020 (arXiv 2006.14613) where they are asked for.

- Window: in a frame marked `windowed`, query cell (y, x) sees only the cells at a distance
  strictly below `radius_cells`. With `radius_cells=None` no frame has a window.
- Top-k: only the k largest logits over all frames together enter the softmax, in float32.
- Ties: context cells are numbered by frame (in the order given), then row, then column. Among
  equal logits the lowest number wins, so exactly k cells are kept and the choice does not depend
  on the device or on the tiling.

`carry_dense` is the readable reference; `carry_tiled` gives the same answer from far fewer dot
products and is what `carry` runs.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise

import torch
from torch import Tensor

TILE_CELLS = 12  # side of a query tile; larger: fewer, bigger products, more cells off the disc
GROUP_CELLS = 32  # context cells whose maximum is compared first when the top-k is selected
DENSE_BLOCK_QUERIES = 64  # query cells per block of the dense reference, bounds its memory


@dataclass(frozen=True)
class ContextFrame:
    """One frame labels are carried from."""

    key_CHW: Tensor
    """Matching vectors, any floating type (products are taken in float32)."""
    labels_LHW: Tensor
    """Label columns on the same grid: soft masks, joints, colours, in any mixture."""
    windowed: bool
    """Whether `radius_cells` limits what a query cell sees of this frame."""


def carry(
    query_CHW: Tensor,
    context: Sequence[ContextFrame],
    *,
    top_k: int | None,
    radius_cells: float | None,
) -> Tensor:
    """Labels [L,H,W] float32 of the query frame: `carry_tiled` with its default tile."""
    return carry_tiled(query_CHW, context, top_k=top_k, radius_cells=radius_cells)


def carry_dense(
    query_CHW: Tensor,
    context: Sequence[ContextFrame],
    *,
    top_k: int | None,
    radius_cells: float | None,
) -> Tensor:
    """The reference: every query cell against every context cell, then the mask.

    Returns labels [L,H,W] float32. Raises ValueError for shapes that do not fit together, an
    empty context, `top_k` < 1 or `radius_cells` <= 0.
    """
    _check(query_CHW, context, top_k, radius_cells)
    _, height, width = query_CHW.shape
    cells = height * width
    query_QC = query_CHW.float().flatten(1).T
    key_NC = torch.cat([frame.key_CHW.float().flatten(1).T for frame in context])
    labels_NL = torch.cat([frame.labels_LHW.float().flatten(1).T for frame in context])
    cell_P = torch.arange(cells, device=key_NC.device)
    windowed_F1 = torch.tensor([[frame.windowed] for frame in context], device=key_NC.device)

    carried_QL = []
    for cell_Q in cell_P.split(DENSE_BLOCK_QUERIES):
        logits_QN = query_QC[cell_Q] @ key_NC.T
        if radius_cells is not None:
            dy_QP = cell_P // width - (cell_Q // width)[:, None]
            dx_QP = cell_P % width - (cell_Q % width)[:, None]
            outside_QP = dy_QP.square() + dx_QP.square() >= radius_cells**2
            outside_QFP = outside_QP[:, None] & windowed_F1
            logits_QN.masked_fill_(outside_QFP.flatten(1), -torch.inf)
        if top_k is not None and top_k < len(key_NC):
            least_Q1 = logits_QN.topk(top_k, dim=1).values[:, -1:]
            above_QN = logits_QN > least_Q1
            tied_QN = logits_QN == least_Q1
            room_Q1 = top_k - above_QN.sum(1, keepdim=True)
            kept_QN = above_QN | (tied_QN & (tied_QN.cumsum(1, dtype=torch.int32) <= room_Q1))
            logits_QN.masked_fill_(~kept_QN, -torch.inf)
        carried_QL.append(logits_QN.softmax(1) @ labels_NL)
    return torch.cat(carried_QL).T.reshape(-1, height, width)


@torch.no_grad()
def carry_tiled(
    query_CHW: Tensor,
    context: Sequence[ContextFrame],
    *,
    top_k: int | None,
    radius_cells: float | None,
    tile_cells: int = TILE_CELLS,
) -> Tensor:
    """The fast path: square query tiles against the part of each frame that a tile can see.

    All cells of a tile share one rectangle of keys, the tile enlarged by the radius; the keys of
    consecutive windowed frames are stacked, so a tile costs one matrix product per run of frames.
    Memory beyond the inputs: one copy of the keys, and `tile_cells`^2 x (cells seen) logits.

    Returns labels [L,H,W] float32, equal to `carry_dense` within rounding. Raises as it does.
    """
    _check(query_CHW, context, top_k, radius_cells)
    _, height, width = query_CHW.shape
    query_HWC = query_CHW.permute(1, 2, 0).float().contiguous()
    labels_NL = torch.cat([frame.labels_LHW.float().flatten(1).T for frame in context])
    runs = _runs(context, radius_cells)

    carried_HWL = labels_NL.new_empty(height, width, labels_NL.shape[1])
    for top, bottom in _spans(height, tile_cells):
        for left, right in _spans(width, tile_cells):
            tile = _Tile(top, bottom, left, right)
            query_QC = query_HWC[top:bottom, left:right].flatten(0, 1)
            logits_NQ, index_N = _tile_logits(query_QC, tile, runs, radius_cells)
            if top_k is None:
                seen_NL = labels_NL[index_N]
                carried_QL = logits_NQ[: len(index_N)].softmax(0).T @ seen_NL
            else:
                values_KQ, kept_KQ = _top_k(logits_NQ, top_k)
                # Padding is kept only where fewer than k cells are seen, and weighs nothing.
                kept_KQ = index_N[kept_KQ.clamp(max=len(index_N) - 1)]
                weights_KQ = values_KQ.softmax(0)
                carried_QL = (weights_KQ[..., None] * labels_NL[kept_KQ]).sum(0)
            carried_HWL[top:bottom, left:right] = carried_QL.view(bottom - top, right - left, -1)
    return carried_HWL.permute(2, 0, 1).contiguous()


@dataclass(frozen=True)
class _Tile:
    """Query cells of rows [top, bottom) and columns [left, right)."""

    top: int
    bottom: int
    left: int
    right: int


@dataclass(frozen=True)
class _Run:
    """Consecutive context frames with or without a window, keys stacked channels last."""

    key_FHWC: Tensor
    index_FHW: Tensor  # number of each cell in the whole context
    windowed: bool


def _runs(context: Sequence[ContextFrame], radius_cells: float | None) -> list[_Run]:
    runs: list[_Run] = []
    cells_before = 0
    for windowed, group in groupby(context, lambda f: f.windowed and radius_cells is not None):
        keys = [frame.key_CHW for frame in group]
        channels, height, width = keys[0].shape
        key_FHWC = torch.empty(
            (len(keys), height, width, channels), dtype=torch.float32, device=keys[0].device
        )
        for slot_HWC, key_CHW in zip(key_FHWC, keys, strict=True):
            slot_HWC.copy_(key_CHW.permute(1, 2, 0))
        cells = len(keys) * height * width
        index = torch.arange(cells_before, cells_before + cells, device=keys[0].device)
        runs.append(_Run(key_FHWC, index.view(len(keys), height, width), windowed))
        cells_before += cells
    return runs


def _tile_logits(
    query_QC: Tensor, tile: _Tile, runs: Sequence[_Run], radius_cells: float | None
) -> tuple[Tensor, Tensor]:
    """Logits [N,Q] of a tile against the cells it can see, and their context numbers [N].

    Rows are in the order of the context numbers. Logits outside a disc are -inf, and so are a
    few rows of padding at the end, beyond N, which make the rows a multiple of GROUP_CELLS.
    """
    parts: list[tuple[Tensor, Tensor, Tensor | None]] = []
    for run in runs:
        if not run.windowed or radius_cells is None:
            parts.append((run.key_FHWC.flatten(0, 2), run.index_FHW.flatten(), None))
            continue
        _, height, width = run.index_FHW.shape
        reach = math.ceil(min(radius_cells, height + width)) - 1  # strict: 12 reaches 11 cells
        rows = slice(max(tile.top - reach, 0), min(tile.bottom + reach, height))
        columns = slice(max(tile.left - reach, 0), min(tile.right + reach, width))
        parts.append(
            (
                run.key_FHWC[:, rows, columns].flatten(0, 2),
                run.index_FHW[:, rows, columns].flatten(),
                _disc_mask(tile, rows, columns, radius_cells, query_QC.device),
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


def _disc_mask(
    tile: _Tile, rows: slice, columns: slice, radius_cells: float, device: torch.device
) -> Tensor:
    """0 where a cell of the rectangle is inside the disc of a query cell, else -inf: [R,Q]."""
    y_R = torch.arange(rows.start, rows.stop, device=device)[:, None]
    x_R = torch.arange(columns.start, columns.stop, device=device)[:, None]
    dy2 = (y_R - torch.arange(tile.top, tile.bottom, device=device)).square()
    dx2 = (x_R - torch.arange(tile.left, tile.right, device=device)).square()
    distance2 = dy2[:, None, :, None] + dx2[None, :, None, :]
    inside = (distance2 < radius_cells**2).flatten(2).flatten(0, 1)
    return torch.zeros(inside.shape, device=device).masked_fill_(~inside, -torch.inf)


def _top_k(logits_NQ: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Exact top k of each column with the tie rule of this module: values and rows, [K,Q].

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


def _check(
    query_CHW: Tensor,
    context: Sequence[ContextFrame],
    top_k: int | None,
    radius_cells: float | None,
) -> None:
    if not context:
        raise ValueError("labels can only be carried from at least one context frame")
    if top_k is not None and top_k < 1:
        raise ValueError(f"top_k must be at least 1, not {top_k}")
    if radius_cells is not None and not radius_cells > 0:
        raise ValueError(f"radius_cells must be positive, not {radius_cells}")
    labels = context[0].labels_LHW.shape[0]
    for frame in context:
        if frame.key_CHW.shape != query_CHW.shape:
            raise ValueError(
                f"a key has shape {tuple(frame.key_CHW.shape)}, the query {tuple(query_CHW.shape)}"
            )
        if frame.labels_LHW.shape != (labels, *query_CHW.shape[1:]):
            raise ValueError(
                f"labels have shape {tuple(frame.labels_LHW.shape)}, "
                f"expected {(labels, *query_CHW.shape[1:])}"
            )
