"""Joints of people or animals in the JSON of COCO keypoints; its pictures are frames of videos.

    {"images": [{"id": 1, "file_name": "cat/00000.jpg", "height": 180, "width": 320}],
     "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "track_id": 4,
                      "keypoints": [12, 30, 2, 0, 0, 0], "num_keypoints": 1}],
     "categories": [{"id": 1, "name": "cat", "keypoints": ["nose", "tail"], "skeleton": []}]}

A video is named by the folder of `file_name`, a frame by its stem. `track_id` (as in PoseTrack) says who
an instance is; without it the id of the annotation does. Each joint is x, y, v in pixel indices: v = 0 is
not annotated (NaN in the record), 1 hidden but placed, 2 seen. A joint outside the picture stays there.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model.errors import UserError
from model.propagation.annotations import Annotation, KeypointAnnotation
from pipelines.labels.checks import (
    distinct,
    finite,
    integer,
    items,
    keypoints_to_write,
    size_hw,
    table,
)
from pipelines.labels.coco_video import category_names, video_and_stem
from pipelines.labels.codec import (
    Frame,
    ParsedVideo,
    VideoInfo,
    frame_stem,
    of_kind,
    safe_name,
)
from pipelines.storage import Location, write_json


def parse_coco_keypoints(path: Location, document: Any) -> dict[str, ParsedVideo]:
    """Videos by name. Raises `UserError`."""
    document = table(path, "the file", document)
    joints = _joint_names(path, document)
    place_of: dict[int, tuple[str, str]] = {}
    sizes: dict[str, tuple[int, int]] = {}
    frames: dict[str, dict[Frame, dict[int, NDArray[np.float64]]]] = {}
    for image in items(path, document, "images"):
        number = integer(path, "an image's id", image.get("id"), high=2**63 - 1)
        video_id, stem = video_and_stem(path, image.get("file_name"))
        if number in place_of or stem in frames.setdefault(video_id, {}):
            raise UserError(f"{path}: image {number} ({video_id}/{stem}) is there twice")
        place_of[number] = video_id, stem
        frames[video_id][stem] = {}
        size = size_hw(f"{path}, image {number}", image.get("height"), image.get("width"))
        if sizes.setdefault(video_id, size) != size:
            raise UserError(f"{path}: the pictures of {video_id} have different sizes")
    names: dict[str, dict[int, str]] = {video_id: {} for video_id in frames}
    categories = category_names(path, document)
    for annotation in items(path, document, "annotations"):
        where = f"{path}, annotation {annotation.get('id')}"
        number = integer(where, "image_id", annotation.get("image_id"), high=2**63 - 1)
        if number not in place_of:
            raise UserError(f"{where}: is for an image {number} that is not there")
        video_id, stem = place_of[number]
        object_id = integer(where, "an id", annotation.get("track_id", annotation.get("id")))
        if object_id in frames[video_id][stem]:
            distinct(f"{where}, {video_id}/{stem}", (object_id, object_id))
        frames[video_id][stem][object_id] = _places(where, annotation.get("keypoints"), joints)
        category = annotation.get("category_id")
        if isinstance(category, int) and category in categories:
            names[video_id][object_id] = categories[category]
    return {
        video_id: _video(
            VideoInfo(video_id, sizes[video_id], None, names[video_id], {}, joints), by_frame
        )
        for video_id, by_frame in frames.items()
    }


def _video(
    info: VideoInfo, by_frame: Mapping[Frame, Mapping[int, NDArray[np.float64]]]
) -> ParsedVideo:
    def read(frame: Frame) -> KeypointAnnotation:
        instances = by_frame[frame]
        ids = tuple(sorted(instances))
        places = np.array([instances[i] for i in ids]).reshape(len(ids), len(info.joint_names), 2)
        return KeypointAnnotation(ids, places)

    return ParsedVideo(info, tuple(sorted(by_frame, key=_natural_order)), read)


def _natural_order(stem: Frame) -> list[tuple[int, str]]:
    parts = re.split(r"(\d+)", str(stem))
    return [(int(part), "") if part.isdigit() else (-1, part) for part in parts]


def _joint_names(path: Location, document: Mapping[str, Any]) -> tuple[str, ...]:
    """The joints, which must be the same for all categories."""
    lists = [entry.get("keypoints") for entry in items(path, document, "categories")]
    if not lists or not isinstance(lists[0], list) or any(names != lists[0] for names in lists):
        raise UserError(f"{path}: all categories must list the same keypoints")
    return tuple(str(name) for name in lists[0])


def _places(where: str, keypoints: Any, joints: tuple[str, ...]) -> NDArray[np.float64]:
    """Places [K, 2]."""
    if not isinstance(keypoints, list) or len(keypoints) != 3 * len(joints):
        raise UserError(f"{where}: needs x, y, v for each of {len(joints)} joints")
    places = np.full((len(joints), 2), np.nan)
    for joint in range(len(joints)):
        x, y, seen = keypoints[3 * joint : 3 * joint + 3]
        if integer(where, "the v of a joint", seen, 0, 2):
            places[joint] = finite(where, "x", x), finite(where, "y", y)
    return places


def write_coco_keypoints(
    root: Location, video: VideoInfo, frames: Iterable[tuple[Frame, Annotation]]
) -> None:
    """`root/VIDEO.json`; needs the size of a frame. Joints without names are numbered."""
    path = root / f"{safe_name(root, video.video_id)}.json"
    if video.size_hw is None:
        raise UserError(f"{path}: COCO keypoints need the size of a frame")
    joints = video.joint_names
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    categories = sorted({"object", *video.object_names.values()})
    for frame, annotation in of_kind(path, KeypointAnnotation, frames):
        stem = safe_name(path, frame_stem(frame))
        places_NK2 = keypoints_to_write(f"{path}, frame {frame}", annotation)
        if not joints:
            joints = tuple(str(joint) for joint in range(places_NK2.shape[1]))
        if places_NK2.shape[1] != len(joints):
            raise UserError(
                f"{path}, frame {frame}: {places_NK2.shape[1]} joints instead of {len(joints)}"
            )
        images.append(
            {
                "id": len(images) + 1,
                "file_name": f"{video.video_id}/{stem}.jpg",
                "height": video.size_hw[0],
                "width": video.size_hw[1],
            }
        )
        for object_id, places_K2 in zip(annotation.ids, places_NK2, strict=True):
            name = video.object_names.get(object_id, "object")
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": len(images),
                    "category_id": 1 + categories.index(name),
                    "track_id": object_id,
                    **_written(places_K2),
                }
            )
    listed = [
        {"id": i, "name": name, "keypoints": list(joints), "skeleton": []}
        for i, name in enumerate(categories, start=1)
    ]
    write_json(path, {"images": images, "annotations": annotations, "categories": listed})


def _written(places_K2: NDArray[np.float64]) -> dict[str, Any]:
    """The fields of an annotation that its joints decide; the box is the one around them."""
    seen = ~np.isnan(places_K2[:, 0])
    keypoints: list[float] = []
    for (x, y), is_seen in zip(places_K2.tolist(), seen.tolist(), strict=True):
        keypoints += [x, y, 2] if is_seen else [0, 0, 0]
    low = places_K2[seen].min(axis=0) if seen.any() else np.zeros(2)
    extent = places_K2[seen].max(axis=0) - low if seen.any() else np.zeros(2)
    return {
        "keypoints": keypoints,
        "num_keypoints": int(seen.sum()),
        "bbox": [*low.tolist(), *extent.tolist()],
        "area": float(extent[0] * extent[1]),
        "iscrowd": 0,
    }
