"""Spans between annotated frames."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from pipelines.spans import Span, spans_of

BEGINS = st.lists(st.integers(0, 30), min_size=1, max_size=5, unique=True).map(sorted)


def test_forwards_and_both_ways() -> None:
    assert spans_of([0, 5], "forwards") == [Span(0, 5, 0, None), Span(5, None, 5, None)]
    assert spans_of([3, 5], "both") == [
        Span(0, 3, None, 3),
        Span(3, 5, 3, 5),
        Span(5, None, 5, None),
    ]


@given(BEGINS, st.sampled_from(["forwards", "both"]))
def test_they_lie_one_behind_the_other(begins: list[int], direction: str) -> None:
    spans = spans_of(begins, direction)
    assert spans[0].start == (0 if direction == "both" else begins[0])
    assert spans[-1].stop is None
    assert all(one.stop == other.start for one, other in pairwise(spans))


@given(BEGINS, st.integers(0, 30), st.sampled_from(["forwards", "both"]))
def test_a_correction_touches_the_spans_that_end_at_it(
    begins: list[int], corrected: int, direction: str
) -> None:
    order = sorted({*begins, corrected})
    touched = [
        span for span in spans_of(order, direction) if span.touched_by({corrected}, order[0])
    ]
    if corrected == order[0]:  # it is looked back to from everywhere
        assert touched == spans_of(order, direction)
        return
    place = order.index(corrected)
    later = order[place + 1] if place + 1 < len(order) else None
    ahead = Span(corrected, later, corrected, later if direction == "both" else None)
    back = [Span(order[place - 1], corrected, order[place - 1], corrected)]
    assert touched == (back if direction == "both" else []) + [ahead]
