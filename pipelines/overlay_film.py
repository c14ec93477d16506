"""The two pictures of a labelled video: its film, and its contact sheet beside it."""

from fractions import Fraction
from pathlib import Path
from types import TracebackType

import numpy as np

from pipelines.contact_sheet import ContactSheet
from pipelines.video import H264Writer


class OverlayFilm:
    """`VIDEO.mp4` and `VIDEO.jpg`, a frame at a time. Both appear when the `with` block has ended well.

    Raises what `H264Writer` raises.
    """

    def __init__(self, path: Path, fps_hz: float | Fraction) -> None:
        self._path = path
        self._film = H264Writer(path, fps_hz)
        self._sheet = ContactSheet()

    def __enter__(self) -> "OverlayFilm":
        self._film.__enter__()
        return self

    def write(self, picture_HW3: np.ndarray, flagged: bool = False) -> None:
        """The next frame with its labels, uint8 RGB [H, W, 3], and whether one of them is flagged."""
        self._film.write(picture_HW3)
        self._sheet.add(picture_HW3, flagged)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._film.__exit__(kind, value, traceback)
        if kind is None:
            self._path.with_suffix(".jpg").write_bytes(self._sheet.jpeg())
