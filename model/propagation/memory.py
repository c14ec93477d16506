"""The frames labels are carried from: kept anchors and a ring of the latest frames.

Shape suffixes: C channels, L labels, H W cells.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from model.propagation.protocols import MatchingProtocol


@dataclass(frozen=True)
class MemoryFrame:
    """A frame in the context."""

    frame_index: int
    features_CHW: Tensor
    """Base features, as the encoder gave them."""
    labels_LHW: Tensor
    """Its labels on the cell grid: the annotation of an anchor, else the soft prediction."""
    windowed: bool
    """Whether the protocol's window limits what is seen of it."""
    kept: bool
    """Whether it stays however many frames follow."""


class Memory:
    """{anchors} and {last m frames} of one video, m = `protocol.recent_frames`.

    With `anchor_first` an anchor (an annotated frame) is kept for good and does not count among
    the m; without it an anchor is a frame like any other. So the memory holds at most m frames
    and the annotated ones, however long the video is.
    """

    def __init__(self, protocol: MatchingProtocol) -> None:
        self._protocol = protocol
        self._frames: list[MemoryFrame] = []

    def __len__(self) -> int:
        return len(self._frames)

    def add(
        self, frame_index: int, features_CHW: Tensor, labels_LHW: Tensor, *, anchor: bool
    ) -> None:
        """Take in the newest frame and drop the oldest one that no longer has a place."""
        kept = anchor and self._protocol.anchor_first
        windowed = self._protocol.window_on_anchor if kept else True
        self._frames.append(MemoryFrame(frame_index, features_CHW, labels_LHW, windowed, kept))
        passing = [position for position, frame in enumerate(self._frames) if not frame.kept]
        if len(passing) > self._protocol.recent_frames:
            del self._frames[passing[0]]

    def context(self) -> Sequence[MemoryFrame]:
        """The frames in the order they were added, oldest first."""
        return tuple(self._frames)
