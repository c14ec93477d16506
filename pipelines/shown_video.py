"""One video at the size it is shown in, read as often as needed, and the film that is made of it."""

import contextlib
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import av
import cv2
import numpy as np

from model.errors import UserError
from pipelines.footage import Footage, pictures_in
from pipelines.storage import Location, write_bytes
from pipelines.video import open_video


@dataclass(frozen=True)
class ShownVideo:
    """Footage reduced to a height; smaller footage stays as it is."""

    footage: Footage
    height_px: int
    """Frames that are taller get this height, with their shape kept."""

    def __post_init__(self) -> None:
        if self.height_px < 1:
            raise UserError(f"a height of {self.height_px} px shows nothing")

    def frames(self) -> Iterator[np.ndarray]:
        """uint8 RGB [H, W, 3], in order. Raises `UserError` naming a file that cannot be read."""
        for _, frame in self.footage.frames():
            height, width = frame.shape[:2]
            if height > self.height_px:
                size = (max(1, round(width * self.height_px / height)), self.height_px)
                frame = cv2.resize(frame, size, interpolation=cv2.INTER_AREA)
            yield frame

    def about_frames(self) -> int:
        """Number of frames without decoding: a file's packets, which may be a few more or fewer."""
        if not self.footage.is_file:
            return len(pictures_in(self.footage.path))
        try:
            with open_video(self.footage.path) as container:
                return sum(1 for packet in container.demux(video=0) if packet.size)
        except (av.error.FFmpegError, OSError, IndexError) as error:
            raise UserError(f"{self.footage.path}: not a readable video ({error})") from error


@contextlib.contextmanager
def film_at(out: Location) -> Iterator[Path]:
    """A local path for a film; it becomes `out` when the body has ended well.

    Raises `UserError` for a name that does not end in `.mp4`.
    """
    if out.suffix.lower() != ".mp4":
        raise UserError(f"{out}: a film's name ends in .mp4")
    if isinstance(out, Path):
        out.parent.mkdir(parents=True, exist_ok=True)
        yield out
        return
    with tempfile.TemporaryDirectory() as folder:
        film = Path(folder) / "film.mp4"
        yield film
        write_bytes(out, film.read_bytes())
