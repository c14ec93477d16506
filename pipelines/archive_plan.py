"""What there is to label: the videos of an archive paired with the frames that somebody annotated."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from model.errors import UserError
from model.propagation.annotations import Annotation, MaskAnnotation
from pipelines.footage import Footage, find_footage
from pipelines.labels.codec import Frame, LabelReader, frame_stem
from pipelines.labels.formats import open_labels
from pipelines.shards import VideoError
from pipelines.storage import Location

Direction = Literal["forwards", "both"]


@dataclass(frozen=True)
class LabelSource:
    """Where annotations lie and which of them are used; small enough to send to every worker."""

    place: Location
    format: str = "auto"
    """A name of `pipelines.labels.formats.FORMATS`, or `auto`."""
    anchors: Literal["first", "all"] = "first"
    """Whether the first annotated frame of a video is used, or every one."""
    direction: Direction = "forwards"

    def open(self) -> LabelReader:
        """Raises `UserError` when there are no labels."""
        return open_labels(self.place, self.format)


@dataclass(frozen=True)
class PropagationTask:
    """One video to label."""

    footage: Footage
    anchors: tuple[tuple[int, Frame], ...]
    """Annotated frames in order: the place in the video, and the name that the labels give it."""

    def annotations(self, reader: LabelReader) -> dict[int, tuple[Annotation, ...]]:
        """Those of the anchors, by the place in the video. Raises `UserError` for damaged ones."""
        video_id = self.footage.video_id
        return {index: (reader.read(video_id, frame),) for index, frame in self.anchors}


@dataclass(frozen=True)
class Plan:
    """What there is to do."""

    tasks: list[PropagationTask]
    errors: list[VideoError]
    """Videos that cannot be labelled, and labels whose video is not there."""
    items: int
    """All of both."""


class _Unfit(Exception):
    """Why a video cannot be labelled: kind and message of its row in `errors.parquet`."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


def plan(archive: Location, labels: LabelSource) -> Plan:
    """Pair videos with their annotated frames.

    A video without labels, labels without a video, and labels of frames that the video does not have are
    error rows. Raises `UserError` naming the file for a mask whose size differs from its frame, and when
    nothing pairs.
    """
    reader = labels.open()
    labelled = set(reader.videos())
    footage = {item.video_id: item for item in find_footage(archive)}
    where = str(labels.place)
    errors = [
        VideoError(name, where, "no_video", "labels for a video that is not there", 1)
        for name in sorted(labelled - footage.keys())
        if reader.frames(name)
    ]
    tasks: list[PropagationTask] = []
    for name, item in footage.items():
        try:
            if name not in labelled:
                raise _Unfit("no_labels", "no labels for it")
            tasks.append(_task(item, reader, labels))
        except _Unfit as error:
            errors.append(VideoError(name, str(item.path), error.kind, str(error), 1))
    if not tasks:
        kind = "the first frame of a video" if labels.direction == "forwards" else "a video"
        raise UserError(f"{where}: no label belongs to {kind} in {archive}")
    return Plan(tasks, errors, len(tasks) + len(errors))


def _task(item: Footage, reader: LabelReader, labels: LabelSource) -> PropagationTask:
    annotated = reader.frames(item.video_id)
    if not annotated:
        raise _Unfit("no_labels", "no annotated frame")
    try:
        first, size_hw = item.first_frame()
        places = None if item.is_file else item.stems()
    except UserError as error:
        raise _Unfit("unreadable", str(error)) from error
    anchors = _places(annotated, places)
    if labels.anchors == "first":
        anchors = anchors[:1]
    if labels.direction == "forwards" and anchors[0][0] != 0:
        begin = frame_stem(anchors[0][1])
        raise _Unfit(
            "no_first_mask",
            f"its labels begin at {begin}, its frames at {first} (--direction both)",
        )
    annotation = reader.read(item.video_id, anchors[0][1])
    if isinstance(annotation, MaskAnnotation) and annotation.ids_HW.shape != size_hw:
        height, width = annotation.ids_HW.shape
        stem = frame_stem(anchors[0][1])
        raise UserError(
            f"{labels.place}: {item.video_id}, frame {stem}: {width}x{height} px, "
            f"its frame in {item.path} is {size_hw[1]}x{size_hw[0]} px"
        )
    return PropagationTask(item, tuple(anchors))


def _places(annotated: Sequence[Frame], stems: Sequence[str] | None) -> list[tuple[int, Frame]]:
    """Where in the video the annotated frames are; frames of a file are named by their index."""
    by_stem: Mapping[str, int] = {stem: index for index, stem in enumerate(stems or ())}
    places: list[tuple[int, Frame]] = []
    for frame in annotated:
        if isinstance(frame, int):
            index: int | None = frame if stems is None or frame < len(stems) else None
        elif stems is None:
            index = int(frame) if frame.isdecimal() else None
        else:
            index = by_stem.get(frame)
        if index is None:
            raise _Unfit("no_frame", f"labels for a frame {frame!r} that it does not have")
        places.append((index, frame))
    return sorted(places, key=lambda place: place[0])
