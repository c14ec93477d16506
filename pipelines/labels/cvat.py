"""CVAT for video 1.1: an XML file with the tracks of one video. `cvat_tracks` says what lies between shapes.

    <annotations><version>1.1</version>
      <meta><task><size>30</size>
        <original_size><width>320</width><height>240</height></original_size></task></meta>
      <track id="0" label="car">
        <box frame="0" keyframe="1" outside="0" occluded="0" xtl="10" ytl="20" xbr="50" ybr="40"/>
        <box frame="9" keyframe="1" outside="1" occluded="0" xtl="19" ytl="20" xbr="59" ybr="40"/>
      </track></annotations>

An object's id is its track's id + 1, since 0 is the background of masks. A file holds boxes, or masks and
polygons, or single points, or skeletons. CVAT measures from the outer edge of the first pixel, so half a
pixel is taken from points and joints. Frames are named by their index; a frame is annotated when an object
is in it. Where masks overlap, the one with the higher `z_order` lies on top, then the one that comes later.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any
from xml.etree.ElementTree import Element, ParseError

import numpy as np
from defusedxml import ElementTree
from numpy.typing import NDArray

from model.errors import UserError
from model.propagation.annotations import (
    Annotation,
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
    size_hw,
)
from pipelines.labels.codec import MAX_FRAMES, Frame, ParsedVideo, VideoInfo
from pipelines.labels.cvat_tracks import MaskRuns, Shape, Track, covered, fill_mask
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


def parse_cvat(path: Location, video_id: str) -> ParsedVideo:
    """Raises `UserError` naming the file; entities and document types are refused."""
    root = _root(path)
    elements = root.findall("track")
    kinds = {_kind_of(path, shape.tag) for track in elements for shape in track}
    if len(kinds) > 1:
        raise UserError(f"{path}: {' and '.join(sorted(kinds))} in one file; only one kind is read")
    joints = _joint_names(path, root) if kinds == {"skeletons"} else ()
    tracks = [track for track in (_track(path, element, joints) for element in elements) if track]
    ids = [track.object_id for track in tracks]
    if len(set(ids)) != len(ids):
        raise UserError(f"{path}: two tracks have the same id")
    size, end = _size_and_end(path, root, tracks)
    if kinds == {"masks"} and size is None:
        raise UserError(f"{path}: masks and polygons need an original_size")

    def read(frame: Frame) -> Annotation:
        if not isinstance(frame, int) or not 0 <= frame < end:
            raise KeyError(frame)
        where = f"{path}, frame {frame}"
        found: list[tuple[Track, Shape]] = []
        try:
            for track in tracks:
                shape = track.at(frame)
                if shape is not None:
                    found.append((track, shape))
        except UserError as error:
            raise UserError(f"{path}: {error}") from error
        if not found:
            raise KeyError(frame)
        if size is not None and kinds == {"masks"}:
            return _masks(where, size, found)
        return _places(where, next(iter(kinds)), found)

    names = {track.object_id: track.label for track in tracks}
    info = VideoInfo(video_id, size, end, names, {}, joints)
    return ParsedVideo(info, covered(tracks, end), read)


def _root(path: Location) -> Element:
    try:
        root = ElementTree.fromstring(read_content(path), forbid_dtd=True)
    except (ParseError, ValueError, LookupError) as error:  # what is forbidden is a ValueError
        raise UserError(f"{path}: not a safe, well-formed XML file ({error!r})") from error
    if root.tag != "annotations":
        raise UserError(f"{path}: not CVAT: the outermost element is {root.tag[:40]}")
    if root.find("image") is not None:
        raise UserError(f"{path}: is CVAT for images; export it as CVAT for video 1.1")
    if root.find("meta/project") is not None:
        raise UserError(f"{path}: holds a project of several videos; export its tasks one by one")
    return root


def _kind_of(path: Location, tag: str) -> str:
    if tag not in _KIND:
        raise UserError(f"{path}: shapes of kind {tag[:40]} are not read, only {', '.join(_KIND)}")
    return _KIND[tag]


def _size_and_end(
    path: Location, root: Element, tracks: Sequence[Track]
) -> tuple[tuple[int, int] | None, int]:
    """(rows, columns) if they are given, and the number of frames."""
    meta = root.find("meta")
    size: tuple[int, int] | None = None
    ends: list[int] = []
    for element in [] if meta is None else meta.iter():
        if element.tag == "original_size":
            size = size_hw(path, element.findtext("height"), element.findtext("width"))
        elif element.tag == "size":
            ends.append(integer(path, "the size", element.text, 0, MAX_FRAMES))
        elif element.tag in ("stop_frame", "stop"):
            ends.append(1 + frame_number(path, element.text))
    last = [track.shapes[-1] for track in tracks]
    end = max(ends) if ends else max((shape.frame + 1 for shape in last), default=0)
    for shape in last:  # the end of an object may lie just after the video
        if shape.frame + (not shape.outside) > end:
            raise UserError(f"{path}: a shape in frame {shape.frame} of a video of {end} frames")
    return size, end


def _joint_names(path: Location, root: Element) -> tuple[str, ...]:
    """The joints of the skeletons: as `meta` lists them, or in order of appearance."""
    listed = [
        name
        for label in root.iterfind("meta//label")
        if label.findtext("parent") and (name := label.findtext("name"))
    ]
    seen = [joint.get("label", "") for joint in root.iterfind("track/skeleton/points")]
    names = tuple(dict.fromkeys(listed or seen))
    unknown = set(seen) - set(names)
    if unknown or (listed and len(names) != len(listed)):
        raise UserError(f"{path}: its skeletons do not have the same joints")
    return names


def _track(path: Location, element: Element, joints: tuple[str, ...]) -> Track | None:
    """None for a track without shapes. For what moves only keyframes count, as CVAT has it."""
    where = f"{path}, track {str(element.get('id'))[:20]}"
    object_id = 1 + integer(where, "the id", element.get("id"), 0, MAX_ID - 1)
    tags = {shape.tag for shape in element}
    if len(tags) > 1:
        raise UserError(f"{where}: shapes of several kinds")
    if not tags:
        return None
    moves = not tags & {"polygon", "mask"}
    read = _SHAPES[tags.pop()]
    shapes = [
        read(f"{where}, frame {str(shape.get('frame'))[:20]}", shape, joints)
        for shape in element
        if not moves or shape.get("keyframe", "1") == "1"
    ]
    shapes.sort(key=lambda shape: shape.frame)
    frames = [shape.frame for shape in shapes]
    if len(set(frames)) != len(frames):
        raise UserError(f"{where}: two shapes in one frame")
    if not shapes:
        return None
    return Track(object_id, element.get("label", ""), shapes, moves)


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


_SHAPES: Mapping[str, Callable[[str, Element, tuple[str, ...]], Shape]] = {
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


def _masks(
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


def _places(
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
