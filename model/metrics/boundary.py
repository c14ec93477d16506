"""Boundaries of masks, and how much of one lies near another; exact and fast.

Shape suffixes: H rows, W columns. Masks are bool, True inside.
"""

import math

import numpy as np
from numpy.typing import NDArray

BoolArray = NDArray[np.bool_]


def boundary_map(mask_HW: BoolArray) -> BoolArray:
    """Boundary of a mask, one pixel wide, half a pixel towards the origin; bool [H, W].

    A pixel is boundary if it differs from its east, south or south-east neighbour. The last row is
    compared with the east only, the last column with the south only, the last pixel never: a mask
    that touches the image border has no boundary along it.
    """
    edge_HW = np.zeros_like(mask_HW)
    here = mask_HW[:-1, :-1]
    edge_HW[:-1, :-1] = (
        (here ^ mask_HW[:-1, 1:]) | (here ^ mask_HW[1:, :-1]) | (here ^ mask_HW[1:, 1:])
    )
    edge_HW[-1:, :-1] = mask_HW[-1:, :-1] ^ mask_HW[-1:, 1:]
    edge_HW[:-1, -1:] = mask_HW[:-1, -1:] ^ mask_HW[1:, -1:]
    return edge_HW


def crop_to_content(first_HW: BoolArray, second_HW: BoolArray) -> tuple[BoolArray, BoolArray]:
    """Both masks cut to the box around either, one background pixel left around it.

    That margin keeps `boundary_map` exact: its border rules then apply either to the true border of
    the image or to background, where they have no effect.
    """
    either_HW = first_HW | second_HW
    rows, columns = np.flatnonzero(either_HW.any(axis=1)), np.flatnonzero(either_HW.any(axis=0))
    if rows.size == 0:
        return first_HW[:1, :1], second_HW[:1, :1]
    box = (
        slice(max(rows[0] - 1, 0), rows[-1] + 2),
        slice(max(columns[0] - 1, 0), columns[-1] + 2),
    )
    return first_HW[box], second_HW[box]


def count_within(points_HW: BoolArray, near_HW: BoolArray, radius_px: float) -> int:
    """How many `points` lie in the dilation of `near` by the disc dx^2 + dy^2 <= radius^2.

    A disc is a stack of runs, one for each row offset dy. Whether a run holds a pixel of `near` is
    one look-up of two running row sums, and only points not matched so far look further.
    """
    reach = int(radius_px)
    height, width = near_HW.shape
    # sums[y + reach, x + reach + 1] = pixels of `near` in row y up to and including column x
    sums = np.zeros((height + 2 * reach, width + 2 * reach + 1), dtype=np.int32)
    rows = sums[reach : reach + height]
    np.cumsum(near_HW, axis=1, dtype=np.int32, out=rows[:, reach + 1 : reach + 1 + width])
    rows[:, reach + 1 + width :] = rows[:, reach + width, None]
    flat, stride = sums.ravel(), sums.shape[1]
    y, x = np.nonzero(points_HW)
    open_points = (y + reach) * stride + x + reach
    for dy in sorted(range(-reach, reach + 1), key=abs):
        half_run = math.isqrt(math.floor(radius_px**2 - dy**2))
        centre = open_points + dy * stride
        open_points = open_points[flat[centre + half_run + 1] == flat[centre - half_run]]
        if open_points.size == 0:
            break
    return int(y.size - open_points.size)
