"""CVAT for images 1.1: one XML file with single frames of any number of videos.

    <annotations><version>1.1</version>
      <image id="0" name="street/00012.jpg" width="320" height="240">
        <mask label="car 1" occluded="0" rle="2, 3, 1" left="10" top="20" width="3" height="2" z_order="0"/>
        <box label="dog 2" occluded="0" xtl="10" ytl="20" xbr="50" ybr="40" z_order="0"/>
      </image>
      <image id="1" name="street/00040.jpg" width="320" height="240">
        <tag label="nothing"/>
      </image></annotations>

A picture's name ends in VIDEO/FRAME.jpg. A label is a category and the number of the object, so that whoever
draws a shape says which object it is. A frame without a shape is not annotated, unless it has the tag
`nothing`: then no object is in it. Masks and polygons with one label are one object. A frame holds one kind
of shapes.
"""

import re
from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Any
from xml.etree.ElementTree import Element

import numpy as np

from model.errors import UserError
from model.propagation.annotations import Annotation, MaskAnnotation
from pipelines.labels.checks import MAX_ID, integer, size_hw
from pipelines.labels.codec import Frame, ParsedVideo, VideoInfo, safe_name
from pipelines.labels.cvat_shapes import (
    SHAPES,
    kind_of,
    masks_of,
    places_of,
    read_root,
)
from pipelines.labels.cvat_tracks import Shape, Track
from pipelines.storage import Location

FILE_NAME = "annotations.xml"
"""In an export of CVAT."""
NOTHING = "nothing"
"""The tag of a frame in which no object is."""
_LABEL = re.compile(r"(.*?)\s*(\d+)", re.DOTALL)


def parse_cvat_images(path: Location) -> dict[str, ParsedVideo]:
    """Raises `UserError` naming the file; entities and document types are refused."""
    root = read_root(path)
    joints = _joints(path, root)
    found: dict[str, dict[str, Element]] = {}
    sizes: dict[str, tuple[int, int]] = {}
    names: dict[str, dict[int, str]] = {}
    for image in root.iterfind("image"):
        video_id, frame = _place(path, image)
        where = f"{path}, {video_id}, frame {frame}"
        frames = found.setdefault(video_id, {})
        if not _is_annotated(image):
            continue
        if frame in frames:
            raise UserError(f"{where}: is there twice")
        frames[frame] = image
        size = size_hw(where, image.get("height"), image.get("width"))
        if sizes.setdefault(video_id, size) != size:
            raise UserError(f"{where}: not of the size of the frames before it")
        for shape in _shapes_in(image):
            category, object_id = object_of(where, shape.get("label", ""))
            names.setdefault(video_id, {}).setdefault(object_id, category)
    return {
        video_id: ParsedVideo(
            VideoInfo(video_id, sizes.get(video_id), None, names.get(video_id, {}), {}, joints),
            tuple(sorted(frames)),
            _reader(path, video_id, frames, joints),
        )
        for video_id, frames in found.items()
    }


def _joints(path: Location, root: Element) -> tuple[str, ...]:
    """The joints that all skeletons of the file have: as `meta` lists them, or as they come."""
    listed: dict[str, list[str]] = {}
    for label in root.iterfind("meta//label"):
        parent, name = label.findtext("parent"), label.findtext("name")
        if parent and name:
            listed.setdefault(parent, []).append(name)
    seen = [joint.get("label", "") for joint in root.iterfind("image/skeleton/points")]
    names = {tuple(joints) for joints in listed.values()} or {tuple(dict.fromkeys(seen))}
    if len(names) > 1 or set(seen) - set(*names):
        raise UserError(f"{path}: its skeletons do not have the same joints")
    return names.pop()


def object_of(where: object, label: str) -> tuple[str, int]:
    """Category and id of an object by its label. Raises `UserError` for a label without a number."""
    parts = _LABEL.fullmatch(label)
    if parts is None:
        raise UserError(
            f"{where}: the label {label[:40]!r} does not end in the number of an object"
        )
    return parts[1], integer(where, "the number of an object", parts[2], 1, MAX_ID)


def label_of(category: str, object_id: int) -> str:
    """The other way; a category is "object" where none is known."""
    return f"{category or 'object'} {object_id}"


def _reader(path: Location, video_id: str, frames: Mapping[str, Element], joints: Any) -> Any:
    def read(frame: Frame) -> Annotation:
        image = frames[str(frame)]
        where = f"{path}, {video_id}, frame {frame}"
        return _annotation(where, path, image, joints)

    return read


def _place(path: Location, image: Element) -> tuple[str, str]:
    """Video and frame."""
    name = PurePosixPath(image.get("name", ""))
    if len(name.parts) < 2 or ".." in name.parts:
        raise UserError(
            f"{path}: the name of a picture must end in VIDEO/FRAME.jpg, not {str(name)[:80]!r}"
        )
    return safe_name(path, name.parts[-2]), safe_name(path, name.stem)


def _shapes_in(image: Element) -> list[Element]:
    return [child for child in image if child.tag != "tag"]


def _is_annotated(image: Element) -> bool:
    return bool(_shapes_in(image)) or any(tag.get("label") == NOTHING for tag in image)


def _annotation(where: str, path: Location, image: Element, joints: tuple[str, ...]) -> Annotation:
    size = size_hw(where, image.get("height"), image.get("width"))
    elements = _shapes_in(image)
    kinds = {kind_of(path, element.tag) for element in elements}
    if not elements:
        return MaskAnnotation(np.zeros(size, np.int32))
    if len(kinds) > 1:
        raise UserError(f"{where}: {' and '.join(sorted(kinds))} in one frame")
    found: list[tuple[Track, Shape]] = []
    for element in elements:
        category, object_id = object_of(where, element.get("label", ""))
        shape = SHAPES[element.tag](where, _as_in_a_track(element), joints)
        found.append((Track(object_id, category, (shape,), False), shape))
    (kind,) = kinds
    if kind == "masks":
        return masks_of(where, size, found)
    ids = [track.object_id for track, _ in found]
    if len(set(ids)) != len(ids):
        raise UserError(f"{where}: an object is there twice")
    return places_of(where, kind, found)


def _as_in_a_track(element: Element) -> Element:
    """The readers of shapes want to know the frame, which a shape of a picture does not say."""
    shape = Element(element.tag, {**element.attrib, "frame": "0", "outside": "0"})
    shape.extend(element)
    return shape
