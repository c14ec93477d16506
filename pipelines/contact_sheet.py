"""A video in one picture: a strip of small frames at regular times, and where flags are raised.

The length of the video need not be known beforehand, and memory is that of a few small frames.
"""

import cv2
import numpy as np

PICTURE_HW = (90, 160)
"""Of a frame in the strip, in px; the page knows its width."""
REGULAR, FLAGGED = 6, 3
"""Frames at regular times; frames at which stretches with a flag begin."""
FLAG_RGB = (240, 160, 60)
_JPEG_QUALITY = 78


class ContactSheet:
    """Takes every frame of a video in order, and makes the strip of some of them."""

    def __init__(self) -> None:
        self._count = 0
        self._every = 1
        self._regular: dict[int, np.ndarray] = {}
        self._flagged: dict[int, np.ndarray] = {}
        self._flag_before = False

    def add(self, picture_HW3: np.ndarray, flagged: bool = False) -> None:
        """The next frame as it is to be seen, uint8 RGB [H, W, 3], and whether an object is flagged in it."""
        if self._count % self._every == 0:
            if len(self._regular) == 2 * REGULAR:
                self._every *= 2
                self._regular = {i: p for i, p in self._regular.items() if i % self._every == 0}
            if self._count % self._every == 0:
                self._regular[self._count] = _small(picture_HW3)
        if flagged and not self._flag_before and len(self._flagged) < FLAGGED:
            self._flagged[self._count] = _framed(_small(picture_HW3))
        self._flag_before = flagged
        self._count += 1

    @property
    def indices(self) -> tuple[int, ...]:
        """The frames in the strip, from left to right."""
        kept = sorted(self._regular)
        places = np.linspace(0, len(kept) - 1, min(REGULAR, len(kept))).round().astype(int)
        return tuple(sorted({*(kept[place] for place in places), *self._flagged}))

    def jpeg(self) -> bytes:
        """The strip as a JPEG file. Raises `ValueError` without any frame."""
        if not self._count:
            raise ValueError("a contact sheet needs a frame")
        pictures = {**self._regular, **self._flagged}
        strip_HW3 = np.concatenate([pictures[index] for index in self.indices], axis=1)
        quality = [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY]
        encoded: bytes = cv2.imencode(".jpg", strip_HW3[..., ::-1], quality)[1].tobytes()
        return encoded


def _small(picture_HW3: np.ndarray) -> np.ndarray:
    """The whole picture in the middle of a small one."""
    height, width = PICTURE_HW
    scale = min(height / picture_HW3.shape[0], width / picture_HW3.shape[1])
    size_hw = [max(1, round(scale * side)) for side in picture_HW3.shape[:2]]
    inner = cv2.resize(picture_HW3, (size_hw[1], size_hw[0]), interpolation=cv2.INTER_AREA)
    small = np.zeros((height, width, 3), np.uint8)
    top, left = (height - size_hw[0]) // 2, (width - size_hw[1]) // 2
    small[top : top + size_hw[0], left : left + size_hw[1]] = inner
    return small


def _framed(small_HW3: np.ndarray) -> np.ndarray:
    """With a border in the colour of flags, 3 px wide."""
    small_HW3[:3] = small_HW3[-3:] = FLAG_RGB
    small_HW3[:, :3] = small_HW3[:, -3:] = FLAG_RGB
    return small_HW3
