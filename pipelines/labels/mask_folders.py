"""Folders of palette PNG masks as labels: DAVIS, and YouTube-VOS with its `meta.json`.

Frames are named by the stems of their files. The folder layouts are those of `layout`.
"""

import os
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from model.errors import UserError
from model.propagation.annotations import Annotation, MaskAnnotation
from pipelines.labels.checks import integer, mask_to_write, table
from pipelines.labels.codec import Frame, VideoInfo, frame_stem, of_kind, safe_name
from pipelines.labels.davis import encode_mask, read_mask
from pipelines.labels.layout import mask_files
from pipelines.storage import (
    Location,
    files_in,
    read_json,
    remove_files,
    remove_folder,
    write_bytes,
    write_json,
)

META = "meta.json"
VOID = 255


@dataclass(frozen=True)
class Objects:
    """What `meta.json` says of a video: categories and first frames by object id."""

    names: Mapping[int, str]
    first_frames: Mapping[int, str]


class MaskFolders:
    """A reader. All masks of a video must have the size of its first one."""

    def __init__(self, root: Location, objects: Mapping[str, Objects] | None = None) -> None:
        """`objects` by video, where a `meta.json` lists them: ids that it does not list are refused.
        Raises `UserError` when no mask is there."""
        self._root = root
        self._files = mask_files(root)
        self._objects = objects
        self._size_of: tuple[str, tuple[int, int]] | None = None

    def videos(self) -> tuple[str, ...]:
        return tuple(sorted(self._files))

    def info(self, video_id: str) -> VideoInfo:
        listed = self._listed(video_id)
        size_hw = self._size_hw(video_id) if self._masks(video_id) else None
        if listed is None:
            return VideoInfo(video_id, size_hw)
        return VideoInfo(
            video_id, size_hw, object_names=listed.names, first_frames=listed.first_frames
        )

    def frames(self, video_id: str) -> tuple[Frame, ...]:
        return tuple(self._masks(video_id))

    def read(self, video_id: str, frame: Frame) -> MaskAnnotation:
        masks = self._masks(video_id)
        if frame not in masks:
            raise UserError(f"{self._root}: frame {frame!r} of {video_id} is not annotated")
        path = masks[str(frame)]
        ids_HW = read_mask(path)
        expected = self._size_hw(video_id)
        if ids_HW.shape != expected:
            raise UserError(
                f"{path}: {ids_HW.shape[1]}x{ids_HW.shape[0]} px, the first mask of {video_id} has "
                f"{expected[1]}x{expected[0]} px"
            )
        listed = self._listed(video_id)
        if listed is not None:
            unknown = set(np.unique(ids_HW).tolist()) - {0, VOID} - set(listed.first_frames)
            if unknown:
                raise UserError(f"{path}: {META} lists no object {min(unknown)} of {video_id}")
        # YouTube-VOS annotates an object in the frame in which it appears, without the others.
        return MaskAnnotation(ids_HW, complete=self._objects is None)

    def where(self, video_id: str, frame: Frame) -> str:
        return str(self._masks(video_id).get(str(frame), self._root))

    def files(self, video_id: str) -> tuple[Location, ...]:
        masks = tuple(self._masks(video_id).values())
        return masks if self._objects is None else (*masks, self._root / META)

    def _masks(self, video_id: str) -> Mapping[str, Location]:
        if video_id not in self._files:
            raise UserError(f"{self._root}: no masks for a video {video_id!r}")
        return self._files[video_id]

    def _listed(self, video_id: str) -> Objects | None:
        self._masks(video_id)
        if self._objects is None:
            return None
        if video_id not in self._objects:
            raise UserError(f"{self._root / META}: does not list {video_id}")
        return self._objects[video_id]

    def _size_hw(self, video_id: str) -> tuple[int, int]:
        if self._size_of is None or self._size_of[0] != video_id:
            first = read_mask(next(iter(self._masks(video_id).values())))
            self._size_of = (video_id, (first.shape[0], first.shape[1]))
        return self._size_of[1]


def is_youtube_vos(root: Location) -> bool:
    """Whether a `meta.json` of YouTube-VOS lies in the folder."""
    path = root / META
    if not path.is_file():
        return False
    document = read_json(path)
    return isinstance(document, dict) and isinstance(document.get("videos"), dict)


def open_youtube_vos(root: Location) -> MaskFolders:
    """Raises `UserError` when `meta.json` is missing or damaged, or there is no mask.

    Videos of `meta.json` without masks do not count: often only a part of the data is at hand.
    """
    path = root / META
    videos = table(path, "'videos'", table(path, "the file", read_json(path)).get("videos"))
    return MaskFolders(root, {name: _objects(path, name, value) for name, value in videos.items()})


def _objects(path: Location, video_id: str, value: object) -> Objects:
    where = f"{path}, {video_id}"
    names: dict[int, str] = {}
    first_frames: dict[int, str] = {}
    listed = table(where, "'objects'", table(where, "a video", value).get("objects"))
    for text, entry in listed.items():
        object_id = integer(where, "an object's id", text, 1, VOID)
        seen = table(where, f"object {text}", entry).get("frames")
        if not isinstance(seen, list) or not seen or not all(isinstance(s, str) for s in seen):
            raise UserError(f"{where}: object {text} has no frames")
        first_frames[object_id] = seen[0]
        if isinstance(entry.get("category"), str):
            names[object_id] = entry["category"]
    return Objects(names, first_frames)


def palette_keeps(ids: Collection[int]) -> bool:
    """Whether objects of these ids can be the pixels of masks without one being taken for void: 255 is, but
    where it is alone, as in the masks of DAVIS-2016."""
    return set(ids) == {VOID} or all(i < VOID for i in ids)


def write_davis(
    root: Location, video: VideoInfo, frames: Iterable[tuple[Frame, Annotation]]
) -> None:
    """`root/VIDEO/STEM.png`, in place of what was there.

    On this machine the folder appears at once. On S3 the objects come when all of them are encoded, and
    none is left when one fails; a process that is killed meanwhile leaves a part. Raises `UserError` for
    objects of which `palette_keeps` says no.
    """
    folder = root / safe_name(root, video.video_id)
    frames = _without_void(folder, frames)
    if isinstance(folder, Path):
        _write_local(folder, video, frames)
    else:
        _write_objects(folder, video, frames)


def write_youtube_vos(
    root: Location, video: VideoInfo, frames: Iterable[tuple[Frame, Annotation]]
) -> None:
    """The same; an object 255 is refused also where it is alone, for `meta.json` could not list it."""
    write_davis(root, video, _without_void(root / video.video_id, frames, alone=False))


def _without_void(
    folder: Location, frames: Iterable[tuple[Frame, Annotation]], *, alone: bool = True
) -> Iterator[tuple[Frame, Annotation]]:
    """The frames; raises `UserError` for pixels that would be void. `alone`: but where all objects are."""
    void = others = False
    for frame, annotation in frames:
        if isinstance(annotation, MaskAnnotation):
            void |= bool((annotation.ids_HW == VOID).any())
            others |= not alone or bool((annotation.ids_HW % VOID).any())
        if void and others:
            raise UserError(
                f"{folder}, frame {frame}: ids go to {VOID - 1}, since {VOID} is void in this format"
                f"{' beside other objects' if alone else ''} (coco-video holds any)"
            )
        yield frame, annotation


def _write_local(
    folder: Path, video: VideoInfo, frames: Iterable[tuple[Frame, Annotation]]
) -> None:
    partial = folder.with_name(f".{folder.name}.{os.getpid()}.partial")
    replaced = folder.with_name(f".{folder.name}.{os.getpid()}.replaced")
    remove_folder(partial)
    try:
        for name, content in _encoded(folder, video, frames):
            write_bytes(partial / name, content)
        if folder.exists():
            folder.rename(replaced)
        partial.rename(folder)
    finally:
        remove_folder(partial)
        remove_folder(replaced)


def _write_objects(
    folder: Location, video: VideoInfo, frames: Iterable[tuple[Frame, Annotation]]
) -> None:
    encoded = dict(_encoded(folder, video, frames))
    try:
        for name, content in encoded.items():
            write_bytes(folder / name, content)
    except BaseException:
        remove_files(list(files_in(folder).values()))
        raise
    remove_files([path for name, path in files_in(folder).items() if name not in encoded])


def _encoded(
    folder: Location, video: VideoInfo, frames: Iterable[tuple[Frame, Annotation]]
) -> Iterable[tuple[str, bytes]]:
    size_hw = video.size_hw
    for frame, annotation in of_kind(folder, MaskAnnotation, frames):
        name = f"{safe_name(folder, frame_stem(frame))}.png"
        ids_HW = mask_to_write(folder / name, annotation, size_hw)
        size_hw = (ids_HW.shape[0], ids_HW.shape[1])
        yield name, encode_mask(folder / name, ids_HW)


@dataclass(frozen=True)
class SeenObject:
    """What `meta.json` is to say of an object."""

    category: str
    frames: Sequence[str]
    """Where it is seen, in order."""


UNNAMED = "object"
"""The category of an object that has none."""


def write_meta(root: Location, videos: Mapping[str, Mapping[int, SeenObject]]) -> None:
    """`root/meta.json` of YouTube-VOS, of the objects by video and id.

    Workers write their videos side by side with `write_davis`; this comes once, after all of them.
    """
    document = {
        video_id: {
            "objects": {
                str(i): {"category": seen[i].category, "frames": list(seen[i].frames)}
                for i in sorted(seen)
            }
        }
        for video_id, seen in sorted(videos.items())
    }
    write_json(root / META, {"videos": document})


def seen_in_masks(
    root: Location, names: Mapping[str, Mapping[int, str]]
) -> dict[str, dict[int, SeenObject]]:
    """The objects of all masks below `root`. `names` are the categories by video and object."""
    reader = MaskFolders(root)
    videos = {}
    for video_id in reader.videos():
        frames: dict[int, list[str]] = {}
        for frame in reader.frames(video_id):
            for object_id in np.unique(reader.read(video_id, frame).ids_HW).tolist():
                if object_id not in (0, VOID):
                    frames.setdefault(object_id, []).append(str(frame))
        known = names.get(video_id, {})
        videos[video_id] = {i: SeenObject(known.get(i, UNNAMED), f) for i, f in frames.items()}
    return videos
