"""Labels through one video, span by span, forwards or both ways; spans that need not be made are passed over.

Forwards a video streams: no more of it is held than the propagator's memory and the first annotated frame.
Between two annotated frames and before the first one, labels are also carried backwards; the frames of such
a span wait in a temporary file.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import tee

import numpy as np
import torch

from model.propagation.annotations import Annotation
from model.propagation.both_ways import propagate_both_ways
from model.propagation.engine import LabelPropagator
from model.propagation.frame_encoder import Encoder
from model.propagation.matching_protocol import MatchingProtocol
from model.propagation.results import PropagationResult
from pipelines.archive_plan import UnfitVideo
from pipelines.footage import FootageFrame
from pipelines.spans import Span
from pipelines.spill import Spill, SpilledFrames, SpilledLabels


@dataclass(frozen=True)
class CarriedFrame:
    """A frame and what became of it."""

    frame: FootageFrame
    result: PropagationResult | None
    """None in a span that is passed over."""
    annotation: Annotation | None
    """What a person said of it."""
    begins: bool
    """Whether it is the first of a span."""


class SpanCarrier:
    """Carries labels through videos, one at a time."""

    def __init__(
        self,
        propagator: LabelPropagator,
        encoder: Encoder | None,
        protocol: MatchingProtocol,
        device: str,
        *,
        diagnose: bool = False,
    ) -> None:
        """`encoder` carries both ways; None for models that go forwards only. `diagnose` as of
        `propagate_both_ways`."""
        self._propagator = propagator
        self._encoder = encoder
        self._protocol = protocol
        self._device = torch.device(device)
        self._diagnose = diagnose

    def carry(
        self,
        frames: Iterable[FootageFrame],
        anchors: Mapping[int, Annotation],
        spans: Sequence[tuple[Span, bool]],
    ) -> Iterator[CarriedFrame]:
        """Every frame of a video in order; `spans` says of each whether it is to be made.

        Raises `UnfitVideo` for an anchor behind the end, and `UserError` for frames and annotations
        that cannot be of one video.
        """
        video = _Frames(frames)
        for span, wanted in spans:
            carried: Iterator[tuple[FootageFrame, PropagationResult | None]]
            if not wanted:
                carried = self._passed(video, span, anchors)
            elif span.after is None:
                carried = self._forwards(video, span, anchors)
            else:
                carried = self._both_ways(video, span, anchors)
            for frame, result in carried:
                given = anchors.get(frame.index)
                yield CarriedFrame(frame, result, given, frame.index == span.start)
        if max(anchors) >= video.count:
            raise _beyond(max(anchors), video.count)

    def _passed(
        self, video: "_Frames", span: Span, anchors: Mapping[int, Annotation]
    ) -> Iterator[tuple[FootageFrame, PropagationResult | None]]:
        for frame in video.until(span.stop, min(anchors)):
            yield frame, None

    def _forwards(
        self, video: "_Frames", span: Span, anchors: Mapping[int, Annotation]
    ) -> Iterator[tuple[FootageFrame, PropagationResult]]:
        first = min(anchors)
        if video.peek() is None:
            return
        again = int(span.start != first)  # the first annotated frame goes before the others then
        shown, ahead = tee(
            video.until(span.stop, first)
        )  # a batch is encoded ahead of what is shown
        given = {
            index - span.start + again: [annotation]
            for index, annotation in anchors.items()
            if span.start <= index and (span.stop is None or index < span.stop)
        }

        def pictures() -> Iterator[np.ndarray]:
            if again:
                assert video.first is not None
                yield video.first
            for frame in ahead:
                yield frame.picture_HW3

        results = self._propagator.run(pictures(), given | ({0: [anchors[first]]} if again else {}))
        if again:
            next(results)
        yield from zip(shown, results, strict=True)

    def _both_ways(
        self, video: "_Frames", span: Span, anchors: Mapping[int, Annotation]
    ) -> Iterator[tuple[FootageFrame, PropagationResult]]:
        """The span's frames with the annotated one behind them; the video's first annotated frame lies
        before and behind these, so that both passes begin with it."""
        assert self._encoder is not None and span.after is not None
        first = min(anchors)
        with Spill() as pictures_spill, Spill() as labels_spill:
            pictures = SpilledFrames(pictures_spill)
            # Number in the propagated sequence -> frame of the video; those without a picture of their
            # own are left out of what is yielded.
            seen: list[FootageFrame] = []
            given: dict[int, Sequence[Annotation]] = {}
            between = span.before is not None
            if between and span.before != first:
                assert video.first is not None
                given[0] = [anchors[first]]
                pictures.append(video.first)
            offset = len(pictures)
            for frame in video.until(span.stop, first):
                pictures.append(frame.picture_HW3)
                seen.append(_without_picture(frame))
                if frame.index in anchors:
                    given[len(pictures) - 1] = [anchors[frame.index]]
            behind = video.peek()
            if behind is None:
                raise _beyond(span.after, video.count)
            pictures.append(behind.picture_HW3)
            given[len(pictures) - 1] = [anchors[span.after]]
            if between:
                assert video.first is not None
                pictures.append(video.first)
                given[len(pictures) - 1] = [anchors[first]]
            results = propagate_both_ways(
                pictures,
                given,
                self._encoder,
                self._protocol,
                self._device,
                held=SpilledLabels(labels_spill),
                diagnose=self._diagnose,
            )
            for number, result in enumerate(results):
                if offset <= number < offset + len(seen):
                    frame = seen[number - offset]
                    picture_HW3 = pictures[number]
                    yield (
                        FootageFrame(frame.index, frame.name, frame.time_s, picture_HW3),
                        result,
                    )


class _Frames:
    """The frames of a video, read once; the first annotated one is kept."""

    def __init__(self, frames: Iterable[FootageFrame]) -> None:
        self._frames = iter(frames)
        self._next: FootageFrame | None = None
        self.count = 0
        """Frames read so far."""
        self.first: np.ndarray | None = None

    def peek(self) -> FootageFrame | None:
        if self._next is None:
            self._next = next(self._frames, None)
            self.count += self._next is not None
        return self._next

    def until(self, stop: int | None, first: int) -> Iterator[FootageFrame]:
        while (frame := self.peek()) is not None and (stop is None or frame.index < stop):
            if frame.index == first:
                self.first = frame.picture_HW3
            self._next = None
            yield frame


def _without_picture(frame: FootageFrame) -> FootageFrame:
    return FootageFrame(frame.index, frame.name, frame.time_s, np.empty((0, 0, 3), np.uint8))


def _beyond(index: int, count: int) -> UnfitVideo:
    return UnfitVideo("no_frame", f"frame {index} is annotated, it has {count} frames")
