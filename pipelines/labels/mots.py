"""Masks as lines of text: MOTS, `frame id class height width runs` with COCO's compressed runs.

An id is usually 1000 x class + number. Class 1 is a car, 2 a pedestrian, 10 a region that does not count
and is left out. Masks may not overlap. Frames are named by their index: the MOTS Challenge counts them
from 1, KITTI MOTS from 0, and a file does not say which, so they are two formats.
A frame without lines has no objects, or is not annotated; it is no annotated frame here.
"""

from collections.abc import Iterable
from functools import partial

import numpy as np

from model.errors import UserError
from model.propagation.annotations import Annotation, MaskAnnotation
from pipelines.labels.checks import frame_number, integer, mask_to_write, read_lines, size_hw
from pipelines.labels.codec import (
    Frame,
    ParsedVideo,
    VideoInfo,
    frame_index,
    of_kind,
    safe_name,
)
from pipelines.labels.mot import sequence_info
from pipelines.labels.rle import decode_runs, encode_runs, paint
from pipelines.storage import Location, write_text

CLASSES = {1: "car", 2: "pedestrian"}
IGNORED = 10
CHALLENGE_FIRST, KITTI_FIRST = 1, 0
"""The number of the first frame."""


def parse_mots(path: Location, video_id: str, first: int) -> ParsedVideo:
    """A file of MOTS whose frames are counted from `first`. Runs are checked when they are read.
    Raises `UserError`."""
    frames: dict[Frame, dict[int, str]] = {}
    size: tuple[int, int] | None = None
    names: dict[int, str] = {}
    for where, line in read_lines(path):
        values = line.split()
        if len(values) != 6:
            raise UserError(f"{where}: needs frame id class height width runs")
        if first == CHALLENGE_FIRST and values[0] == "0":
            raise UserError(f"{where}: frames counted from 0; this is the format kitti-mots")
        frame = frame_number(where, values[0], first)
        object_id = integer(where, "the id", values[1], 1)
        kind = integer(where, "the class", values[2])
        line_size = size_hw(where, values[3], values[4])
        if size not in (None, line_size):
            raise UserError(f"{where}: a mask of another size than those before it")
        size = line_size
        if kind == IGNORED:
            continue
        if object_id in frames.setdefault(frame, {}):
            raise UserError(f"{where}: object {object_id} is in the frame twice")
        frames[frame][object_id] = values[5]
        if kind in CLASSES:
            names[object_id] = CLASSES[kind]

    def read(frame: Frame) -> MaskAnnotation:
        assert size is not None  # a frame has a line
        found = frames[frame]
        where = f"{path}, frame {int(frame) + first}"
        masks = [
            (object_id, decode_runs(f"{where}, object {object_id}", size, runs))
            for object_id, runs in found.items()
        ]
        return paint(where, size, masks, "refuse")

    info = VideoInfo(video_id, size, sequence_info(path, video_id).frame_count, names)
    return ParsedVideo(info, tuple(sorted(frames, key=int)), read)


parse_mots_challenge = partial(parse_mots, first=CHALLENGE_FIRST)
parse_kitti_mots = partial(parse_mots, first=KITTI_FIRST)


def _write(
    root: Location, video: VideoInfo, frames: Iterable[tuple[Frame, Annotation]], first: int
) -> None:
    path = root / f"{safe_name(root, video.video_id)}.txt"
    classes = {name: kind for kind, name in CLASSES.items()}
    size = video.size_hw
    lines: dict[int, list[str]] = {}
    for frame, annotation in of_kind(path, MaskAnnotation, frames):
        where = f"{path}, frame {frame}"
        ids_HW = mask_to_write(where, annotation, size)
        size = (ids_HW.shape[0], ids_HW.shape[1])
        index = frame_index(where, frame)
        lines[index] = []
        for object_id in np.unique(ids_HW).tolist():
            if not object_id:
                continue
            name = video.object_names.get(object_id, "pedestrian")
            if name not in classes:
                raise UserError(f"{where}: MOTS has no class {name!r}, only car and pedestrian")
            runs = encode_runs(ids_HW == object_id)
            lines[index].append(
                f"{index + first} {object_id} {classes[name]} {size[0]} {size[1]} {runs}\n"
            )
    text = "".join(line for index in sorted(lines) for line in lines[index])
    if not text:
        raise UserError(f"{path}: not one mask to write")
    write_text(path, text)


def write_mots(
    root: Location, video: VideoInfo, frames: Iterable[tuple[Frame, Annotation]]
) -> None:
    """`root/VIDEO.txt` with frames from 1 on. What has no category is a pedestrian."""
    _write(root, video, frames, CHALLENGE_FIRST)


def write_kitti_mots(
    root: Location, video: VideoInfo, frames: Iterable[tuple[Frame, Annotation]]
) -> None:
    """`root/VIDEO.txt` with frames from 0 on. What has no category is a pedestrian."""
    _write(root, video, frames, KITTI_FIRST)
