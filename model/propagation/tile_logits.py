"""The logits of a tile of query cells against what it sees of the context.

Shape suffixes: C channels, H W rows and columns of the cell grid, P = H*W cells of a frame, R cells of
a rectangle, N context cells and Q query cells considered together.

All cells of a tile share one rectangle of keys, the tile enlarged by the reach of the window. It is
copied from a few frames at a time and multiplied while it is in the processor's cache; the keys as a
whole are never copied.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

import torch
from torch import Tensor

from model.propagation.matching import Matching
from model.propagation.recentred import RecentredWindows, recentred_windows

FRAMES_AT_ONCE = (
    4  # whose rectangles are multiplied together: 5 MB at 256 channels and a radius of 12
)


@dataclass(frozen=True)
class Tile:
    """Query cells of rows [top, bottom) and columns [left, right)."""

    top: int
    bottom: int
    left: int
    right: int


@dataclass(frozen=True)
class KeyFrame:
    """What is compared of one context frame, and how much of it is seen."""

    key_CHW: Tensor
    cells_before: int
    """Number of its first cell in the whole context."""
    windowed: bool
    dilation: int = 0
    """Of the search that lays its windows elsewhere; 0: they lie around the query cells."""


@dataclass(frozen=True)
class TileLogits:
    """The logits of one tile in one softmax."""

    logits_NQ: Tensor
    """In the order of the frames; -inf for a cell that is not seen, and for the rows behind the last
    cell that make their number a multiple of what was asked for."""
    parts: Sequence[tuple[Tensor, RecentredWindows | None]]
    """What consecutive rows are: numbers of context cells, or those of a frame's cells with the windows
    whose places the rows are."""

    @property
    def rows(self) -> list[int]:
        """Of each part."""
        return [
            len(index_N) if windows is None else len(windows.logits_WQ)
            for index_N, windows in self.parts
        ]


class Buffer:
    """Memory that is used again for every tile: new pages for each would cost time, and fragments of the
    old ones memory."""

    def __init__(self, like: Tensor) -> None:
        self._values = like.new_empty(0, dtype=torch.float32)

    def take(self, *shape: int) -> Tensor:
        """A float32 tensor with any content; what was taken before is overwritten."""
        count = math.prod(shape)
        if count > len(self._values):
            self._values = self._values.new_empty(0)  # lets go of the smaller one first
            self._values = self._values.new_empty(count)
        return self._values[:count].view(shape)


@dataclass(frozen=True)
class _Rectangle:
    """The cells that the windows of a tile reach; those outside the image only where they count."""

    rows: slice
    columns: slice
    margins: tuple[int, int, int, int]
    """Columns left and right and rows above and below that lie outside the image."""
    index_R: Tensor
    """Numbers of the cells in their frame, -1 outside."""
    mask_RQ: Tensor
    """0 where a cell is in the window of a query cell, else -inf."""

    def cut(self, frames: Sequence[KeyFrame], buffer: Buffer) -> Tensor:
        """Keys of the rectangle in each of the frames, one behind the other: float32 [C,N]."""
        left, right, above, below = self.margins
        rows = self.rows.stop - self.rows.start
        columns = self.columns.stop - self.columns.start
        channels = len(frames[0].key_CHW)
        cut_CFHW = buffer.take(channels, len(frames), above + rows + below, left + columns + right)
        if any(self.margins):
            cut_CFHW.zero_()
        for number, frame in enumerate(frames):
            inner_CHW = cut_CFHW[:, number, above : above + rows, left : left + columns]
            inner_CHW.copy_(frame.key_CHW[:, self.rows, self.columns])
        return cut_CFHW.flatten(1)

    def numbers(self, frames: Sequence[KeyFrame], outside: int) -> Tensor:
        """Numbers of these cells in the context."""
        return torch.cat(
            [
                torch.where(self.index_R < 0, outside, self.index_R + frame.cells_before)
                for frame in frames
            ]
        )


def tile_logits(
    query_CQ: Tensor,
    tile: Tile,
    frames: Sequence[KeyFrame],
    matching: Matching,
    *,
    outside: int,
    multiple: int,
    buffers: tuple[Buffer, Buffer],
) -> TileLogits:
    """The tile against all frames of one softmax.

    `outside` is the number of a place outside the image; the rows are a multiple of `multiple`. The
    logits lie in the first of the `buffers`.
    """
    _, height, width = frames[0].key_CHW.shape
    reach = 0 if matching.radius_cells is None else matching.reach_cells(most=height + width)
    rectangle = None
    if any(frame.windowed and not frame.dilation for frame in frames):
        rectangle = _rectangle(tile, (height, width), reach, matching, query_CQ.device)
    batches = _batches(frames)
    sizes = [
        len(rectangle.index_R) * len(batch)
        if rectangle is not None and _in_place(batch[0])
        else (2 * reach + 1) ** 2
        if batch[0].dilation
        else height * width
        for batch in batches
    ]
    seen = sum(sizes)
    logits_NQ = buffers[0].take(-(-seen // multiple) * multiple, query_CQ.shape[1])
    logits_NQ[seen:] = -torch.inf
    parts: list[tuple[Tensor, RecentredWindows | None]] = []
    for batch, rows_NQ in zip(batches, logits_NQ[:seen].split(sizes), strict=True):
        if rectangle is not None and _in_place(batch[0]):
            torch.mm(rectangle.cut(batch, buffers[1]).T, query_CQ, out=rows_NQ)
            rows_NQ.view(len(batch), -1, rows_NQ.shape[1]).add_(rectangle.mask_RQ)
            parts.append((rectangle.numbers(batch, outside), None))
            continue
        [frame] = batch
        index_P = torch.arange(height * width, device=query_CQ.device) + frame.cells_before
        key_PC = frame.key_CHW.float().flatten(1).T
        if not frame.dilation:
            torch.mm(key_PC, query_CQ, out=rows_NQ)
            parts.append((index_P, None))
            continue
        windows = recentred_windows(
            key_PC @ query_CQ,
            _places(tile, query_CQ.device),
            (height, width),
            reach,
            frame.dilation,
        )
        rows_NQ.copy_(windows.logits_WQ)
        parts.append((index_P, windows))
    return TileLogits(logits_NQ, parts)


def _in_place(frame: KeyFrame) -> bool:
    """Whether its windows lie around the query cells."""
    return frame.windowed and not frame.dilation


def _batches(frames: Sequence[KeyFrame]) -> list[list[KeyFrame]]:
    """Frames in their order, a few with windows in place together, any other alone."""
    batches: list[list[KeyFrame]] = []
    for in_place, run in groupby(frames, _in_place):
        members, most = list(run), FRAMES_AT_ONCE if in_place else 1
        batches += [members[first : first + most] for first in range(0, len(members), most)]
    return batches


def _places(tile: Tile, device: torch.device) -> Tensor:
    """Rows and columns of the query cells, [2,Q]."""
    return torch.cartesian_prod(
        torch.arange(tile.top, tile.bottom, device=device),
        torch.arange(tile.left, tile.right, device=device),
    ).T


def _rectangle(
    tile: Tile, size_cells: tuple[int, int], reach: int, matching: Matching, device: torch.device
) -> _Rectangle:
    height, width = size_cells
    top, bottom = tile.top - reach, tile.bottom + reach
    left, right = tile.left - reach, tile.right + reach
    margins = (max(-left, 0), max(right - width, 0), max(-top, 0), max(bottom - height, 0))
    rows, columns = slice(max(top, 0), min(bottom, height)), slice(max(left, 0), min(right, width))
    if matching.window_outside == "unseen":
        margins = (0, 0, 0, 0)
        top, bottom, left, right = rows.start, rows.stop, columns.start, columns.stop
    y_H1 = torch.arange(top, bottom, device=device)[:, None]
    x_W = torch.arange(left, right, device=device)
    inside_HW = (y_H1 >= 0) & (y_H1 < height) & (x_W >= 0) & (x_W < width)
    index_R = torch.where(inside_HW, y_H1 * width + x_W, -1).flatten()
    dy2 = (y_H1 - torch.arange(tile.top, tile.bottom, device=device)).square()[:, None, :, None]
    dx2 = (x_W[:, None] - torch.arange(tile.left, tile.right, device=device)).square()[
        None, :, None, :
    ]
    seen = matching.sees(dy2, dx2).flatten(2).flatten(0, 1)
    mask_RQ = torch.zeros(seen.shape, device=device).masked_fill_(~seen, -torch.inf)
    return _Rectangle(rows, columns, margins, index_R, mask_RQ)
