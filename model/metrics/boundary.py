"""Boundaries of masks, and how much of one lies near another; exact and fast.

Shape suffixes: H rows, W columns. Masks are bool, True inside, where nothing else is said.
"""

import math
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

BoolArray = NDArray[np.bool_]
Element = TypeVar("Element", bound=np.generic)


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


def crop_to_content(
    first_HW: NDArray[Element], second_HW: NDArray[Element]
) -> tuple[NDArray[Element], NDArray[Element]]:
    """Both masks, bool or indices, cut to the box around either, one background pixel left around it.

    That margin keeps `boundary_map` exact: its border rules then apply either to the true border of
    the image or to background, where they have no effect.
    """
    either_HW: NDArray[Any] = np.bitwise_or(first_HW, second_HW)
    columns = np.flatnonzero(np.bitwise_or.reduce(either_HW, axis=0))  # along rows: vectorised
    if columns.size == 0:
        return first_HW[:1, :1], second_HW[:1, :1]
    within = slice(max(columns[0] - 1, 0), columns[-1] + 2)
    rows = np.flatnonzero(np.bitwise_or.reduce(either_HW[:, within], axis=1))
    box = slice(max(rows[0] - 1, 0), rows[-1] + 2), within
    return first_HW[box], second_HW[box]


def f_measure(truth_HW: BoolArray, pred_HW: BoolArray, radius_px: float) -> float:
    """F-measure of the two boundaries, each pixel right that has one of the other within `radius_px`.

    1 if neither mask has a boundary, 0 if one of them lacks it.
    """
    truth_edge_HW, pred_edge_HW = boundary_map(truth_HW), boundary_map(pred_HW)
    truth_px, pred_px = np.count_nonzero(truth_edge_HW), np.count_nonzero(pred_edge_HW)
    if truth_px == 0 or pred_px == 0:
        return float(truth_px == pred_px)
    precision = count_within(pred_edge_HW, truth_edge_HW, radius_px) / pred_px
    recall = count_within(truth_edge_HW, pred_edge_HW, radius_px) / truth_px
    if precision + recall == 0:
        return 0.0
    return 2 * precision * recall / (precision + recall)


def count_within(points_HW: BoolArray, near_HW: BoolArray, radius_px: float) -> int:
    """How many `points` lie in the dilation of `near` by the disc dx^2 + dy^2 <= radius^2.

    A disc is a stack of runs, one for each row offset dy. Runs are grown from short to long, each from
    the one before, in a map whose rows lie one after another: every step is one OR of two long arrays.
    """
    reach = int(radius_px)
    height, width = near_HW.shape
    stride = width + reach  # a run that leaves its row ends in the empty part between two rows
    margin = reach * (stride + 1)
    runs = np.zeros(height * stride + 2 * margin, dtype=np.uint8)
    inside = slice(margin, margin + height * stride)
    runs[inside].reshape(height, stride)[:, :width] = near_HW
    dilated = np.zeros(height * stride, dtype=np.uint8)
    length = 1  # runs[i] = whether `near` has a pixel at the places i ... i + length - 1
    for dy in range(reach, -1, -1):
        half = math.isqrt(math.floor(radius_px**2 - dy**2))
        while length < 2 * half + 1:
            more = min(length, 2 * half + 1 - length)
            runs = runs[:-more] | runs[more:]
            length += more
        for offset in {dy * stride - half, -dy * stride - half}:
            dilated |= runs[inside.start + offset : inside.stop + offset]
    return int(np.count_nonzero(dilated.reshape(height, stride)[:, :width] & points_HW))
