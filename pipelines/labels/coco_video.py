"""Masks of whole videos in one JSON file, as YouTube-VIS lays it out and COCO encodes them.

    {"videos": [{"id": 1, "height": 180, "width": 320, "length": 2,
                 "file_names": ["cat/00000.jpg", "cat/00005.jpg"]}],
     "annotations": [{"id": 7, "video_id": 1, "category_id": 1,
                      "segmentations": [{"size": [180, 320], "counts": "..."}, null]}],
     "categories": [{"id": 1, "name": "cat"}]}

A video is named by the folder in its `file_names`, a frame by the stem; an object's id is the `track_id` of
its annotation, or else the `id`. All of `file_names` are annotated: `null` means that the object is not
there. Where objects overlap, the one that comes later in the file lies on top.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

import numpy as np

from model.errors import UserError
from model.propagation.annotations import Annotation, MaskAnnotation
from pipelines.labels.checks import distinct, integer, items, mask_to_write, size_hw, table
from pipelines.labels.codec import (
    Frame,
    ParsedVideo,
    VideoInfo,
    frame_stem,
    of_kind,
    safe_name,
)
from pipelines.labels.rle import decode_segmentation, encode_runs, paint
from pipelines.storage import Location, write_json


@dataclass(frozen=True)
class _Track:
    """An annotation: an object through its video."""

    object_id: int
    name: str | None
    segmentations: Any
    """Checked to be a list with a place for each frame; its items are checked when they are read."""


def parse_coco_video(path: Location, document: Any) -> dict[str, ParsedVideo]:
    """Videos by name. Run lengths are checked when a frame is read. Raises `UserError`."""
    document = table(path, "the file", document)
    names = category_names(path, document)
    listed: dict[int, Mapping[str, Any]] = {}
    for video in items(path, document, "videos"):
        number = integer(path, "a video's id", video.get("id"))
        if number in listed:
            raise UserError(f"{path}: two videos have the id {number}")
        listed[number] = video
    tracks: dict[int, list[_Track]] = {number: [] for number in listed}
    seen: set[int] = set()
    for annotation in items(path, document, "annotations"):
        annotation_id = integer(path, "an annotation's id", annotation.get("id"), 1)
        if annotation_id in seen:
            raise UserError(f"{path}: two annotations have the id {annotation_id}")
        seen.add(annotation_id)
        number = integer(path, "video_id", annotation.get("video_id"))
        if number not in listed:
            raise UserError(
                f"{path}: annotation {annotation_id} is for a video {number} that is not there"
            )
        object_id = integer(path, "a track_id", annotation.get("track_id", annotation_id), 1)
        distinct(f"{path}, video {number}", [*(t.object_id for t in tracks[number]), object_id])
        category = annotation.get("category_id")
        name = names.get(category) if isinstance(category, int) else None
        tracks[number].append(_Track(object_id, name, annotation.get("segmentations")))
    videos: dict[str, ParsedVideo] = {}
    for number, video in listed.items():
        parsed = _video(path, number, video, tracks[number])
        if parsed.info.video_id in videos:
            raise UserError(f"{path}: two videos are named {parsed.info.video_id}")
        videos[parsed.info.video_id] = parsed
    return videos


def category_names(path: Location, document: Mapping[str, Any]) -> dict[int, str]:
    """Names of categories by id; none where the file has no categories."""
    if "categories" not in document:
        return {}
    return {
        integer(path, "a category's id", entry.get("id")): str(entry.get("name", entry.get("id")))
        for entry in items(path, document, "categories")
    }


def video_and_stem(path: Location, file_name: Any) -> tuple[str, str]:
    """The video and the frame that a `file_name` stands for: its folder and its stem.

    Without a folder the video is named like the label file. Raises `UserError` for a path that leaves
    its folder.
    """
    name = PurePosixPath(file_name) if isinstance(file_name, str) else PurePosixPath("/")
    if name.is_absolute() or ".." in name.parts or not name.name:
        raise UserError(f"{path}: {str(file_name)[:80]!r} is not the path of a frame")
    video_id = name.parent.name or path.stem
    return safe_name(path, video_id), safe_name(path, name.stem)


def _video(
    path: Location, number: int, video: Mapping[str, Any], tracks: Sequence[_Track]
) -> ParsedVideo:
    file_names = video.get("file_names")
    if not isinstance(file_names, list):
        raise UserError(f"{path}: video {number} has no list of file_names")
    length = integer(path, "the length of a video", video.get("length", len(file_names)))
    if length != len(file_names):
        raise UserError(
            f"{path}: video {number} has {len(file_names)} file_names and length {length}"
        )
    places = [video_and_stem(path, name) for name in file_names]
    video_id = places[0][0] if places else safe_name(path, str(video.get("name", number)))
    if any(name != video_id for name, _ in places):
        raise UserError(f"{path}: the file_names of video {number} name several folders")
    position: dict[Frame, int] = {stem: index for index, (_, stem) in enumerate(places)}
    if len(position) != length:
        raise UserError(f"{path}: a frame is twice in the file_names of {video_id}")
    size = size_hw(f"{path}, {video_id}", video.get("height"), video.get("width"))
    for track in tracks:
        if not isinstance(track.segmentations, list) or len(track.segmentations) != length:
            raise UserError(
                f"{path}: annotation {track.object_id} must have {length} segmentations, one for "
                f"each frame of {video_id}"
            )

    def read(frame: Frame) -> MaskAnnotation:
        index = position[frame]
        masks = [
            (
                track.object_id,
                decode_segmentation(
                    f"{path}, annotation {track.object_id}, frame {frame}",
                    size,
                    track.segmentations[index],
                ),
            )
            for track in tracks
            if track.segmentations[index] is not None
        ]
        return paint(f"{path}, {video_id}, frame {frame}", size, masks, "later on top")

    object_names = {track.object_id: track.name for track in tracks if track.name is not None}
    return ParsedVideo(VideoInfo(video_id, size, object_names=object_names), tuple(position), read)


def write_coco_video(
    root: Location, video: VideoInfo, frames: Iterable[tuple[Frame, Annotation]]
) -> None:
    """`root/VIDEO.json` with this one video; the ids of its annotations are those of the objects."""
    path = root / f"{safe_name(root, video.video_id)}.json"
    size = video.size_hw
    stems: list[str] = []
    runs: dict[int, dict[int, str]] = {}
    for position, (frame, annotation) in enumerate(of_kind(path, MaskAnnotation, frames)):
        stems.append(safe_name(path, frame_stem(frame)))
        ids_HW = mask_to_write(f"{path}, frame {frame}", annotation, size)
        size = (ids_HW.shape[0], ids_HW.shape[1])
        for object_id in np.unique(ids_HW).tolist():
            if object_id:
                runs.setdefault(int(object_id), {})[position] = encode_runs(ids_HW == object_id)
    assert size is not None  # of_kind yields one frame at least
    categories = sorted({video.object_names.get(i, "object") for i in runs} | {"object"})
    document = {
        "videos": [
            {
                "id": 1,
                "height": size[0],
                "width": size[1],
                "length": len(stems),
                "file_names": [f"{video.video_id}/{stem}.jpg" for stem in stems],
            }
        ],
        "annotations": [
            {
                "id": object_id,
                "video_id": 1,
                "category_id": 1 + categories.index(video.object_names.get(object_id, "object")),
                "iscrowd": 0,
                "segmentations": [
                    {"size": list(size), "counts": seen[position]} if position in seen else None
                    for position in range(len(stems))
                ],
            }
            for object_id, seen in sorted(runs.items())
        ],
        "categories": [{"id": i, "name": name} for i, name in enumerate(categories, start=1)],
    }
    write_json(path, document)
