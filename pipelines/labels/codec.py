"""What all label formats offer, whatever their files look like.

A *reader* names its videos, the annotated frames of each and what stands in a frame; only the frame that
is asked for is decoded. A *writer* (a plain function, `Write`) puts one video below a folder, whole or not
at all, so that the workers of an archive write side by side.

A frame is named as the format does: by the stem of its file (`str`), or by its index in the video, from 0
on (`int`).

Shape suffixes: H W rows and columns of pixels.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Protocol, TypeVar

from model.errors import UserError
from model.propagation.annotations import Annotation
from pipelines.storage import Location

Frame = str | int
"""The stem of a frame's file, or the frame's index in the video, from 0 on."""

MAX_FRAMES = 1 << 22
"""More than a day of video at 30 frames a second; a higher index is an error in the file."""

AnyAnnotation = TypeVar("AnyAnnotation", bound=Annotation)


@dataclass(frozen=True)
class VideoInfo:
    """What a label file says of a video as a whole; a writer puts down what its format has room for."""

    video_id: str
    size_hw: tuple[int, int] | None = None
    """Rows and columns of a frame."""
    frame_count: int | None = None
    object_names: Mapping[int, str] = field(default_factory=dict)
    """The category of an object by its id."""
    first_frames: Mapping[int, Frame] = field(default_factory=dict)
    """Where an object is first seen, by its id: YouTube-VOS says it."""
    joint_names: tuple[str, ...] = ()
    query_frames: Mapping[int, int] = field(default_factory=dict)
    """Where a tracker is given a point, by its id: TAP-Vid says it."""


class LabelReader(Protocol):
    """Labels that lie somewhere. Every method raises `UserError` naming the file at fault."""

    def videos(self) -> tuple[str, ...]:
        """Ids in string order."""

    def info(self, video_id: str) -> VideoInfo: ...

    def frames(self, video_id: str) -> tuple[Frame, ...]:
        """The annotated frames, in the order of the video; none for a video of no length."""

    def read(self, video_id: str, frame: Frame) -> Annotation: ...

    def where(self, video_id: str, frame: Frame) -> str:
        """The file in which a frame stands, and the place in it, for messages."""

    def files(self, video_id: str) -> tuple[Location, ...]:
        """What its labels stand in, be it with those of other videos."""


Write = Callable[[Location, VideoInfo, Iterable[tuple[Frame, Annotation]]], None]
"""Write the labels of one video below a folder, whole or not at all.

Raises `UserError` for what the format cannot hold, and for a video without frames.
"""


@dataclass(frozen=True)
class ParsedVideo:
    """A video of a file that was parsed."""

    info: VideoInfo
    frames: tuple[Frame, ...]
    read: Callable[[Frame], Annotation]
    """Raises `KeyError` for another frame, and `UserError`."""


class ParsedLabels:
    """A reader over one file, which may hold many videos. Masks stay encoded until they are read."""

    def __init__(self, source: Location, videos: Mapping[str, ParsedVideo]) -> None:
        self._source = source
        self._videos = {name: videos[name] for name in sorted(videos)}

    def videos(self) -> tuple[str, ...]:
        return tuple(self._videos)

    def info(self, video_id: str) -> VideoInfo:
        return self._video(video_id).info

    def frames(self, video_id: str) -> tuple[Frame, ...]:
        return self._video(video_id).frames

    def read(self, video_id: str, frame: Frame) -> Annotation:
        return read_parsed(self._source, self._video(video_id), frame)

    def where(self, video_id: str, frame: Frame) -> str:
        return f"{self._source}, {video_id}, frame {frame_stem(frame)}"

    def files(self, video_id: str) -> tuple[Location, ...]:
        return (self._source,)

    def _video(self, video_id: str) -> ParsedVideo:
        if video_id not in self._videos:
            raise UserError(f"{self._source}: no labels for a video {video_id!r}")
        return self._videos[video_id]


class FolderLabels:
    """A reader over a folder with a file for each video, parsed when it is asked for.

    The last file is kept, so that frames read one after another cost one parse.
    """

    def __init__(
        self,
        folder: Location,
        files: Mapping[str, Location],
        parse: Callable[[Location, str], ParsedVideo],
    ) -> None:
        self._folder = folder
        self._files = {name: files[name] for name in sorted(files)}
        self._parse = parse
        self._last: tuple[str, ParsedVideo] | None = None

    def videos(self) -> tuple[str, ...]:
        return tuple(self._files)

    def info(self, video_id: str) -> VideoInfo:
        return self._video(video_id).info

    def frames(self, video_id: str) -> tuple[Frame, ...]:
        return self._video(video_id).frames

    def read(self, video_id: str, frame: Frame) -> Annotation:
        video = self._video(video_id)
        return read_parsed(self._files[video_id], video, frame)

    def where(self, video_id: str, frame: Frame) -> str:
        return f"{self._files.get(video_id, self._folder)}, frame {frame_stem(frame)}"

    def files(self, video_id: str) -> tuple[Location, ...]:
        return (self._files[video_id],)

    def _video(self, video_id: str) -> ParsedVideo:
        if self._last is None or self._last[0] != video_id:
            if video_id not in self._files:
                raise UserError(f"{self._folder}: no labels for a video {video_id!r}")
            self._last = (video_id, self._parse(self._files[video_id], video_id))
        return self._last[1]


class WithoutFrames:
    """A reader that passes over some frames of another, and videos of which no frame is left."""

    def __init__(self, reader: LabelReader, frames: Set[tuple[str, Frame]]) -> None:
        self._reader = reader
        self._without = frames
        touched = {video_id for video_id, _ in frames}
        self._videos = tuple(
            name for name in reader.videos() if name not in touched or self.frames(name)
        )

    def videos(self) -> tuple[str, ...]:
        return self._videos

    def info(self, video_id: str) -> VideoInfo:
        return self._reader.info(video_id)

    def frames(self, video_id: str) -> tuple[Frame, ...]:
        frames = self._reader.frames(video_id)
        return tuple(frame for frame in frames if (video_id, frame) not in self._without)

    def read(self, video_id: str, frame: Frame) -> Annotation:
        return self._reader.read(video_id, frame)

    def where(self, video_id: str, frame: Frame) -> str:
        return self._reader.where(video_id, frame)

    def files(self, video_id: str) -> tuple[Location, ...]:
        return self._reader.files(video_id)


def read_parsed(source: Location, video: ParsedVideo, frame: Frame) -> Annotation:
    """A frame of a parsed video. Raises `UserError` when it is not annotated."""
    try:
        return video.read(frame)
    except KeyError:
        raise UserError(
            f"{source}: frame {frame!r} of {video.info.video_id} is not annotated"
        ) from None


def only_video(path: Location, videos: Mapping[str, ParsedVideo], video_id: str) -> ParsedVideo:
    """The one video of a file that is named after it. Raises `UserError` when it holds another."""
    if set(videos) != {video_id}:
        raise UserError(
            f"{path}: in a folder of labels it must hold the video {video_id} and no other"
        )
    return videos[video_id]


def safe_name(where: object, name: str) -> str:
    """The name of a video, which becomes the name of a file. Raises `UserError` when it would leave its
    folder, or be hidden in it."""
    if not name or name.startswith(".") or "\0" in name or PurePosixPath(name).name != name:
        raise UserError(f"{where}: {name!r} cannot be the name of a video")
    return name


def frame_stem(frame: Frame) -> str:
    """The stem of a frame's file: an index becomes five digits, as DAVIS counts."""
    return f"{frame:05d}" if isinstance(frame, int) else frame


def frame_index(where: object, frame: Frame) -> int:
    """Raises `UserError` for a stem: which frame of the video it is, its name does not tell."""
    if not isinstance(frame, int) or not 0 <= frame < MAX_FRAMES:
        raise UserError(f"{where}: frames of this format are indices from 0 on, not {frame!r}")
    return frame


def of_kind(
    where: object, kind: type[AnyAnnotation], frames: Iterable[tuple[Frame, Annotation]]
) -> Iterator[tuple[Frame, AnyAnnotation]]:
    """The frames of `once`. Raises `UserError` for another kind of label as well."""
    for frame, annotation in once(where, frames):
        if not isinstance(annotation, kind):
            raise UserError(
                f"{where}: this format does not hold a {type(annotation).__name__}, "
                f"only a {kind.__name__}"
            )
        yield frame, annotation


def once(
    where: object, frames: Iterable[tuple[Frame, Annotation]]
) -> Iterator[tuple[Frame, Annotation]]:
    """The frames as they come. Raises `UserError` when one is there twice, or there is none."""
    seen: set[str] = set()
    for frame, annotation in frames:
        if frame_stem(frame) in seen:
            raise UserError(f"{where}: frame {frame!r} is there twice")
        seen.add(frame_stem(frame))
        yield frame, annotation
    if not seen:
        raise UserError(f"{where}: no frames to write")


def without_gaps(where: object, frames: Sequence[int]) -> None:
    """Raise `UserError` unless the frames are 0, 1, 2 ...: the format has a place for every one."""
    for expected, frame in enumerate(frames):
        if frame != expected:
            raise UserError(f"{where}: needs every frame from 0 on, and {expected} is not there")
