"""What there is to label: the videos of an archive paired with the frames that somebody annotated.

Which video has labels is known from listings; what stands in a video and its labels is looked at by the
worker that labels it, so that thousands of them are not opened one after the other.
"""

from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Literal

from model.errors import UserError
from model.propagation.annotations import Annotation, MaskAnnotation
from pipelines.footage import Footage, find_footage
from pipelines.label_state import label_states
from pipelines.labels.codec import Frame, LabelReader, WithoutFrames
from pipelines.labels.formats import open_labels
from pipelines.shards import VideoError
from pipelines.storage import Location

Direction = Literal["forwards", "both"]
_HEADERS_AT_ONCE = 16


@dataclass(frozen=True)
class LabelSource:
    """Where annotations lie and which of them are used; small enough to send to every worker."""

    place: Location
    format: str = "auto"
    """A name of `pipelines.labels.formats.FORMATS`, or `auto`."""
    anchors: Literal["first", "all"] = "first"
    """Whether the first annotated frame of a video is used, or every one."""
    direction: Direction = "forwards"
    without: frozenset[tuple[str, Frame]] = frozenset()
    """Frames that do not count, by video."""

    def open(self) -> LabelReader:
        """Raises `UserError` when there are no labels."""
        reader = open_labels(self.place, self.format)
        return WithoutFrames(reader, self.without) if self.without else reader


@dataclass(frozen=True)
class Plan:
    """What there is to do."""

    videos: list[Footage]
    """Those that have labels, by id."""
    errors: list[VideoError]
    """Videos without labels, and labels whose video is not there."""
    states: Mapping[str, str]
    """By video in which state its label files are (`pipelines/label_state.py`)."""

    @property
    def items(self) -> int:
        """All of both."""
        return len(self.videos) + len(self.errors)


class UnfitVideo(UserError):
    """Why a video cannot be labelled: kind and message of its row in `errors.parquet`."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


@dataclass(frozen=True)
class AnnotatedVideo:
    """A video and its annotated frames."""

    footage: Footage
    anchors: tuple[tuple[int, Frame], ...]
    """In order: the place in the video, and the name that the labels give it."""


def plan(archive: Location, labels: LabelSource) -> Plan:
    """Pair videos with labels by their names. Raises `UserError` when nothing pairs."""
    reader = labels.open()
    labelled = set(reader.videos())
    footage = find_footage(archive)
    where = str(labels.place)
    unknown = sorted(labelled - {item.video_id for item in footage})
    errors = [
        VideoError(name, where, "no_video", "labels for a video that is not there", 1)
        for name in unknown
        if _has_frames(reader, name)
    ]
    errors += [
        VideoError(item.video_id, str(item.path), "no_labels", "no labels for it", 1)
        for item in footage
        if item.video_id not in labelled
    ]
    videos = [item for item in footage if item.video_id in labelled]
    if not videos:
        raise UserError(f"{where}: no label belongs to a video in {archive}")
    return Plan(videos, errors, label_states(reader, [item.video_id for item in videos]))


def _has_frames(reader: LabelReader, name: str) -> bool:
    try:
        return bool(reader.frames(name))
    except UserError:  # damaged, and yet labels
        return True


def longest_first(videos: Iterable[Footage]) -> list[tuple[Footage, int]]:
    """Videos with the number of frames that their headers claim, the longest first, so that none is left
    to the end. Several are opened at a time."""
    items = list(videos)
    with ThreadPoolExecutor(_HEADERS_AT_ONCE) as pool:
        counts = list(pool.map(Footage.frame_count, items))
    return sorted(zip(items, counts, strict=True), key=lambda pair: -pair[1])


def annotated(footage: Footage, reader: LabelReader, labels: LabelSource) -> AnnotatedVideo:
    """Which annotated frames of a video are used.

    Raises:
        UnfitVideo: there are none, they are frames that the video does not have, or they do not begin
            where the video does and labels go forwards only.
    """
    found = reader.frames(footage.video_id)
    if not found:
        raise UnfitVideo("no_labels", "no annotated frame")
    places = anchor_places(footage, found)
    if labels.anchors == "first":
        places = places[:1]
    return AnnotatedVideo(footage, tuple(places))


def refuse_late_labels(anchors: Sequence[int], names: Sequence[str] | None) -> None:
    """Raise `UnfitVideo` unless the first of the anchors is the first frame; `names` are those of a folder
    of pictures."""
    if anchors[0] != 0:
        begin = names[anchors[0]] if names else f"{anchors[0]:05d}"
        raise UnfitVideo(
            "no_first_mask",
            f"its labels begin at {begin}, its frames at {names[0] if names else '00000'} "
            "(--direction both)",
        )


def annotated_videos(archive: Location, labels: LabelSource) -> list[AnnotatedVideo]:
    """The videos that can be labelled from their first frame on, every one looked at: for a few.

    Raises `UserError` naming the file for a mask whose size differs from its frame, and when there is no
    such video.
    """
    reader = labels.open()
    found = []
    for footage in plan(archive, labels).videos:
        try:
            video = annotated(footage, reader, labels)
            names = None if footage.is_file else footage.stems()
            refuse_late_labels([index for index, _ in video.anchors], names)
        except UnfitVideo:
            continue
        _, frame = video.anchors[0]
        annotation = reader.read(footage.video_id, frame)
        check_mask_size(annotation, footage.first_frame()[1], reader.where(footage.video_id, frame))
        found.append(video)
    if not found:
        raise UserError(f"{labels.place}: no label belongs to the first frame of a video")
    return found


def anchor_places(footage: Footage, annotated_frames: Sequence[Frame]) -> list[tuple[int, Frame]]:
    """Where in the video the annotated frames are; frames of a file are named by their index.

    Raises `UnfitVideo` for a frame that the video cannot have."""
    stems = None if footage.is_file else footage.stems()
    by_stem: Mapping[str, int] = {stem: index for index, stem in enumerate(stems or ())}
    places: list[tuple[int, Frame]] = []
    for frame in annotated_frames:
        if isinstance(frame, int):
            index: int | None = frame if stems is None or frame < len(stems) else None
        elif stems is None:
            index = int(frame) if frame.isdecimal() else None
        else:
            index = by_stem.get(frame)
        if index is None:
            raise UnfitVideo("no_frame", f"labels for a frame {frame!r} that it does not have")
        places.append((index, frame))
    return sorted(places, key=lambda place: place[0])


def check_mask_size(annotation: Annotation, size_hw: tuple[int, int], where: str) -> None:
    """Raises `UserError` naming where it stands for a mask of another size than the frames."""
    if isinstance(annotation, MaskAnnotation) and annotation.ids_HW.shape != size_hw:
        rows, columns = annotation.ids_HW.shape
        raise UserError(
            f"{where}: the mask is {columns}x{rows} px, its frame {size_hw[1]}x{size_hw[0]} px"
        )
