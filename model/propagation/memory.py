"""The frames labels are carried from: kept ones and a ring of the latest.

Shape suffixes: C channels, L labels, H W cells.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from torch import Tensor

from model.propagation.matching_protocol import MatchingProtocol


@dataclass(frozen=True)
class MemoryFrame:
    """A frame in the context."""

    frame_index: int
    features_CHW: Tensor
    """Base features, as the encoder gave them."""
    labels_LHW: Tensor
    """Its labels on the cell grid: the annotation of an anchor, else the prediction."""
    windowed: bool
    """Whether the protocol's window limits what is seen of it."""
    kept: bool
    """Whether it stays however many frames follow."""
    annotated: bool
    """Whether it is an anchor, and no prediction."""
    colours_CHW: Tensor | None = None
    """Its colours on the cell grid, where the propagation is diagnosed."""


class Memory:
    """The kept frames and the latest ones of one video, as the protocol says.

    With `anchor_first` an anchor (an annotated frame) is kept for good; without it an anchor is a frame
    like any other. Frames that `kept_frames` numbers stay as well. Besides these the context is the latest
    frame and those `recent_step_frames`, twice that, ... before it, `recent_frames` of them in all; each
    frame is in it once, but for the copies of `pad_with_first`, which are of the latest anchor, stand for
    the recent frames up to it, and hold no memory of their own. An anchor takes the place of all
    predictions before it: they may be what it corrects, and they would outvote it. So the memory is
    bounded by the protocol and the number of anchors, however long the video is.
    """

    def __init__(self, protocol: MatchingProtocol) -> None:
        self._protocol = protocol
        self._frames: list[MemoryFrame] = []

    def __len__(self) -> int:
        return len(self._frames)

    def add(
        self,
        frame_index: int,
        features_CHW: Tensor,
        labels_LHW: Tensor,
        *,
        anchor: bool,
        colours_CHW: Tensor | None = None,
    ) -> None:
        """Take in the newest frame and drop those that no longer have a place.

        An anchor also drops every frame that was predicted. Frames are numbered 0, 1, 2, ... from the
        start of the video.
        """
        protocol = self._protocol
        kept = (anchor and protocol.anchor_first) or frame_index in protocol.kept_frames
        windowed = protocol.window_on_anchor if kept else True
        if anchor:
            self._frames = [f for f in self._frames if f.annotated]
        self._frames.append(
            MemoryFrame(frame_index, features_CHW, labels_LHW, windowed, kept, anchor, colours_CHW)
        )
        oldest = min(self._recent_indices(), default=frame_index + 1)
        self._frames = [f for f in self._frames if f.kept or f.frame_index >= oldest]

    def context(self) -> Sequence[MemoryFrame]:
        """The frames in the order they were added, oldest first, copies before all others."""
        if not self._frames:
            return ()
        recent = self._recent_indices()
        chosen = [f for f in self._frames if f.kept or f.frame_index in recent]
        anchor = next((f for f in reversed(self._frames) if f.annotated), None)
        if anchor is None or not self._protocol.pad_with_first:
            return tuple(chosen)
        # A kept anchor is a recent frame as well.
        there = {f.frame_index for f in chosen if not f.kept}
        copies = sum(index <= anchor.frame_index and index not in there for index in recent)
        return (*[replace(anchor, windowed=True, kept=False)] * copies, *chosen)

    def _recent_indices(self) -> list[int]:
        """Numbers of the recent frames, also those from before the video; the newest is the last one."""
        newest, step = self._frames[-1].frame_index, self._protocol.recent_step_frames
        return [newest - number * step for number in range(self._protocol.recent_frames)]
