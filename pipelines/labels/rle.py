"""Run lengths of masks as COCO keeps them. They are written by pycocotools and read here, since its decoder
trusts the text: a wrong one makes it read past the end.

Runs go down the columns, the first of them background. Compressed runs are differences from the run
before the last, in groups of five bits from "0" (48) on (maskApi.c of cocoapi, `rleToString`).

Shape suffixes: H W rows and columns of pixels.
"""

import re
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco

from model.errors import UserError
from model.propagation.annotations import MaskAnnotation
from pipelines.labels.checks import finite

_COUNTS = re.compile(rb"(?:[P-o]{0,6}[0-O])+")  # at most 35 bits a number, none left open


def encode_runs(mask_HW: NDArray[np.bool_]) -> str:
    """The compressed runs of a mask, as pycocotools writes them."""
    return str(coco.encode(np.asfortranarray(mask_HW, np.uint8))["counts"], "ascii")


def decode_runs(where: object, size_hw: tuple[int, int], counts: Any) -> NDArray[np.bool_]:
    """A mask [H, W] from compressed runs (text) or plain ones (a list).

    Raises:
        UserError: the runs are damaged, or do not fill the frame exactly.
    """
    if isinstance(counts, str | bytes):
        text = counts.encode(errors="surrogatepass") if isinstance(counts, str) else counts
        runs = _uncompressed(where, text)
    else:
        runs = _plain(where, counts)
    pixels = size_hw[0] * size_hw[1]
    # A single run is tested first: the sum of very many long ones could wrap round.
    if runs.min() < 0 or runs.max() > pixels or runs.sum() != pixels:
        raise UserError(
            f"{where}: the run lengths do not fill {size_hw[1]}x{size_hw[0]} px exactly"
        )
    columns_WH = np.repeat(np.arange(len(runs)) % 2 == 1, runs).reshape(size_hw[::-1])
    return np.ascontiguousarray(columns_WH.T)


def _uncompressed(where: object, text: bytes) -> NDArray[np.int64]:
    if not _COUNTS.fullmatch(text):
        raise UserError(f"{where}: damaged run lengths")
    groups = np.frombuffer(text, np.uint8).astype(np.int64) - 48
    last = (groups & 0x20) == 0
    starts = np.flatnonzero(np.concatenate([[True], last[:-1]]))
    lengths = np.diff(np.append(starts, len(groups)))
    place = np.arange(len(groups)) - np.repeat(starts, lengths)
    values = np.add.reduceat((groups & 0x1F) << (5 * place), starts)
    negative = (groups[last] & 0x10) != 0
    values[negative] -= np.int64(1) << (5 * lengths[negative])
    values[1::2] = np.cumsum(values[1::2])
    values[2::2] = np.cumsum(values[2::2])
    return values


def _plain(where: object, counts: Any) -> NDArray[np.int64]:
    whole = isinstance(counts, list) and all(
        type(run) is int and 0 <= run < 2**32 for run in counts
    )
    if not whole or not counts:
        raise UserError(f"{where}: run lengths must be text or a list of whole numbers")
    return np.array(counts, np.int64)


def decode_segmentation(
    where: object, size_hw: tuple[int, int], segmentation: Any
) -> NDArray[np.bool_]:
    """A mask [H, W] from what COCO calls a segmentation: run lengths, or a list of polygons.

    Polygons are drawn by pycocotools; their points are in pixel edges.

    Raises:
        UserError: damaged run lengths, runs of another size, a polygon of less than three points or
            far outside the frame.
    """
    if isinstance(segmentation, list) and segmentation:
        polygons = [_polygon(where, size_hw, polygon) for polygon in segmentation]
        filled = coco.merge(coco.frPyObjects(polygons, *size_hw))
        return decode_runs(where, size_hw, filled["counts"])
    if not isinstance(segmentation, dict) or "counts" not in segmentation:
        raise UserError(f"{where}: neither run lengths nor polygons")
    size = segmentation.get("size")
    if not isinstance(size, list) or size != list(size_hw):
        raise UserError(
            f"{where}: run lengths for a frame of {str(size)[:40]}, the video has {list(size_hw)} "
            "(height, width)"
        )
    return decode_runs(where, size_hw, segmentation["counts"])


def _polygon(where: object, size_hw: tuple[int, int], polygon: Any) -> list[float]:
    numbers = isinstance(polygon, list) and all(type(value) in (int, float) for value in polygon)
    if not numbers or len(polygon) < 6 or len(polygon) % 2:
        raise UserError(f"{where}: a polygon needs three points or more, as numbers x, y, x, y ...")
    xy_px = [finite(where, "a point of a polygon", value) for value in polygon]
    side = max(size_hw)
    if min(xy_px) < -side or max(xy_px) > 2 * side:  # its outline would be drawn point by point
        raise UserError(f"{where}: a polygon lies far outside the frame")
    return xy_px


def paint(
    where: object,
    size_hw: tuple[int, int],
    masks: Sequence[tuple[int, NDArray[np.bool_]]],
    overlap: Literal["later on top", "refuse"],
) -> MaskAnnotation:
    """One map of ids from the masks [H, W] of objects.

    Raises:
        UserError: two masks meet in a pixel, where that is refused.
    """
    ids_HW = np.zeros(size_hw, np.int32)
    for object_id, mask_HW in masks:
        if overlap == "refuse" and ids_HW[mask_HW].any():
            other = int(ids_HW[mask_HW].max())
            raise UserError(f"{where}: objects {other} and {object_id} overlap")
        ids_HW[mask_HW] = object_id
    return MaskAnnotation(ids_HW)
