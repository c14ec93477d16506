"""The rule for the frame to annotate next, on confidences made by hand and against a slow reading of it."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.review.next_frame import (
    LEAST_HELP,
    LEAST_RISE,
    Persistence,
    next_frames,
    persistence,
)
from pipelines.review.reviewed import ReviewedVideo

FOR_EVER = Persistence(np.ones(1))


def video(confidence_OT: np.ndarray, anchors: tuple[int, ...] = (0,)) -> ReviewedVideo:
    objects, frames = confidence_OT.shape
    anchor_T = np.isin(np.arange(frames), anchors)
    return ReviewedVideo(
        "v",
        24.0,
        tuple(map(str, range(frames))),
        anchor_T,
        tuple(range(1, objects + 1)),
        ("mask",) * objects,
        confidence_OT.astype(np.float32),
        np.zeros(confidence_OT.shape, np.uint8),
    )


def falling(frames: int, low: tuple[int, int], value: float = 0.1) -> np.ndarray:
    """One object, sure but for a stretch."""
    confidence = np.full((1, frames), 0.95)
    confidence[:, low[0] : low[1]] = value
    confidence[:, 0] = 1
    return confidence


def slowly(
    confidence_OT: np.ndarray, anchors: tuple[int, ...], s: Persistence, both_ways: bool, frame: int
) -> float:
    """help(f), frame by frame and object by object."""
    total = 0.0
    frames = confidence_OT.shape[1]
    for one_way in (1, -1) if both_ways else (1,):
        t = frame if one_way == 1 else frame - 1
        while 0 <= t < frames and t not in anchors:
            reached = s.confidence_D[min(abs(t - frame), len(s.confidence_D) - 1)]
            rises = [reached - confidence_OT[o, t] for o in range(len(confidence_OT))]
            total += sum(rise for rise in rises if rise >= LEAST_RISE)
            t += one_way
    return total


def test_the_frame_lies_at_the_beginning_of_a_low_stretch() -> None:
    lasting = Persistence(np.linspace(0.95, 0.6, 100))
    (first, *_) = next_frames(video(falling(100, (40, 70))), lasting, False, 3)
    assert first.index == 40
    assert (first.begin, first.end) == (40, 100)
    # Up to frame 70 each label rises from 0.1 to s; after it what was sure does not.
    assert first.help == pytest.approx((lasting.confidence_D[:30] - 0.1).sum(), abs=0.6)


def test_the_second_frame_helps_where_the_first_does_not_reach() -> None:
    confidence = falling(120, (20, 30))
    confidence[:, 80:110] = 0.1
    short = Persistence(np.array([0.9] * 35 + [0.0] * 5))
    first, second = next_frames(video(confidence), short, False, 2)
    assert (first.index, second.index) == (80, 20)
    assert first.help > second.help


def test_between_annotated_frames_the_span_ends_at_the_next_one() -> None:
    confidence = falling(60, (30, 60))
    confidence[:, 45] = 1
    one_way = next_frames(video(confidence, (0, 45)), FOR_EVER, False, 1)[0]
    assert (one_way.index, one_way.begin, one_way.end) in {(30, 30, 45), (46, 46, 60)}
    assert one_way.help == pytest.approx(0.9 * 15, abs=0.1)
    confidence = falling(60, (10, 40))
    both = next_frames(video(confidence, (0, 45)), FOR_EVER, True, 1)[0]
    assert (both.begin, both.end) == (1, 45)
    assert 0 < both.index < 45


def test_nothing_is_proposed_where_all_is_well_or_nothing_is_known() -> None:
    assert next_frames(video(np.ones((2, 30))), FOR_EVER, False, 3) == ()
    assert next_frames(video(np.full((2, 30), np.nan)), FOR_EVER, False, 3) == ()
    assert next_frames(video(np.zeros((0, 30))), FOR_EVER, False, 3) == ()
    everything = tuple(range(10))
    assert next_frames(video(np.zeros((1, 10)), everything), FOR_EVER, False, 3) == ()


@given(
    st.integers(2, 40),
    st.integers(1, 3),
    st.integers(0, 2**32 - 1),
    st.booleans(),
)
def test_it_is_the_best_frame_by_a_slow_reading(
    frames: int, objects: int, seed: int, both_ways: bool
) -> None:
    random = np.random.default_rng(seed)
    confidence = random.random((objects, frames)).astype(np.float32).astype(np.float64)
    anchors = tuple(np.flatnonzero(random.random(frames) < 0.2).tolist()) or (0,)
    lasting = Persistence(np.minimum.accumulate(random.random(frames)))
    free = [f for f in range(frames) if f not in anchors]
    expected = max((slowly(confidence, anchors, lasting, both_ways, f) for f in free), default=0.0)
    found = next_frames(video(confidence, anchors), lasting, both_ways, 1)
    if expected < LEAST_HELP:
        assert found == ()
        return
    (best,) = found
    assert best.help == pytest.approx(expected)
    assert slowly(confidence, anchors, lasting, both_ways, best.index) == pytest.approx(expected)


def test_of_a_long_video_some_frames_are_tried_and_then_those_around_the_best() -> None:
    confidence = falling(5000, (3217, 4000))
    (best,) = next_frames(video(confidence), Persistence(np.linspace(1, 0.3, 3000)), False, 1)
    assert best.index == 3217


def test_how_long_annotations_last_is_the_mean_by_distance() -> None:
    one = np.tile(np.linspace(1, 0.5, 11), (8, 1))
    other = np.concatenate((one, one), axis=1)
    lasting = persistence([video(one), video(other, (0, 11))], both_ways=False)
    assert lasting.confidence_D == pytest.approx(np.linspace(1, 0.5, 11))
    assert lasting.at(np.array([0, 5, 10, 99])) == pytest.approx([1, 0.75, 0.5, 0.5])
    both = persistence([video(other, (0, 11))], both_ways=True)
    # Frame 10 is ten frames after one annotation and one before the next.
    assert both.confidence_D[1] == pytest.approx((0.95 * 2 + 0.5) / 3)
    assert (np.diff(both.confidence_D) <= 0).all()
    assert persistence([video(np.full((1, 5), np.nan))], False).confidence_D.tolist() == [1.0]
