"""Frames that need a person, as files that an annotation tool opens and `propagate --corrections` reads.

    davis   JPEGImages/VIDEO/FRAME.jpg and Annotations/VIDEO/FRAME.png
    cvat    images/VIDEO/FRAME.jpg, annotations.xml (CVAT for images 1.1) and labels.json (for a new task)

The predicted labels are what the correction begins with. Beside them `frames.csv` and `frames.json` say why
each frame is there, and the latter with a digest what its labels were (`exported`).
"""

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, fields
from typing import Literal

import cv2
import numpy as np

from model.errors import UserError
from model.propagation.annotations import Annotation, KeypointAnnotation, MaskAnnotation
from pipelines.footage import Footage, find_footage
from pipelines.labels.codec import VideoInfo, safe_name
from pipelines.labels.cvat_images import FILE_NAME, NOTHING, label_of
from pipelines.labels.cvat_images_writer import ImageLabels, write_images
from pipelines.labels.davis import write_mask
from pipelines.progress import Progress
from pipelines.review.archive import ReviewedArchive
from pipelines.review.exported import DIGEST, LIST_NAME, digests_of_export, record_export
from pipelines.review.predicted_labels import predicted_labels
from pipelines.review.reviewed import ReviewedVideo, prediction_files
from pipelines.review.selection import NeededFrame
from pipelines.skeletons import joint_names_of
from pipelines.storage import Location, location, write_bytes, write_json, write_text

ExportFormat = Literal["cvat", "davis"]
_JPEG_QUALITY = 95


def export_frames(
    archive: ReviewedArchive,
    needed: Sequence[NeededFrame],
    to: Location,
    form: ExportFormat,
    *,
    videos: Location | None = None,
    progress: Progress = lambda *_: None,
) -> None:
    """Write the frames, the lists of them last. `videos` is the archive, if it is no longer where it was.

    Raises `UserError` when the folder is not empty, a video is gone or has changed, or the format does
    not hold the labels (`davis` holds masks alone).
    """
    if to.exists() and (not to.is_dir() or any(to.iterdir())):
        raise UserError(f"{to}: is there already; name a new folder")
    where = videos if videos is not None else location(archive.summary["archive"])
    footage = {item.video_id: item for item in find_footage(where)}
    reviewed = {video.video_id: video for video in archive.videos}
    tables = prediction_files(archive.out)
    by_video: dict[str, list[NeededFrame]] = {}
    for frame in needed:
        by_video.setdefault(frame.video_id, []).append(frame)
    images: list[ImageLabels] = []
    for done, (video_id, frames) in enumerate(by_video.items(), start=1):
        if video_id not in footage:
            raise UserError(f"{where}: does not hold the video {video_id!r} any more (--archive)")
        labels = predicted_labels(tables[video_id], [frame.index for frame in frames])
        for frame, picture_HW3 in _pictures(footage[video_id], frames):
            labelled = _labelled(reviewed[video_id], frame, labels[frame.index], picture_HW3)
            if form == "davis":
                _write_davis(to, labelled, picture_HW3)
            else:
                _write_picture(to / "images", labelled, picture_HW3)
                images.append(labelled)
        progress("export", done, len(by_video), "")
    if form == "cvat":
        write_images(to / FILE_NAME, images)
        write_json(to / "labels.json", _cvat_labels(images))
    digests = digests_of_export(to, form)
    record_export(archive.out, digests)
    write_json(
        to / LIST_NAME,
        [
            {**asdict(frame), DIGEST: digests.get(frame.video_id, {}).get(frame.frame)}
            for frame in needed
        ],
    )
    write_text(to / "frames.csv", _table(needed))


def _pictures(
    footage: Footage, frames: Sequence[NeededFrame]
) -> Iterator[tuple[NeededFrame, np.ndarray]]:
    """The frames of one video with their pictures, in the order of the video, which is read no further."""
    wanted = {frame.index: frame for frame in frames}
    last = max(wanted)
    for index, (name, picture_HW3) in enumerate(footage.frames()):
        if index in wanted:
            frame = wanted.pop(index)
            if name != frame.frame:
                raise UserError(f"{footage.path}: frame {index} is {name}, it was {frame.frame}")
            yield frame, picture_HW3
        if index == last:
            return
    raise UserError(f"{footage.path}: frame {last} is not there any more")


def _labelled(
    video: ReviewedVideo, frame: NeededFrame, labels: Annotation, picture_HW3: np.ndarray
) -> ImageLabels:
    height_px, width_px = picture_HW3.shape[:2]
    names = {i: "" for i in video.object_ids} | dict(video.names)  # also those that are lost here
    joints: tuple[str, ...] = ()
    if isinstance(labels, KeypointAnnotation):
        joints = joint_names_of(labels.xy_px_NK2.shape[1])
    if isinstance(labels, MaskAnnotation) and labels.ids_HW.shape != (height_px, width_px):
        raise UserError(f"{video.video_id}, frame {frame.frame}: its size has changed")
    info = VideoInfo(
        video.video_id, (height_px, width_px), len(video.frames), names, joint_names=joints
    )
    return ImageLabels(info, frame.frame, labels)


def _write_davis(to: Location, labelled: ImageLabels, picture_HW3: np.ndarray) -> None:
    if not isinstance(labelled.annotation, MaskAnnotation):
        raise UserError(
            f"{labelled.video.video_id}: DAVIS folders hold masks alone (--format cvat)"
        )
    _write_picture(to / "JPEGImages", labelled, picture_HW3)
    folder = to / "Annotations" / safe_name(to, labelled.video.video_id)
    write_mask(folder / f"{labelled.frame}.png", labelled.annotation.ids_HW)


def _write_picture(folder: Location, labelled: ImageLabels, picture_HW3: np.ndarray) -> None:
    name = safe_name(folder, labelled.video.video_id), safe_name(folder, f"{labelled.frame}.jpg")
    quality = [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY]
    jpeg = cv2.imencode(".jpg", picture_HW3[..., ::-1], quality)[1]
    write_bytes(folder.joinpath(*name), jpeg.tobytes())


def _cvat_labels(images: Sequence[ImageLabels]) -> list[Mapping[str, object]]:
    """What CVAT's page for a new task takes under "Raw": every object that is known, also where it is not
    seen, and the tag for frames without any."""
    labels = {(name, i) for image in images for i, name in image.video.object_names.items()}
    named = [{"name": label_of(*label), "type": "any"} for label in sorted(labels)]
    return [*named, {"name": NOTHING, "type": "tag"}]


def _table(needed: Sequence[NeededFrame]) -> str:
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, [field.name for field in fields(NeededFrame)])
    writer.writeheader()
    writer.writerows(asdict(frame) for frame in needed)
    return buffer.getvalue()
