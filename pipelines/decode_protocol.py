"""What the decoding process and its parent say to each other."""

from dataclasses import dataclass
from typing import Literal

import numpy as np

DecoderName = Literal["auto", "pyav", "decord", "dummy"]


@dataclass(frozen=True)
class Request:
    """One video to read."""

    path: str
    decoder: DecoderName
    fps_hz: float
    size_px: int
    max_frames: int | None
    chunk_frames: int


Layout = Literal["rgb24", "yuv420p"]


def frame_shape(layout: Layout, size_px: int) -> tuple[int, ...]:
    """Shape of a frame in memory. yuv420p is Y above U above V (BT.601, 16 to 235), two rows of a
    chroma plane in one row of the array."""
    return (size_px, size_px, 3) if layout == "rgb24" else (size_px * 3 // 2, size_px)


@dataclass(frozen=True)
class RawChunk:
    """Some sampled frames in order, as the reader has them."""

    timestamps_s: list[float]
    """From the video's first frame."""
    layout: Layout
    frames: np.ndarray
    """uint8 [N, *frame_shape]."""


@dataclass(frozen=True)
class ChunkHeader:
    """A chunk that lies in the shared memory, in the given half of it."""

    timestamps_s: list[float]
    layout: Layout
    half: int


HALVES = 2
"""The child fills one half of the shared memory while its parent reads the other."""


class Unreadable(Exception):
    """The video cannot be decoded; `kind` is the word that `errors.parquet` uses."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


class NotOpened(Exception):
    """The reader cannot make out the file's container; another one may."""
