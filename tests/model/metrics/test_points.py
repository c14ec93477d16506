"""TAP-Vid's scores: hand-made tracks, and its definitions restated point by point."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from model.errors import UserError
from model.metrics.points import (
    PointTracks,
    evaluated_frames,
    first_visible,
    mean_scores,
    point_scores,
    position_accuracy_by_frame,
)


def track(offsets, hidden=None):
    """One point at (100 + offset, 50)."""
    xy = np.array([[[100.0 + offset, 50.0] for offset in offsets]])
    return PointTracks(xy, np.array([hidden or [False] * len(offsets)]))


def starts(*frames):
    return np.array(frames)


def test_the_frame_of_the_query_does_not_count():
    counts = evaluated_frames(starts(0, 2), 4, "first")
    assert counts.tolist() == [[False, True, True, True], [False, False, False, True]]
    counts = evaluated_frames(starts(0, 2), 4, "strided")
    assert counts.tolist() == [[False, True, True, True], [True, True, False, True]]
    with pytest.raises(UserError, match="outside the frames 0 to 3"):
        evaluated_frames(starts(4), 4, "first")


def test_a_distance_of_exactly_a_threshold_is_not_within_it():
    scores = point_scores(track([0] * 5), track([9, 0.5, 1, 3, 16]), starts(0), "first")
    assert scores.position_accuracy == (0.25, 0.5, 0.75, 0.75, 0.75)
    assert scores.average_position_accuracy == pytest.approx(0.6)


def test_jaccard_counts_a_wrong_place_twice():
    """Four visible frames, one 2 px off: near 1 px 3 hits, a false positive and a false negative."""
    scores = point_scores(track([0] * 5), track([0, 0, 0, 0, 2]), starts(0), "first")
    assert scores.jaccard == (3 / 5, 3 / 5, 1, 1, 1)
    assert scores.average_jaccard == pytest.approx((3 / 5 + 3 / 5 + 3) / 5)
    assert scores.occlusion_accuracy == 1


def test_occlusion():
    """Frames 1 to 4: hit, missed, false alarm, rightly hidden."""
    truth = track([0] * 5, [False, False, False, True, True])
    pred = track([0] * 5, [False, False, True, False, True])
    scores = point_scores(truth, pred, starts(0), "first")
    assert scores.occlusion_accuracy == 0.5
    assert scores.position_accuracy == (1,) * 5  # whatever was said of occlusion
    assert scores.jaccard == (1 / 3,) * 5  # one hit of two visible points and a false alarm


def test_modes_differ_in_what_lies_before_the_query():
    truth, pred = track([0] * 3), track([50, 0, 0])
    assert point_scores(truth, pred, starts(1), "first").average_jaccard == 1
    assert point_scores(truth, pred, starts(1), "strided").position_accuracy == (0.5,) * 5


def test_a_place_that_is_missing_is_near_nothing():
    scores = point_scores(track([0, 0]), track([0, math.nan]), starts(0), "first")
    assert scores.position_accuracy == (0,) * 5
    assert scores.jaccard == (0,) * 5


def test_nothing_visible_has_no_score():
    hidden = track([0, 0], [False, True])
    scores = point_scores(hidden, hidden, starts(0), "first")
    assert np.isnan([scores.average_position_accuracy, scores.average_jaccard]).all()
    assert scores.occlusion_accuracy == 1


TRACKS = st.tuples(st.integers(1, 4), st.integers(2, 6)).flatmap(
    lambda shape: st.tuples(
        arrays(np.float64, (*shape, 2), elements=st.integers(0, 20)),
        arrays(bool, shape),
        arrays(np.float64, (*shape, 2), elements=st.integers(0, 20)),
        arrays(bool, shape),
        arrays(np.int64, shape[0], elements=st.integers(0, shape[1] - 1)),
    )
)


@pytest.mark.parametrize("mode", ["first", "strided"])
@given(tracks=TRACKS)
def test_the_definitions_point_by_point(mode, tracks):
    truth_xy, truth_hidden, pred_xy, pred_hidden, query = tracks
    points, frames = truth_hidden.shape
    counted = [
        (n, t)
        for n in range(points)
        for t in range(frames)
        if (t > query[n] if mode == "first" else t != query[n])
    ]
    truth, pred = PointTracks(truth_xy, truth_hidden), PointTracks(pred_xy, pred_hidden)
    scores = point_scores(truth, pred, query, mode)
    for threshold, accuracy, jaccard in zip(
        (1, 2, 4, 8, 16), scores.position_accuracy, scores.jaccard, strict=True
    ):
        visible = [at for at in counted if not truth_hidden[at]]
        near = {at for at in visible if math.dist(pred_xy[at], truth_xy[at]) < threshold}
        hits = {at for at in near if not pred_hidden[at]}
        alarms = {at for at in counted if not pred_hidden[at]} - hits
        misses = set(visible) - hits
        expected = len(near) / len(visible) if visible else math.nan
        assert accuracy == pytest.approx(expected, nan_ok=True)
        union = len(hits) + len(alarms) + len(misses)
        expected = len(hits) / union if union else math.nan
        assert jaccard == pytest.approx(expected, nan_ok=True)
    agree = [truth_hidden[at] == pred_hidden[at] for at in counted]
    expected = float(np.mean(agree)) if agree else math.nan
    assert scores.occlusion_accuracy == pytest.approx(expected, nan_ok=True)


def test_accuracy_by_frame():
    truth = PointTracks(np.zeros((2, 3, 2)), np.array([[False] * 3, [False, False, True]]))
    pred = PointTracks(
        np.array([[[0, 0], [0, 3], [0, 0]], [[0, 0], [0, 0], [9, 9]]]), truth.hidden_NT
    )
    counts = evaluated_frames(starts(0, 0), 3, "first")
    by_frame = position_accuracy_by_frame(truth, pred, counts)
    assert math.isnan(by_frame[0])
    assert by_frame[1:].tolist() == pytest.approx([(1 + 3 / 5) / 2, 1])


def test_the_first_visible_frame():
    assert first_visible(np.array([[True, False, True], [False, False, True]])).tolist() == [1, 0]
    with pytest.raises(UserError, match="never visible"):
        first_visible(np.array([[True, True]]))


def test_videos_weigh_the_same():
    good = point_scores(track([0] * 9), track([0] * 9), starts(0), "first")
    bad = point_scores(track([0] * 2), track([0, 99]), starts(0), "first")
    mean = mean_scores([good, bad])
    assert (mean.average_jaccard, mean.average_position_accuracy) == (0.5, 0.5)
    assert mean.occlusion_accuracy == 1
    with pytest.raises(UserError, match="no video"):
        mean_scores([])


def test_bad_arrays_are_refused():
    with pytest.raises(UserError, match=r"must be \[N, T, 2\]"):
        PointTracks(np.zeros((1, 3, 2)), np.zeros((1, 4), bool))
    with pytest.raises(UserError, match="1 points in 3 frames, the prediction 1 in 2"):
        point_scores(track([0] * 3), track([0] * 2), starts(0), "first")


def wave(*shape, step=1.0):
    """Numbers between -1 and 1 that look random and are the same everywhere."""
    return np.sin(step * np.arange(1, 1 + np.prod(shape))).reshape(shape)


@pytest.mark.parametrize(
    ("mode", "position_accuracy", "jaccard", "occlusion_accuracy"),
    [
        (
            "first",
            (0.148148, 0.185185, 0.185185, 0.370370, 0.666667),
            (0.039216, 0.06, 0.06, 0.152174, 0.292683),
            0.552632,
        ),
        (
            "strided",
            (0.147059, 0.176471, 0.176471, 0.382353, 0.705882),
            (0.046154, 0.0625, 0.0625, 0.172414, 0.36),
            0.583333,
        ),
    ],
)
def test_the_originals_own_output(mode, position_accuracy, jaccard, occlusion_accuracy):
    """What compute_tapvid_metrics of tapnet (c2cbab8) makes of these tracks."""
    truth_xy = 128 + 100 * wave(6, 9, 2)
    truth = PointTracks(truth_xy, wave(6, 9, step=2.3) > 0.6)
    pred = PointTracks(truth_xy + 20 * wave(6, 9, 2, step=1.13) ** 9, wave(6, 9, step=2.9) > 0.5)
    scores = point_scores(truth, pred, np.array([0, 1, 2, 3, 4, 0]), mode)
    assert scores.position_accuracy == pytest.approx(position_accuracy, abs=1e-6)
    assert scores.jaccard == pytest.approx(jaccard, abs=1e-6)
    assert scores.occlusion_accuracy == pytest.approx(occlusion_accuracy, abs=1e-6)
