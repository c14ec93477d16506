"""Random changes of training clips: the same for all frames of a clip, and for its targets alike.

Shape suffixes: B clips, T frames, H, W pixels, h cells along a side (frames are square).
"""

import math
from dataclasses import dataclass

import cv2
import numpy as np

from model.errors import UserError
from pipelines.targets import CELL_PX


@dataclass(frozen=True)
class AugmentConfig:
    """Random changes of training clips (the paper makes none; validation clips have none)."""

    flip: float = 0.0
    """Probability that a clip is mirrored left to right."""
    crop: float = 1.0
    """Smallest side of the square, on whole cells, that is cut out of the stored frame and scaled to
    what the network sees, as a share of the frame's side; 1 cuts nothing."""
    brightness: float = 0.0
    """Largest shift of the grey values, up or down, as a share of their range."""
    contrast: float = 0.0
    """Largest change of the differences from middle grey, as a share of them."""

    def __post_init__(self) -> None:
        for name in ("flip", "brightness", "contrast"):
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise UserError(f"augment.{name} must lie in 0..1, not {getattr(self, name)}")
        if not 0.0 < self.crop <= 1.0:
            raise UserError(f"augment.crop must lie in 0..1, without 0, not {self.crop}")

    @property
    def moves_cells(self) -> bool:
        """Whether targets change as well."""
        return self.flip > 0.0 or self.crop < 1.0


@dataclass(frozen=True)
class Augmentation:
    """The changes that were drawn for one clip."""

    flipped: bool
    top: int
    """First row of the square that is kept, in cells."""
    left: int
    side: int
    """Side of that square, in cells."""
    shift: float
    """Added to grey values (0..255)."""
    gain: float
    """Factor of the differences from middle grey."""

    def cells(self, cells: int) -> np.ndarray:
        """Row and column of the unchanged clip that each row and column of cells shows, [2, h].

        The source cell is the one under the new cell's centre.
        """
        centres = ((np.arange(cells) + 0.5) * self.side / cells).astype(np.int64)
        columns = self.left + centres
        return np.stack((self.top + centres, columns[::-1] if self.flipped else columns))

    def __call__(self, frame_HW: np.ndarray, size_px: int) -> np.ndarray:
        """The frame changed, uint8 [size_px, size_px]."""
        top, left, side = (CELL_PX * n for n in (self.top, self.left, self.side))
        if side != len(frame_HW) or side != size_px:
            square = frame_HW[top : top + side, left : left + side]
            smaller = cv2.INTER_AREA if side > size_px else cv2.INTER_LINEAR
            frame_HW = cv2.resize(square, (size_px, size_px), interpolation=smaller)
        if self.flipped:
            frame_HW = cv2.flip(frame_HW, 1)
        if self.shift or self.gain != 1.0:
            values = (np.arange(256) - 127.5) * self.gain + 127.5 + self.shift
            frame_HW = cv2.LUT(frame_HW, values.round().clip(0, 255).astype(np.uint8))
        return frame_HW


def draw_augmentation(
    config: AugmentConfig, cells: int, random: np.random.Generator
) -> Augmentation:
    """Changes for one clip of `cells` x `cells`."""
    flipped = bool(random.random() < config.flip)
    side = int(random.integers(math.ceil(config.crop * cells), cells, endpoint=True))
    top, left = (int(n) for n in random.integers(0, cells - side, size=2, endpoint=True))
    shift = 255.0 * random.uniform(-config.brightness, config.brightness)
    gain = 1.0 + random.uniform(-config.contrast, config.contrast)
    return Augmentation(flipped, top, left, side, shift, gain)
