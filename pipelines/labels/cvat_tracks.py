"""The tracks of CVAT: shapes at some frames, and what lies between them.

As CVAT does it: between two keyframes a box, a point or a skeleton moves in a straight line; a shape that is
`outside` ends the object until the next one; the last shape holds to the end of the video. Polygons and masks
are not interpolated: they must be there in every frame, or be the same on both sides of a gap.

Shape suffixes: K joints.
"""

import bisect
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model.errors import UserError


@dataclass(frozen=True)
class MaskRuns:
    """A mask in its box; runs go along the rows, the first of them background."""

    runs: tuple[int, ...]
    left: int
    top: int
    width: int
    height: int


@dataclass(frozen=True)
class Shape:
    """A track in one frame."""

    frame: int
    outside: bool
    z_order: int
    numbers: NDArray[np.float64]
    """Corners of a box [4], a point [2], joints [K, 2] (NaN where one is not given), or the outline of a
    polygon [2 n], in pixel edges; nothing for a mask."""
    hidden_K: NDArray[np.bool_] | None = None
    """Of a skeleton: joints that are outside."""
    mask: MaskRuns | None = None

    def same_place(self, other: "Shape") -> bool:
        return self.mask == other.mask and np.array_equal(self.numbers, other.numbers)


@dataclass(frozen=True)
class Track:
    """An object through the video; its shapes go up by frame."""

    object_id: int
    label: str
    shapes: Sequence[Shape]
    moves: bool
    """Whether it is interpolated between its shapes."""

    def spans(self, end: int) -> list[tuple[int, int]]:
        """[first, last + 1) of the frames in which it is there, in a video of `end` frames."""
        found = []
        start: int | None = None
        for shape in self.shapes:
            if shape.outside and start is not None:
                found.append((start, shape.frame))
                start = None
            elif not shape.outside and start is None:
                start = shape.frame
        return found if start is None else [*found, (start, end)]

    def at(self, frame: int) -> Shape | None:
        """None where it is not there. Raises `UserError` for a gap that cannot be filled."""
        index = bisect.bisect_right(self.shapes, frame, key=lambda shape: shape.frame) - 1
        if index < 0 or self.shapes[index].outside:
            return None
        left = self.shapes[index]
        if left.frame == frame or index + 1 == len(self.shapes):
            return left
        right = self.shapes[index + 1]
        if not self.moves:
            if left.same_place(right):
                return left
            raise UserError(
                f"track {self.object_id - 1} has no shape in frame {frame}, between {left.frame} and "
                f"{right.frame}: polygons and masks must be given in every frame"
            )
        share = (frame - left.frame) / (right.frame - left.frame)
        towards = np.where(np.isnan(right.numbers), left.numbers, right.numbers)
        return replace(left, numbers=left.numbers + share * (towards - left.numbers))


def covered(tracks: Sequence[Track], end: int) -> tuple[int, ...]:
    """The frames in which any track is there."""
    frames: list[int] = []
    reached = 0
    for first, stop in sorted(span for track in tracks for span in track.spans(end)):
        frames.extend(range(max(first, reached), stop))
        reached = max(reached, stop)
    return tuple(frames)


def fill_mask(where: object, size_hw: tuple[int, int], mask: MaskRuns) -> NDArray[np.bool_]:
    """A mask of the size of the frame. Raises `UserError` for runs or a box that do not fit."""
    if mask.left + mask.width > size_hw[1] or mask.top + mask.height > size_hw[0]:
        raise UserError(f"{where}: a mask leaves the frame of {size_hw[1]}x{size_hw[0]} px")
    if sum(mask.runs) != mask.width * mask.height:
        raise UserError(
            f"{where}: the run lengths do not fill {mask.width}x{mask.height} px exactly"
        )
    filled = np.repeat(np.arange(len(mask.runs)) % 2 == 1, mask.runs)
    frame_HW = np.zeros(size_hw, np.bool_)
    frame_HW[mask.top : mask.top + mask.height, mask.left : mask.left + mask.width] = (
        filled.reshape(mask.height, mask.width)
    )
    return frame_HW


def runs_of(mask_HW: NDArray[np.bool_]) -> MaskRuns:
    """The runs of a mask that is not empty."""
    rows, columns = np.flatnonzero(mask_HW.any(axis=1)), np.flatnonzero(mask_HW.any(axis=0))
    top, left = int(rows[0]), int(columns[0])
    inner: NDArray[Any] = mask_HW[top : rows[-1] + 1, left : columns[-1] + 1]
    flat = inner.ravel()
    edges = [0, *(np.flatnonzero(flat[1:] != flat[:-1]) + 1).tolist(), flat.size]
    runs = np.diff(edges).tolist()
    return MaskRuns(
        tuple([0, *runs] if flat[0] else runs), left, top, inner.shape[1], inner.shape[0]
    )
