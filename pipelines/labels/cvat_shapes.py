"""The shapes of CVAT's XML, whatever file they stand in: boxes, polygons, masks, points and skeletons.

CVAT measures from the outer edge of the first pixel, so half a pixel is taken from points and joints.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any
from xml.etree.ElementTree import Element, ParseError

import numpy as np
from defusedxml import ElementTree
from numpy.typing import NDArray

from model.errors import UserError
from model.propagation.annotations import (
    BoxAnnotation,
    KeypointAnnotation,
    MaskAnnotation,
    PointAnnotation,
)
from pipelines.labels.checks import (
    MAX_ID,
    box,
    box_annotation,
    finite,
    frame_number,
    integer,
    read_content,
)
from pipelines.labels.cvat_tracks import MaskRuns, Shape, Track, fill_mask
from pipelines.labels.rle import decode_segmentation, paint
from pipelines.storage import Location

_KIND = {
    "box": "boxes",
    "polygon": "masks",
    "mask": "masks",
    "points": "points",
    "skeleton": "skeletons",
}
_POINT_OFFSET_PX = 0.5
"""From pixel edges to pixel indices."""


def read_root(path: Location) -> Element:
    """The outermost element. Raises `UserError` naming the file; entities and document types are refused."""
    try:
        root: Element = ElementTree.fromstring(read_content(path), forbid_dtd=True)
    except (ParseError, ValueError, LookupError) as error:  # what is forbidden is a ValueError
        raise UserError(f"{path}: not a safe, well-formed XML file ({error!r})") from error
    if root.tag != "annotations":
        raise UserError(f"{path}: not CVAT: the outermost element is {root.tag[:40]}")
    return root


def kind_of(path: Location, tag: str) -> str:
    if tag not in _KIND:
        raise UserError(f"{path}: shapes of kind {tag[:40]} are not read, only {', '.join(_KIND)}")
    return _KIND[tag]


def joint_names(path: Location, root: Element) -> tuple[str, ...]:
    """The joints of the skeletons: as `meta` lists them, or in order of appearance."""
    listed = [
        name
        for label in root.iterfind("meta//label")
        if label.findtext("parent") and (name := label.findtext("name"))
    ]
    seen = [joint.get("label", "") for joint in root.iterfind(".//skeleton/points")]
    names = tuple(dict.fromkeys(listed or seen))
    unknown = set(seen) - set(names)
    if unknown or (listed and len(names) != len(listed)):
        raise UserError(f"{path}: its skeletons do not have the same joints")
    return names


def _head(where: str, element: Element) -> dict[str, Any]:
    """What all shapes have."""
    if finite(where, "rotation", element.get("rotation", "0")):
        raise UserError(f"{where}: rotated shapes are not read")
    return {
        "frame": frame_number(where, element.get("frame")),
        "outside": element.get("outside", "0") == "1",
        "z_order": integer(where, "z_order", element.get("z_order", "0"), -MAX_ID),
    }


def _box(where: str, element: Element, joints: tuple[str, ...]) -> Shape:
    corners = [finite(where, name, element.get(name)) for name in ("xtl", "ytl", "xbr", "ybr")]
    box(where, (*corners[:2], corners[2] - corners[0], corners[3] - corners[1]))
    return Shape(**_head(where, element), numbers=np.array(corners))


def _polygon(where: str, element: Element, joints: tuple[str, ...]) -> Shape:
    return Shape(**_head(where, element), numbers=_numbers(where, element.get("points")))


def _point(where: str, element: Element, joints: tuple[str, ...]) -> Shape:
    numbers = _numbers(where, element.get("points"))
    if numbers.shape != (2,):
        raise UserError(
            f"{where}: {len(numbers) // 2} points in one track; give each a track, or use a skeleton"
        )
    return Shape(**_head(where, element), numbers=numbers)


def _skeleton(where: str, element: Element, joints: tuple[str, ...]) -> Shape:
    places = np.full((len(joints), 2), np.nan)
    hidden = np.ones(len(joints), np.bool_)
    for joint in element.iterfind("points"):
        index = joints.index(joint.get("label", ""))
        numbers = _numbers(where, joint.get("points"))
        if numbers.shape != (2,) or not np.isnan(places[index, 0]):
            raise UserError(f"{where}: a joint must be one point, and there once")
        places[index] = numbers
        hidden[index] = joint.get("outside", "0") == "1"
    head = _head(where, element)
    head["outside"] = head["outside"] or bool(hidden.all())  # CVAT says it of the joints alone
    return Shape(**head, numbers=places, hidden_K=hidden)


def _mask(where: str, element: Element, joints: tuple[str, ...]) -> Shape:
    runs = tuple(
        integer(where, "a run length", text) for text in (element.get("rle") or "").split(",")
    )
    left, top, width, height = (
        integer(where, name, element.get(name), low)
        for name, low in (("left", 0), ("top", 0), ("width", 1), ("height", 1))
    )
    mask = MaskRuns(runs, left, top, width, height)
    return Shape(**_head(where, element), numbers=np.empty(0), mask=mask)


SHAPES: Mapping[str, Callable[[str, Element, tuple[str, ...]], Shape]] = {
    "box": _box,
    "polygon": _polygon,
    "points": _point,
    "skeleton": _skeleton,
    "mask": _mask,
}


def _numbers(where: str, text: str | None) -> NDArray[np.float64]:
    """`x,y;x,y` as [x, y, x, y]."""
    pairs = [pair.split(",") for pair in (text or "").split(";")]
    if any(len(pair) != 2 for pair in pairs):
        raise UserError(f"{where}: points must be x,y;x,y ...")
    return np.array([finite(where, "a point", value) for pair in pairs for value in pair])


def masks_of(
    where: str, size: tuple[int, int], found: Sequence[tuple[Track, Shape]]
) -> MaskAnnotation:
    masks = []
    for track, shape in sorted(found, key=lambda item: item[1].z_order):
        at = f"{where}, track {track.object_id - 1}"
        if shape.mask is not None:
            mask_HW = fill_mask(at, size, shape.mask)
        else:
            mask_HW = decode_segmentation(at, size, [shape.numbers.tolist()])
        masks.append((track.object_id, mask_HW))
    return paint(where, size, masks, "later on top")


def places_of(
    where: str, kind: str, found: Sequence[tuple[Track, Shape]]
) -> BoxAnnotation | PointAnnotation | KeypointAnnotation:
    by_id = {track.object_id: shape for track, shape in found}
    ids = tuple(sorted(by_id))
    if kind == "boxes":
        corners = {i: by_id[i].numbers for i in ids}
        return box_annotation(where, {i: [*c[:2], *(c[2:] - c[:2])] for i, c in corners.items()})
    places = np.array([by_id[i].numbers for i in ids]) - _POINT_OFFSET_PX
    if kind == "points":
        return PointAnnotation(ids, places)
    for instance, object_id in enumerate(ids):
        places[instance, by_id[object_id].hidden_K] = np.nan
    return KeypointAnnotation(ids, places)
