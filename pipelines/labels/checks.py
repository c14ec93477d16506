"""Checks that all label formats share: numbers from files, and records before they are written.

All raise `UserError`; `where` names the file and, where there is one, the place in it.

Shape suffixes: H W rows and columns of pixels, N instances, K joints, 2 (x, y), 4 (x, y, width, height).
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model.errors import UserError
from model.propagation.annotations import (
    BoxAnnotation,
    KeypointAnnotation,
    MaskAnnotation,
    PointAnnotation,
)
from pipelines.labels.codec import MAX_FRAMES
from pipelines.storage import Location

MAX_ID = 2**31 - 1
MAX_PIXELS = 1 << 27
"""Four frames of 8K; a label file that promises more lies about its size."""


def read_content(path: Location) -> bytes:
    """A whole file. Raises `UserError` when it cannot be read."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from error


def read_lines(path: Location, blank: bool = False) -> Iterator[tuple[str, str]]:
    """(`file, line N`, text) of the lines of a UTF-8 text that are not blank; with `blank` of all but those
    at its end."""
    try:
        text = read_content(path).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not a text ({error.reason})") from error
    for number, line in enumerate(text.rstrip().splitlines(), start=1):
        if blank or line.strip():
            yield f"{path}, line {number}", line.strip()


def integer(where: object, name: str, value: Any, low: int = 0, high: int = MAX_ID) -> int:
    """A whole number in [low, high]: an int, a float without a fraction, or either as text."""
    try:
        number = int(value)
        whole = isinstance(value, str | int) or number == value
    except ValueError:
        number, whole = _from_float(value)
    except (TypeError, OverflowError):
        number, whole = 0, False
    if isinstance(value, bool) or not whole:
        raise UserError(f"{where}: {name} must be a whole number, not {_shown(value)}")
    if not low <= number <= high:
        raise UserError(f"{where}: {name} must be {low} to {high}, not {number}")
    return number


def _from_float(value: Any) -> tuple[int, bool]:
    try:
        number = float(value)
    except ValueError:
        return 0, False
    return (int(number), True) if number.is_integer() else (0, False)


def frame_number(where: object, value: Any, first: int = 0) -> int:
    """The 0-based index of a frame in a format that counts from `first` on."""
    return integer(where, "the frame", value, first, first + MAX_FRAMES - 1) - first


def finite(where: object, name: str, value: Any) -> float:
    """A number that is neither NaN nor infinite."""
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if isinstance(value, bool) or not math.isfinite(number):
        raise UserError(f"{where}: {name} must be a finite number, not {_shown(value)}")
    return number


def size_hw(where: object, height: Any, width: Any) -> tuple[int, int]:
    """Rows and columns of a frame that can be held in memory."""
    size = integer(where, "the height", height, 1), integer(where, "the width", width, 1)
    if size[0] * size[1] > MAX_PIXELS:
        raise UserError(f"{where}: {size[1]}x{size[0]} px is more than a frame can have")
    return size


def table(where: object, name: str, value: Any) -> Mapping[str, Any]:
    """A JSON object."""
    if not isinstance(value, dict):
        raise UserError(f"{where}: {name} must be an object")
    return value


def items(where: object, document: Mapping[str, Any], key: str) -> list[Mapping[str, Any]]:
    """A JSON list of objects."""
    found = document.get(key)
    if not isinstance(found, list) or not all(isinstance(item, dict) for item in found):
        raise UserError(f"{where}: {key!r} must be a list of objects")
    return found


def distinct(where: object, ids: Sequence[int]) -> None:
    """No id stands for two things."""
    if len(set(ids)) != len(ids):
        twice = next(i for i in ids if list(ids).count(i) > 1)
        raise UserError(f"{where}: object {twice} is there twice")


def box(where: object, xywh_px: Sequence[Any]) -> tuple[float, float, float, float]:
    """A box with an extent."""
    x, y, width, height = (
        finite(where, name, value)
        for name, value in zip(("x", "y", "the width", "the height"), xywh_px, strict=True)
    )
    if width <= 0 or height <= 0:
        raise UserError(f"{where}: a box of {width:g} x {height:g} px has no extent")
    return x, y, width, height


def box_annotation(where: object, rows: Mapping[int, Sequence[float]]) -> BoxAnnotation:
    """Boxes by id, in the order of the ids."""
    ids = tuple(sorted(rows))
    return BoxAnnotation(ids, np.array([rows[i] for i in ids], np.float64).reshape(-1, 4))


def mask_to_write(
    where: object, annotation: MaskAnnotation, expected_hw: tuple[int, int] | None
) -> NDArray[Any]:
    """Ids [H, W] of a mask whose size is that of the video's other frames."""
    ids_HW = annotation.ids_HW
    if ids_HW.ndim != 2 or ids_HW.size == 0 or ids_HW.dtype.kind not in "bui":
        raise UserError(
            f"{where}: a mask must be [H, W] integers, not {ids_HW.dtype} {ids_HW.shape}"
        )
    if expected_hw is not None and ids_HW.shape != tuple(expected_hw):
        raise UserError(
            f"{where}: a mask of {ids_HW.shape[1]}x{ids_HW.shape[0]} px in a video of "
            f"{expected_hw[1]}x{expected_hw[0]} px"
        )
    if ids_HW.min() < 0 or ids_HW.max() > MAX_ID:
        raise UserError(
            f"{where}: ids must be 0 to {MAX_ID}, the mask has {ids_HW.min()} to {ids_HW.max()}"
        )
    return ids_HW


def boxes_to_write(where: object, annotation: BoxAnnotation) -> dict[int, tuple[float, ...]]:
    """x, y, width, height by id, without those that are NaN: objects that are not there."""
    _shape(where, annotation.ids, annotation.xywh_px_N4, (4,))
    return {
        object_id: box(where, row)
        for object_id, row in zip(annotation.ids, annotation.xywh_px_N4.tolist(), strict=True)
        if not all(map(math.isnan, row))
    }


def keypoints_to_write(where: object, annotation: KeypointAnnotation) -> NDArray[np.float64]:
    """Places [N, K, 2]; NaN in both coordinates or in none."""
    if annotation.xy_px_NK2.ndim != 3:
        raise UserError(f"{where}: joints must be [N, K, 2], not {annotation.xy_px_NK2.shape}")
    _shape(where, annotation.ids, annotation.xy_px_NK2, (annotation.xy_px_NK2.shape[1], 2))
    return _places(where, annotation.xy_px_NK2)


def points_to_write(where: object, annotation: PointAnnotation) -> PointAnnotation:
    """The same with places [N, 2] that are NaN in both coordinates or in none, and hidden_N."""
    _shape(where, annotation.ids, annotation.xy_px_N2, (2,))
    if annotation.hidden_N is not None and annotation.hidden_N.shape != (len(annotation.ids),):
        raise UserError(
            f"{where}: {len(annotation.ids)} ids, hidden is {annotation.hidden_N.shape}"
        )
    places_N2 = _places(where, annotation.xy_px_N2)
    return PointAnnotation(annotation.ids, places_N2, annotation.occluded)


def _places(where: object, xy_px: NDArray[Any]) -> NDArray[np.float64]:
    places = np.asarray(xy_px, np.float64)
    if np.isinf(places).any() or (np.isnan(places[..., 0]) != np.isnan(places[..., 1])).any():
        raise UserError(f"{where}: a place must be two finite numbers, or NaN twice")
    return places


def _shape(where: object, ids: Sequence[int], rows: NDArray[Any], row: tuple[int, ...]) -> None:
    if rows.shape != (len(ids), *row):
        raise UserError(f"{where}: {len(ids)} ids and an array {rows.shape}")
    for object_id in ids:
        integer(where, "an id", object_id)
    distinct(where, ids)


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:40]}..."
