"""The videos of an archive, frame by frame at their full rate: video files or folders of pictures."""

import contextlib
import io
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import av
import cv2
import numpy as np
from PIL import Image, UnidentifiedImageError

from model.errors import UserError
from pipelines.listing import VIDEO_SUFFIXES
from pipelines.s3 import StorageError
from pipelines.s3_path import S3Path
from pipelines.storage import Location, files_in, folders_in, local_file, size_bytes
from pipelines.video import open_video, read_frames

PICTURE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png"})
DEFAULT_FPS_HZ = 24.0
"""Assumed for folders of pictures, which carry no rate."""
_LISTINGS_AT_ONCE = 16


@dataclass(frozen=True)
class FootageFrame:
    """One frame of a video."""

    index: int
    name: str
    """The stem of a picture; the index of a frame of a file: 00000, 00001, ..."""
    time_s: float
    """Since the first frame."""
    picture_HW3: np.ndarray  # a shape
    """uint8 RGB [H, W, 3]."""


@dataclass(frozen=True)
class Footage:
    """One video of an archive."""

    video_id: str
    path: Location
    """A video file, or a folder of pictures."""
    bytes: int

    @property
    def is_file(self) -> bool:
        return self.path.is_file()

    def frames(self) -> Iterator[tuple[str, np.ndarray]]:
        """Name and picture of every frame, as `timed_frames`."""
        for frame in self.timed_frames():
            yield frame.name, frame.picture_HW3

    def timed_frames(self) -> Iterator[FootageFrame]:
        """Every frame in order. Raises `UserError` naming a file that cannot be read."""
        if self.is_file:
            with local_file(self.path) as file:
                for index, (time_s, picture_HW3) in enumerate(read_frames(file)):
                    yield FootageFrame(index, f"{index:05d}", time_s, picture_HW3)
            return
        for index, picture in enumerate(pictures_in(self.path)):
            picture_HW3 = _read_picture(picture)
            yield FootageFrame(index, picture.stem, index / DEFAULT_FPS_HZ, picture_HW3)

    @contextlib.contextmanager
    def here(self) -> Iterator["Footage"]:
        """The same video where it can be opened more than once: a file on S3 is copied for the body of
        the `with`, once. Raises `FileNotFoundError` and `StorageError`."""
        if isinstance(self.path, S3Path) and self.is_file:
            with local_file(self.path) as file:
                yield replace(self, path=file)
        else:
            yield self

    def frame_count(self) -> int:
        """As many frames as there seem to be: pictures, or what a file's header says, which may be
        wrong. 0 for one that cannot be opened."""
        try:
            if not self.is_file:
                return len(pictures_in(self.path))
            with open_video(self.path) as container:
                stream = container.streams.video[0]
                if stream.frames:
                    return stream.frames
                duration_s = float((stream.duration or 0) * (stream.time_base or 0))
                duration_s = duration_s or (container.duration or 0) / 1e6
                return round(duration_s * float(stream.average_rate or DEFAULT_FPS_HZ))
        except (av.error.FFmpegError, OSError, IndexError, StorageError):
            return 0

    def stems(self) -> list[str]:
        """Names of the frames of a folder of pictures, without reading them."""
        return [picture.stem for picture in pictures_in(self.path)]

    def first_frame(self) -> tuple[str, tuple[int, int]]:
        """Name and (height, width) in px of the first frame, without reading the rest."""
        if self.is_file:
            _, frame = next(read_frames(self.path))  # raises where there is none
            return "00000", (frame.shape[0], frame.shape[1])
        first = pictures_in(self.path)[0]
        try:
            with Image.open(io.BytesIO(first.read_bytes())) as image:
                return first.stem, (image.height, image.width)
        except (OSError, UnidentifiedImageError) as error:
            raise UserError(f"{first}: not a readable picture") from error

    def fps_hz(self) -> float:
        """Mean frame rate; `DEFAULT_FPS_HZ` for folders of pictures. Raises `UserError` naming a
        file that cannot be read."""
        if not self.is_file:
            return DEFAULT_FPS_HZ
        try:
            with open_video(self.path) as container:
                rate = container.streams.video[0].average_rate
        except (av.error.FFmpegError, OSError, IndexError) as error:
            raise UserError(f"{self.path}: not a readable video ({error})") from error
        return float(rate) if rate else DEFAULT_FPS_HZ


def footage_at(path: Location) -> Footage:
    """One video: a file, or a folder of pictures. Raises `UserError` where there is neither."""
    if path.is_file():
        return Footage(path.stem, path, size_bytes(path))
    if not path.is_dir():
        raise UserError(f"{path}: no such video")
    pictures = pictures_in(path)
    if not pictures:
        raise UserError(f"{path}: a folder without pictures, not one video")
    return Footage(path.name, path, sum(map(size_bytes, pictures)))


def find_footage(archive: Location) -> list[Footage]:
    """Videos of an archive, sorted by id.

    Understood: video files in the folder, and folders of pictures as VIDEO/frames/*.jpg,
    JPEGImages[/480p|/Full-Resolution]/VIDEO/*.jpg (DAVIS) or VIDEO/*.jpg. The id is the folder's name
    or the file's name without its suffix. Raises `UserError` when there is none or an id is there
    twice.
    """
    if not archive.is_dir():
        raise UserError(f"{archive}: no such folder")
    found = [
        Footage(file.stem, file, size_bytes(file))
        for file in files_in(archive).values()
        if file.suffix.lower() in VIDEO_SUFFIXES
    ]
    for folder, pictures in _picture_folders(archive):
        name = folder.parent.name if folder.name == "frames" else folder.name
        found.append(Footage(name, folder, sum(map(size_bytes, pictures))))
    if not found:
        raise UserError(f"{archive}: holds neither videos nor folders of pictures")
    by_id: dict[str, Footage] = {}
    for footage in found:
        other = by_id.setdefault(footage.video_id, footage)
        if other is not footage:
            raise UserError(f"{archive}: {other.path.name} and {footage.path.name} share an id")
    return [by_id[name] for name in sorted(by_id)]


def _read_picture(file: Location) -> np.ndarray:
    """uint8 RGB [H, W, 3]. Raises `UserError` naming the file."""
    content = np.frombuffer(file.read_bytes(), dtype=np.uint8)
    image = cv2.imdecode(content, cv2.IMREAD_COLOR) if content.size else None
    if image is None:
        raise UserError(f"{file}: not a readable picture")
    return np.ascontiguousarray(image[..., ::-1])


def _picture_folders(archive: Location) -> list[tuple[Location, list[Location]]]:
    """Folders that hold pictures, with these; several are listed at a time."""
    davis = archive / "JPEGImages"
    roots = [davis / "480p", davis / "Full-Resolution", davis, archive]
    for root in roots:
        if not root.is_dir():
            continue
        children = list(folders_in(root).values())
        with ThreadPoolExecutor(_LISTINGS_AT_ONCE) as pool:
            filled = [found for found in pool.map(_pictures_of, children) if found[1]]
        if filled:
            return filled
    return []


def _pictures_of(child: Location) -> tuple[Location, list[Location]]:
    inner = child / "frames"
    folder = inner if inner.is_dir() else child
    return folder, pictures_in(folder)


def pictures_in(folder: Location) -> list[Location]:
    """Pictures of a folder in the order of the numbers in their names (img2 before img10)."""
    found = [
        file
        for file in folder.iterdir()
        if file.suffix.lower() in PICTURE_SUFFIXES and not file.name.startswith(".")
    ]
    return sorted(found, key=_natural_order)


def _natural_order(path: Location) -> list[tuple[int, str]]:
    parts = re.split(r"(\d+)", path.stem)
    return [(int(part), "") if part.isdigit() else (-1, part) for part in parts]
