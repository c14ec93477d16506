"""The stretches of a video between its annotated frames, and which of them a correction touches.

What is predicted in a span depends on the annotated frames at its ends, on the video's first annotated
frame and on the pictures, and on nothing else. So a span can be made again alone, and comes out as if the
whole video had been made again.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from pipelines.archive_plan import Direction


@dataclass(frozen=True)
class Span:
    """Frames `start` to `stop - 1`."""

    start: int
    stop: int | None
    """None: to the end of the video."""
    before: int | None
    """The annotated frame from which labels are carried forwards: its first. None: there is none."""
    after: int | None
    """The annotated frame behind it, from which labels are carried backwards. None: they are not."""

    def touched_by(self, changed: Collection[int], first: int) -> bool:
        """Whether annotations of these frames bear on it; `first` is the video's first annotated frame."""
        ends = {first, self.before, self.after}
        stop = self.stop
        return any(
            index in ends or (self.start <= index and (stop is None or index < stop))
            for index in changed
        )


def spans_of(begins: Sequence[int], direction: Direction) -> list[Span]:
    """The spans of a video in order; `begins` are the annotated frames that begin one, in order."""
    spans = []
    both = direction == "both"
    if both and begins[0] > 0:
        spans.append(Span(0, begins[0], None, begins[0]))
    for begin, end in zip(begins, [*begins[1:], None], strict=True):
        spans.append(Span(begin, end, begin, end if both else None))
    return spans


def spans_to_make(
    spans: Sequence[Span], now: Mapping[int, str], before: Mapping[int, str] | None
) -> list[tuple[Span, bool]]:
    """The spans, and of each whether annotations touch it that are new, other ones or gone since the video
    was made: by frame the digests of now, and those `before`; None: it was not made yet."""
    if before is None:
        return [(span, True) for span in spans]
    first = min(now)
    changed = {i for i in now.keys() | before.keys() if before.get(i) != now.get(i)}
    if first != min(before, default=None):
        changed.add(first)
    return [(span, span.touched_by(changed, first)) for span in spans]
