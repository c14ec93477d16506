"""PCK against the field's script, restated below in its own loops, and against cases made by hand."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from model.errors import UserError
from model.metrics.keypoints import ALPHAS, joint_errors, pck

# A square person: its box is 30 x 40, so the diagonal is 50 and an error of 1 is 30 px.
PERSON = np.array([[10.0, 20.0], [40.0, 20.0], [40.0, 60.0], [10.0, 60.0]])


def still(frames):
    return np.repeat(PERSON[None], frames, axis=0)


def script_pck(truth_T_K_2, pred_T_K_2, alphas):
    """Joint by joint: drop those with negative x, normalise by the box of the rest, skip frame 0."""
    distances = {k: [] for k in range(truth_T_K_2.shape[1])}
    for t in range(1, len(truth_T_K_2)):
        kept = [k for k in distances if pred_T_K_2[t, k, 0] >= 0]
        if not kept:
            continue
        x, y = truth_T_K_2[t, kept, 0], truth_T_K_2[t, kept, 1]
        unit = 0.6 * math.sqrt((x.max() - x.min()) ** 2 + (y.max() - y.min()) ** 2)
        for k in kept:
            distance = math.dist(pred_T_K_2[t, k], truth_T_K_2[t, k])
            distances[k].append(distance / unit if unit else math.inf)
    return [
        float(np.mean([np.mean(np.array(d) <= alpha) for d in distances.values() if d]))
        for alpha in alphas
    ]


POSITIONS = st.tuples(st.integers(2, 5), st.integers(2, 5)).flatmap(
    lambda shape: st.tuples(
        arrays(np.float64, (*shape, 2), elements=st.integers(0, 99)),
        arrays(np.float64, (*shape, 2), elements=st.integers(-20, 99)),
    )
)


@given(POSITIONS)
def test_reference_mode_is_the_script(positions):
    truth, pred = positions
    errors = joint_errors(truth, pred, "reference")
    if np.isnan(errors).all():
        return
    assert pck([errors]).mean.tolist() == pytest.approx(script_pck(truth, pred, ALPHAS))


def test_errors_are_in_shares_of_the_person():
    pred = still(3)
    pred[1, 0] += (3, 4)  # 5 px of 30
    pred[2, 1] += (0, 12)
    errors = joint_errors(still(3), pred)
    assert errors.shape == (2, 4)
    assert errors[0].tolist() == pytest.approx([5 / 30, 0, 0, 0])
    assert errors[1].tolist() == pytest.approx([0, 0.4, 0, 0])


def test_an_error_of_exactly_alpha_is_right():
    scores = pck([np.array([[0.1, 0.2, 0.3, 0.30001]])])
    assert scores.by_joint_AK[:, :].tolist() == [
        [1, 0, 0, 0],
        [1, 1, 0, 0],
        [1, 1, 1, 0],
        [1, 1, 1, 1],
        [1, 1, 1, 1],
    ]
    assert scores.mean.tolist() == [0.25, 0.5, 0.75, 1, 1]


def test_the_first_frame_is_not_scored():
    pred = still(2)
    pred[0] += 1000
    assert joint_errors(still(2), pred).tolist() == [[0, 0, 0, 0]]
    with pytest.raises(UserError, match="without the first none is left"):
        joint_errors(still(1), still(1))


@pytest.mark.parametrize("failed", [(-1, -1), (math.nan, math.nan)])
def test_a_failed_joint_is_dropped_or_wrong(failed):
    pred = still(2)
    pred[1, 2] = failed
    reference = joint_errors(still(2), pred, "reference")
    assert np.isnan(reference).tolist() == [[False, False, True, False]]
    assert pck([reference]).mean.tolist() == [1] * 5
    strict = joint_errors(still(2), pred, "strict")
    assert strict.tolist() == [[0, 0, math.inf, 0]]
    assert pck([strict]).mean.tolist() == [0.75] * 5


def test_a_dropped_joint_shrinks_the_person_in_reference_mode_only():
    pred = still(2)
    pred[1, 1:3] = -1  # the left side stays: 40 px high, so an error of 1 is 24 px
    pred[1, 0] += (6, 0)
    assert joint_errors(still(2), pred, "reference")[0, 0] == pytest.approx(6 / 24)
    assert joint_errors(still(2), pred, "strict")[0, 0] == pytest.approx(6 / 30)


def test_a_negative_y_alone_fails_in_strict_mode_only():
    pred = still(2)
    pred[1, 0, 1] = -1
    assert joint_errors(still(2), pred, "reference")[0, 0] == pytest.approx(21 / 30)
    assert joint_errors(still(2), pred, "strict")[0, 0] == math.inf


@pytest.mark.parametrize("mode", ["reference", "strict"])
def test_joints_without_annotation_do_not_count(mode):
    truth = still(2)
    truth[1, 3] = math.nan
    scores = pck([joint_errors(truth, still(2), mode)])
    assert scores.counted_K.tolist() == [1, 1, 1, 0]
    assert np.isnan(scores.by_joint_AK[0]).tolist() == [False, False, False, True]
    assert scores.mean.tolist() == [1] * 5


@pytest.mark.filterwarnings("error")
def test_where_nothing_is_counted_there_is_no_score():
    scores = pck([joint_errors(still(2), np.full_like(still(2), math.nan), "reference")])
    assert scores.counted_K.tolist() == [0] * 4
    assert scores.mean.shape == (5,) and np.isnan(scores.mean).all()


def test_a_person_of_one_point_has_no_size():
    truth = np.full((2, 3, 2), 7.0)
    assert joint_errors(truth, truth, "strict").tolist() == [[math.inf] * 3]


def test_a_joint_weighs_the_same_however_often_it_counts():
    nan = math.nan
    errors = [np.array([[0.0, 0.0]]), np.array([[9.0, nan], [9.0, nan], [9.0, nan]])]
    scores = pck(errors)
    assert scores.counted_K.tolist() == [4, 1]
    assert scores.mean.tolist() == [(0.25 + 1) / 2] * 5


@given(POSITIONS)
def test_strict_counts_every_joint_and_scores_grow_with_alpha(positions):
    truth, pred = positions
    scores = pck([joint_errors(truth, pred, "strict")])
    assert (scores.counted_K == len(truth) - 1).all()
    assert (np.diff(scores.by_joint_AK, axis=0) >= 0).all()


def test_shapes_must_agree():
    with pytest.raises(UserError, match=r"\[T, K, 2\]"):
        joint_errors(still(3), still(2))
    with pytest.raises(UserError, match="number of joints"):
        pck([np.zeros((1, 3)), np.zeros((1, 4))])
    with pytest.raises(UserError, match="no video"):
        pck([])


def wave(*shape, step=1.0):
    """Numbers between -1 and 1 that look random and are the same everywhere."""
    return np.sin(step * np.arange(1, 1 + np.prod(shape))).reshape(shape)


def test_the_scripts_own_output():
    """What eval_pck.py of videowalk (047f3f4) prints for these joints, in percent."""
    truth = [150 + 120 * wave(2, 15, 8), 150 + 90 * wave(2, 15, 5, step=1.9)]
    pred = [video + 40 * wave(*video.shape, step=2.7) ** 3 for video in truth]
    for video in pred:
        video[:, wave(*video.shape[1:], step=3.1) > 0.9] = -1
    errors = [joint_errors(t.T, p.T, "reference") for t, p in zip(truth, pred, strict=True)]
    assert (100 * pck(errors).mean).tolist() == pytest.approx(
        [27.39466089, 54.47474747, 94.61832612, 100, 100]
    )
