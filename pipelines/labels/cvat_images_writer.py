"""Writing CVAT for images 1.1 (`cvat_images` describes it)."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any
from xml.etree.ElementTree import Element, SubElement, indent, tostring

from model.errors import UserError
from model.propagation.annotations import Annotation
from pipelines.labels.codec import Frame, VideoInfo, frame_stem, once, safe_name
from pipelines.labels.cvat_images import NOTHING, label_of
from pipelines.labels.cvat_writer import shapes_of
from pipelines.storage import Location, write_bytes


@dataclass(frozen=True)
class ImageLabels:
    """One frame of one video with what is to be seen in it."""

    video: VideoInfo
    """With its size."""
    frame: Frame
    annotation: Annotation


def write_cvat_images(
    root: Location, video: VideoInfo, frames: Iterable[tuple[Frame, Annotation]]
) -> None:
    """`root/VIDEO.xml`: the frames of one video. Raises `UserError` for what CVAT cannot hold."""
    path = root / f"{safe_name(root, video.video_id)}.xml"
    images = [ImageLabels(video, *each) for each in once(path, frames)]
    if len({type(image.annotation) for image in images}) > 1:
        raise UserError(f"{path}: labels of another kind than in the frames before it")
    write_images(path, images, annotated=True)


def write_images(path: Location, images: Sequence[ImageLabels], *, annotated: bool = False) -> None:
    """One file of frames of any videos, in their order, and the labels of all objects of these videos.

    `annotated`: a frame without an object says that there is none; else it waits for somebody to say so.
    """
    document = Element("annotations")
    SubElement(document, "version").text = "1.1"
    labels = SubElement(SubElement(SubElement(document, "meta"), "task"), "labels")
    names: dict[str, tuple[str, ...]] = {}
    for number, each in enumerate(images):
        name = picture_name(each.video.video_id, each.frame)
        where = f"{path}, {name}"
        height, width = each.video.size_hw or (0, 0)
        image = SubElement(document, "image", id=str(number), name=name)
        image.attrib |= {"width": str(width), "height": str(height)}
        joints = joints_of(each.annotation, each.video.joint_names)
        for object_id, category in sorted(each.video.object_names.items()):
            label = label_of(category, object_id)
            names[label] = names.get(label) or joints  # a frame without any skeleton has no joints
        for object_id, shape in shapes_of(where, each.annotation, joints):
            label = label_of(each.video.object_names.get(object_id, ""), object_id)
            names[label] = names.get(label) or joints
            shape.attrib = {"label": label, "source": "auto", "occluded": "0", **shape.attrib}
            shape.attrib.setdefault("z_order", "0")
            for joint in shape:
                joint.attrib.pop("keyframe", None)
            image.append(shape)
        if annotated and not len(image):
            SubElement(image, "tag", label=NOTHING, source="manual")
    for label, own_joints in names.items():
        _write_label(labels, label, "skeleton" if own_joints else "any")
        for name in own_joints:
            SubElement(_write_label(labels, name, "points"), "parent").text = label
    indent(document)
    write_bytes(path, tostring(document, "utf-8", xml_declaration=True))


def picture_name(video_id: str, frame: Frame) -> str:
    """How a frame's picture is called."""
    return f"{video_id}/{frame_stem(frame)}.jpg"


def _write_label(labels: Element, name: str, kind: str) -> Element:
    label = SubElement(labels, "label")
    SubElement(label, "name").text = name
    SubElement(label, "type").text = kind
    return label


def joints_of(annotation: Annotation, names: tuple[str, ...]) -> tuple[str, ...]:
    """Of keypoints their names, or their numbers."""
    places: Any = getattr(annotation, "xy_px_NK2", None)
    if places is None:
        return ()
    return names or tuple(str(joint) for joint in range(places.shape[1]))
