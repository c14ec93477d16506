"""The rule for the frame to annotate next, on confidences made by hand and against a slow reading of it."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.review.next_frame import LEAST_HELP, next_frames
from pipelines.review.reviewed import ReviewedVideo


def video(confidence_OT: np.ndarray, anchors: tuple[int, ...] = (0,)) -> ReviewedVideo:
    objects, frames = confidence_OT.shape
    return ReviewedVideo(
        "v",
        24.0,
        tuple(map(str, range(frames))),
        np.isin(np.arange(frames), anchors),
        tuple(range(1, objects + 1)),
        ("mask",) * objects,
        confidence_OT.astype(np.float32),
        np.zeros(confidence_OT.shape, np.uint8),
    )


def sure_but(frames: int, *low: tuple[int, int]) -> np.ndarray:
    """One object, sure but for some stretches."""
    confidence = np.full((1, frames), 0.99)
    for begin, end in low:
        confidence[:, begin:end] = 0.1
    confidence[:, 0] = 1
    return confidence


def slowly(
    confidence_OT: np.ndarray, anchors: tuple[int, ...], both_ways: bool, frame: int
) -> float:
    """help(f), frame by frame."""
    total = 0.0
    frames = confidence_OT.shape[1]
    for one_way in (1, -1) if both_ways else (1,):
        t = frame if one_way == 1 else frame - 1
        while 0 <= t < frames and t not in anchors:
            gaps = [t - a for a in anchors if a < t] + [
                a - t for a in anchors if both_ways and a > t
            ]
            credit = 1 - abs(t - frame) / min(gaps) if gaps else 1.0
            total += max(0.0, credit) * sum(1 - float(c) for c in confidence_OT[:, t])
            t += one_way
    return total


def test_the_frame_lies_at_the_beginning_of_a_low_stretch() -> None:
    (first, *_) = next_frames(video(sure_but(100, (40, 70))), False, 3)
    assert first.index == 40
    assert (first.begin, first.end) == (40, 100)
    expected = sum(0.9 * (1 - (t - 40) / t) for t in range(40, 70))
    assert first.help == pytest.approx(expected, abs=0.3)


def test_where_all_is_low_it_lies_a_third_into_it_and_not_beside_the_annotated_one() -> None:
    hopeless = np.full((2, 300), 0.05)
    hopeless[:, 0] = 1
    (first,) = next_frames(video(hopeless), False, 1)
    assert first.index == pytest.approx(300 / math.e, abs=2)
    (middle,) = next_frames(video(hopeless, (0, 299)), True, 1)
    assert 75 <= middle.index <= 225


def test_the_second_frame_helps_where_the_first_does_not_reach() -> None:
    first, second = next_frames(video(sure_but(120, (20, 25), (80, 110))), False, 2)
    assert (first.index, second.index) == (80, 20)
    assert first.help > second.help


def test_between_annotated_frames_the_span_ends_at_the_next_one() -> None:
    confidence = sure_but(60, (30, 60))
    confidence[:, 45] = 1
    (one_way,) = next_frames(video(confidence, (0, 45)), False, 1)
    assert (one_way.index, one_way.begin, one_way.end) == (30, 30, 45)
    (both,) = next_frames(video(sure_but(60, (10, 40)), (0, 45)), True, 1)
    assert (both.begin, both.end) == (1, 45)
    assert 10 <= both.index < 40


def test_nothing_is_proposed_where_all_is_well_or_nothing_is_known() -> None:
    assert next_frames(video(np.ones((2, 30))), False, 3) == ()
    assert next_frames(video(np.full((2, 30), np.nan)), False, 3) == ()
    assert next_frames(video(np.zeros((0, 30))), False, 3) == ()
    assert next_frames(video(np.zeros((1, 0))), False, 3) == ()
    assert next_frames(video(np.zeros((1, 10)), tuple(range(10))), False, 3) == ()


@given(st.integers(2, 40), st.integers(1, 3), st.integers(0, 2**32 - 1), st.booleans())
def test_it_is_the_best_frame_by_a_slow_reading(
    frames: int, objects: int, seed: int, both_ways: bool
) -> None:
    random = np.random.default_rng(seed)
    confidence = random.random((objects, frames)).astype(np.float32).astype(np.float64)
    anchors = tuple(np.flatnonzero(random.random(frames) < 0.2).tolist())
    free = [f for f in range(frames) if f not in anchors]
    expected = max((slowly(confidence, anchors, both_ways, f) for f in free), default=0.0)
    found = next_frames(video(confidence, anchors), both_ways, 3)
    if expected < LEAST_HELP:
        assert found == ()
        return
    assert found[0].help == pytest.approx(expected)
    assert slowly(confidence, anchors, both_ways, found[0].index) == pytest.approx(expected)
    helps = [frame.help for frame in found]
    assert helps == sorted(helps, reverse=True)
    assert len({frame.index for frame in found} - set(anchors)) == len(found)


def test_of_a_long_video_some_frames_are_tried_and_then_those_around_the_best() -> None:
    (best,) = next_frames(video(sure_but(5000, (3217, 4000))), False, 1)
    assert best.index == 3217
