"""Boxes as lines of text: the MOT Challenge (many objects) and OTB (one).

MOT: `frame,id,left,top,width,height,confidence,...`, all counted from 1 (the box of the first pixel has
left = top = 1); a seventh value of 0 in ground truth says that the box does not count, and it is left out.
Detections have the id -1: each is an object of its own, and gets the number of its line. A frame without
lines has no objects, or is not annotated; the format does not tell, so it is no annotated frame here.

OTB: a line `x,y,width,height` for each frame, with commas, semicolons, tabs or spaces, and pixels counted
from 1. NaN four times, or a width or height of 0, means that the object (id 1) is not there.

Frames are named by their index.
"""

import configparser
import re
from collections.abc import Iterable

from model.errors import UserError
from model.propagation.annotations import Annotation, BoxAnnotation
from pipelines.labels.checks import (
    box,
    box_annotation,
    boxes_to_write,
    frame_number,
    integer,
    read_content,
    read_lines,
    size_hw,
)
from pipelines.labels.codec import (
    MAX_FRAMES,
    Frame,
    ParsedVideo,
    VideoInfo,
    frame_index,
    of_kind,
    safe_name,
    without_gaps,
)
from pipelines.storage import Location, write_text

SEQUENCE_INFO = "seqinfo.ini"
OBJECT = 1
"""The id of what OTB tracks."""
OTB_NAME = "groundtruth.txt"


def parse_mot(path: Location, video_id: str) -> ParsedVideo:
    """A file of MOT. `seqinfo.ini` of its folder or the one above tells size and length. Raises
    `UserError`."""
    frames: dict[Frame, dict[int, tuple[float, ...]]] = {}
    kinds: set[bool] = set()
    for number, (where, line) in enumerate(read_lines(path), start=1):
        values = line.split(",")
        if len(values) < 6:
            raise UserError(f"{where}: needs frame,id,left,top,width,height and more")
        frame = frame_number(where, values[0], first=1)
        detected = values[1].strip() in ("-1", "-1.0")
        kinds.add(detected)
        if len(kinds) > 1:
            raise UserError(f"{where}: detections (id -1) and objects in one file")
        object_id = number if detected else integer(where, "the id", values[1])
        left, top, width, height = box(where, values[2:6])
        if not detected and len(values) > 6 and values[6].strip() in ("0", "0.0"):
            continue
        boxes = frames.setdefault(frame, {})
        if object_id in boxes:
            raise UserError(f"{where}: object {object_id} is in frame {frame + 1} twice")
        boxes[object_id] = (left - 1, top - 1, width, height)
    info = sequence_info(path, video_id)
    ordered = tuple(sorted(frames, key=int))
    if info.frame_count is not None and ordered and int(ordered[-1]) >= info.frame_count:
        raise UserError(
            f"{path}: frame {int(ordered[-1]) + 1} of a video of {info.frame_count} frames"
        )
    return ParsedVideo(info, ordered, lambda frame: box_annotation(path, frames[frame]))


def sequence_info(path: Location, video_id: str) -> VideoInfo:
    """What `seqinfo.ini` in the folder of a label file, or the one above, says. Raises `UserError`."""
    candidates = [path.parent / SEQUENCE_INFO, path.parent.parent / SEQUENCE_INFO]
    found = next((candidate for candidate in candidates if candidate.is_file()), None)
    if found is None:
        return VideoInfo(video_id)
    parser = configparser.ConfigParser(interpolation=None)
    try:
        parser.read_string(read_content(found).decode())
        sequence = parser["Sequence"]
        height, width = sequence["imHeight"], sequence["imWidth"]
        length = sequence["seqLength"]
    except (UnicodeDecodeError, configparser.Error, KeyError) as error:
        raise UserError(f"{found}: not a readable description of a sequence ({error!r})") from error
    return VideoInfo(
        video_id,
        size_hw(found, height, width),
        integer(found, "seqLength", length, 0, MAX_FRAMES),
    )


def write_mot(root: Location, video: VideoInfo, frames: Iterable[tuple[Frame, Annotation]]) -> None:
    """`root/VIDEO.txt`, lines by frame and id."""
    path = root / f"{safe_name(root, video.video_id)}.txt"
    rows: list[tuple[int, int, tuple[float, ...]]] = []
    for frame, annotation in of_kind(path, BoxAnnotation, frames):
        where = f"{path}, frame {frame}"
        index = frame_index(where, frame)
        rows += [(index, i, xywh) for i, xywh in boxes_to_write(where, annotation).items()]
    if not rows:
        raise UserError(f"{path}: not one box to write")
    lines = [
        f"{index + 1},{object_id},{x + 1!r},{y + 1!r},{width!r},{height!r},1,-1,-1,-1\n"
        for index, object_id, (x, y, width, height) in sorted(rows)
    ]
    write_text(path, "".join(lines))


def parse_otb(path: Location, video_id: str) -> ParsedVideo:
    """A `groundtruth.txt`. Raises `UserError`."""
    boxes: dict[Frame, dict[int, tuple[float, ...]]] = {}
    for frame, (where, line) in enumerate(read_lines(path, blank=True)):
        values = [value for value in re.split(r"[,;\s]+", line) if value]
        if len(values) != 4:
            raise UserError(f"{where}: needs x, y, width, height")
        absent = all(value.lower() == "nan" for value in values) or any(
            re.fullmatch(r"0(\.0*)?", extent) for extent in values[2:]
        )
        boxes[frame] = {}
        if not absent:
            x, y, width, height = box(where, values)
            boxes[frame][OBJECT] = (x - 1, y - 1, width, height)
    return ParsedVideo(
        VideoInfo(video_id, None, len(boxes)),
        tuple(boxes),
        lambda frame: box_annotation(path, boxes[frame]),
    )


def write_otb(root: Location, video: VideoInfo, frames: Iterable[tuple[Frame, Annotation]]) -> None:
    """`root/VIDEO/groundtruth.txt`, for one object in every frame from 0 on; NaN where it is not."""
    path = root / safe_name(root, video.video_id) / OTB_NAME
    boxes: dict[int, dict[int, tuple[float, ...]]] = {}
    for frame, annotation in of_kind(path, BoxAnnotation, frames):
        where = f"{path}, frame {frame}"
        boxes[frame_index(where, frame)] = boxes_to_write(where, annotation)
    without_gaps(path, sorted(boxes))
    ids = sorted({object_id for found in boxes.values() for object_id in found})
    if len(ids) > 1:
        raise UserError(f"{path}: OTB holds one object, not {len(ids)} (mot holds more)")
    if ids and ids[0] != OBJECT:
        raise UserError(
            f"{path}: OTB names no ids, its object is {OBJECT}, not {ids[0]} (mot keeps ids)"
        )
    lines = []
    for frame in sorted(boxes):
        for x, y, width, height in boxes[frame].values():
            lines.append(f"{x + 1!r},{y + 1!r},{width!r},{height!r}\n")
        if not boxes[frame]:
            lines.append("NaN,NaN,NaN,NaN\n")
    write_text(path, "".join(lines))
