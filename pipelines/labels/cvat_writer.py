"""Writing CVAT for video 1.1.

Every shape is a keyframe, since CVAT ignores the others when it imports a file, and where an object is not
carried on, the next frame says that it is outside. A point that is hidden, and a skeleton without a joint
that is seen, are not there.
"""

from collections.abc import Iterable, Iterator
from xml.etree.ElementTree import Element, SubElement, indent, tostring

import numpy as np

from model.errors import UserError
from model.propagation.annotations import (
    Annotation,
    BoxAnnotation,
    KeypointAnnotation,
    MaskAnnotation,
    PointAnnotation,
)
from pipelines.labels.checks import (
    boxes_to_write,
    keypoints_to_write,
    mask_to_write,
    points_to_write,
)
from pipelines.labels.codec import Frame, VideoInfo, frame_index, once, safe_name
from pipelines.labels.cvat_tracks import runs_of
from pipelines.storage import Location, write_bytes

_POINT_OFFSET_PX = 0.5
"""From pixel indices to pixel edges."""


def write_cvat(
    root: Location, video: VideoInfo, frames: Iterable[tuple[Frame, Annotation]]
) -> None:
    """`root/VIDEO.xml`: the tracks of masks, boxes, points or skeletons, one kind a video."""
    path = root / f"{safe_name(root, video.video_id)}.xml"
    tracks: dict[int, dict[int, Element]] = {}
    kind: type[Annotation] | None = None
    size, joints, last = video.size_hw, video.joint_names, 0
    for frame, annotation in once(path, frames):
        where = f"{path}, frame {frame}"
        kind = kind or type(annotation)
        if not isinstance(annotation, kind):
            raise UserError(f"{where}: labels of another kind than in the frames before it")
        if isinstance(annotation, MaskAnnotation):
            size_px = mask_to_write(where, annotation, size).shape
            size = (size_px[0], size_px[1])
        if isinstance(annotation, KeypointAnnotation):
            count = keypoints_to_write(where, annotation).shape[1]
            joints = joints or tuple(str(joint) for joint in range(count))
            if count != len(joints):
                raise UserError(f"{where}: {count} joints instead of {len(joints)}")
        index = frame_index(where, frame)
        last = max(last, index)
        for object_id, shape in shapes_of(where, annotation, joints):
            if object_id < 1:
                raise UserError(
                    f"{where}: the ids of CVAT's tracks begin at 1 here, not {object_id}"
                )
            shape.attrib = {"frame": str(index), "keyframe": "1", "occluded": "0", **shape.attrib}
            shape.set("outside", "0")
            tracks.setdefault(object_id, {})[index] = shape
    if not tracks:
        raise UserError(f"{path}: not one object to write")
    end = last + 1 if video.frame_count is None else video.frame_count
    if last >= end:
        raise UserError(f"{path}: frame {last} of a video of {end} frames")
    names = {i: video.object_names.get(i, "object") for i in sorted(tracks)}
    document = Element("annotations")
    SubElement(document, "version").text = "1.1"
    _write_meta(document, end, size, sorted(set(names.values())), joints)
    for object_id, name in names.items():
        track = SubElement(document, "track", id=str(object_id - 1), label=name, source="auto")
        track.extend(_ended(tracks[object_id], end))
    indent(document)
    write_bytes(path, tostring(document, "utf-8", xml_declaration=True))


def shapes_of(
    where: str, annotation: Annotation, joints: tuple[str, ...]
) -> Iterator[tuple[int, Element]]:
    """The id and the shape of every object in a frame. Raises `UserError` for colours."""
    if isinstance(annotation, MaskAnnotation):
        for object_id in np.unique(annotation.ids_HW).tolist():
            if object_id:
                mask = runs_of(annotation.ids_HW == object_id)
                box = {n: str(getattr(mask, n)) for n in ("left", "top", "width", "height")}
                runs = ", ".join(map(str, mask.runs))
                yield object_id, Element("mask", {"rle": runs, **box, "z_order": "0"})
    elif isinstance(annotation, BoxAnnotation):
        for object_id, (x, y, width, height) in boxes_to_write(where, annotation).items():
            corners = zip(("xtl", "ytl", "xbr", "ybr"), (x, y, x + width, y + height), strict=True)
            yield object_id, Element("box", {name: repr(value) for name, value in corners})
    elif isinstance(annotation, KeypointAnnotation):
        for object_id, places in zip(
            annotation.ids, keypoints_to_write(where, annotation).tolist(), strict=True
        ):
            skeleton = Element("skeleton", {"z_order": "0"})
            for joint, xy in zip(joints, places, strict=True):
                skeleton.append(_point(xy, label=joint, keyframe="1", occluded="0"))
            yield object_id, skeleton
    elif isinstance(annotation, PointAnnotation):
        for object_id, xy in zip(
            annotation.ids, points_to_write(where, annotation).seen_px.tolist(), strict=True
        ):
            if not np.isnan(xy[0]):
                yield object_id, _point(xy)
    else:
        raise UserError(f"{where}: this format does not hold a {type(annotation).__name__}")


def _point(xy_px: list[float], **attributes: str) -> Element:
    hidden = bool(np.isnan(xy_px[0]))
    x, y = (0.0, 0.0) if hidden else (value + _POINT_OFFSET_PX for value in xy_px)
    text = f"{x!r},{y!r}"
    return Element("points", {**attributes, "outside": str(int(hidden)), "points": text})


def _ended(shapes: dict[int, Element], end: int) -> Iterator[Element]:
    """The shapes of a track, and one that is outside after each that is not followed by the next."""
    for frame in sorted(shapes):
        yield shapes[frame]
        if frame + 1 not in shapes and frame + 1 < end:
            gone = Element(shapes[frame].tag, {**shapes[frame].attrib, "frame": str(frame + 1)})
            gone.set("outside", "1")
            gone.extend(
                Element(joint.tag, {**joint.attrib, "outside": "1"}) for joint in shapes[frame]
            )
            yield gone


def _write_meta(
    document: Element,
    end: int,
    size_hw: tuple[int, int] | None,
    names: list[str],
    joints: tuple[str, ...],
) -> None:
    task = SubElement(SubElement(document, "meta"), "task")
    SubElement(task, "size").text = str(end)
    SubElement(task, "mode").text = "interpolation"
    labels = SubElement(task, "labels")
    for name in names:
        label = SubElement(labels, "label")
        SubElement(label, "name").text = name
        if joints:
            SubElement(label, "type").text = "skeleton"
    for joint in joints:
        label = SubElement(labels, "label")
        SubElement(label, "name").text = joint
        SubElement(label, "type").text = "points"
        SubElement(label, "parent").text = names[0]
    if size_hw is not None:
        size = SubElement(task, "original_size")
        SubElement(size, "width").text = str(size_hw[1])
        SubElement(size, "height").text = str(size_hw[0])
