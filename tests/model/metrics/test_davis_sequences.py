"""From the measures of frames to the scores of sequences and of all; vectors are of the official module."""

import math

import numpy as np
import pytest

from model.errors import UserError
from model.metrics.davis import (
    ObjectScores,
    boundary_measure,
    evaluate_sequence,
    object_count,
    region_similarity,
    score_frame,
    single_foreground,
    statistics,
    summarise,
)


@pytest.mark.parametrize(
    ("values", "mean", "recall", "decay"),
    [
        (np.linspace(1, 0, 10), 0.5, 0.5, 0.777778),
        ([0.5, 0.5, 0.6, 0.4], 0.5, 0.25, 0),
        (np.linspace(1, 0, 67), 0.5, 0.492537, 0.75),
        ([0.25], 0.25, 0, 0),
    ],
)
def test_statistics_vectors(values, mean, recall, decay):
    result = statistics(values)
    expected = (mean, recall, decay)
    assert (result.mean, result.recall, result.decay) == pytest.approx(expected, abs=5e-7)


def test_decay_edges_do_not_wrap_up_to_256_values():
    values = np.linspace(1, 0, 256)
    assert statistics(values).decay == pytest.approx(values[:65].mean() - values[191:].mean())


def test_decay_edges_wrap_at_8_bits_in_longer_sequences():
    values = np.linspace(1, 0, 400)  # edges 0, 100, 200, 299, 399; the last two become 43 and 143
    assert statistics(values).decay == pytest.approx(values[:101].mean() - values[43:144].mean())


def test_decay_is_nan_where_the_wrapped_quarter_is_empty():
    result = statistics(np.linspace(1, 0, 300))  # edges 224 and 299, the latter becomes 43
    assert math.isnan(result.decay)
    assert result.mean == pytest.approx(0.5)


def test_statistics_leave_nan_values_out():
    result = statistics([1.0, math.nan, 0.0, 1.0])
    assert result.mean == pytest.approx(2 / 3)
    assert result.recall == 0.5  # NaN is not above the threshold, and stays in the count


def test_statistics_need_values():
    with pytest.raises(UserError, match="no frame"):
        statistics([])


def index_masks(*frames):
    """Index masks [T, 1, W] from one string of digits a frame."""
    return np.array([[[int(digit) for digit in frame]] for frame in frames], np.uint8)


def test_first_and_last_frame_are_dropped():
    truth = index_masks("0110", "0110", "0110", "0110")
    pred = index_masks("9999", "0110", "0100", "9999")
    scores = evaluate_sequence(truth, pred)
    assert set(scores) == {1}
    assert scores[1].j_by_frame == (1, 0.5)


def test_objects_missing_from_the_prediction_are_empty():
    truth = index_masks("0123", "0120", "0120", "0123")
    pred = index_masks("0000", "0100", "0100", "0000")
    scores = evaluate_sequence(truth, pred)
    assert {index: score.j_by_frame for index, score in scores.items()} == {
        1: (1, 1),
        2: (0, 0),
        3: (1, 1),
    }


def test_object_count_is_the_largest_index_of_the_first_frame():
    truth = index_masks("0030", "5230", "5230", "0030")
    scores = evaluate_sequence(truth, index_masks("0000", "0030", "0230", "0000"))
    assert list(scores) == [1, 2, 3]
    assert scores[1].j_by_frame == (1, 1)  # an id the truth never uses scores as empty on empty
    assert scores[2].j_by_frame == (0, 1)
    assert scores[3].j_by_frame == (1, 1)


def test_void_in_the_truth_is_background():
    truth = np.array([[[0, 1, 255]]] * 3, np.uint8)
    assert object_count(truth[0]) == 1
    assert evaluate_sequence(truth, truth % 255)[1].j_by_frame == (1,)


@pytest.mark.parametrize("index", [2, 255])
def test_more_objects_than_the_truth_has_are_refused(index):
    truth = index_masks("010", "010", "010")
    pred = truth.copy()
    pred[1, 0, 0] = index
    with pytest.raises(UserError, match=f"index {index} is predicted"):
        evaluate_sequence(truth, pred)


def test_an_empty_first_frame_is_refused():
    truth = index_masks("000", "010", "010", "010")
    with pytest.raises(UserError, match="first truth frame holds no object"):
        evaluate_sequence(truth, truth)


@pytest.mark.parametrize("frames", [1, 2])
def test_too_few_frames_are_refused(frames):
    masks = index_masks(*["010"] * frames)
    with pytest.raises(UserError, match=f"{frames} truth frame"):
        evaluate_sequence(masks, masks)


def test_sequences_of_other_shape_are_refused():
    masks = index_masks("010", "010", "010")
    with pytest.raises(UserError, match=r"\[T, H, W\]"):
        evaluate_sequence(masks, masks[:2])
    with pytest.raises(UserError, match="3x1 pixels, the truth 2x1"):
        score_frame(masks[0, :, :2], masks[0], 1)


def test_sequence_scores_are_those_of_each_object_alone():
    generator = np.random.default_rng(0)
    truth = generator.integers(0, 4, (4, 40, 50)).repeat(4, axis=1).repeat(4, axis=2)
    truth[0, 0, 0] = 3
    pred = np.where(generator.random(truth.shape) < 0.1, 0, np.roll(truth, 1, axis=2))
    scores = evaluate_sequence(truth, pred)
    for index in (1, 2, 3):
        pairs = [(truth[t] == index, pred[t] == index) for t in (1, 2)]
        assert scores[index].j_by_frame == tuple(region_similarity(*pair) for pair in pairs)
        assert scores[index].f_by_frame == tuple(boundary_measure(*pair) for pair in pairs)


def test_summary_weighs_objects_not_sequences_or_frames():
    objects = [
        ObjectScores(j_by_frame=(1.0, 1.0, 1.0, 1.0), f_by_frame=(0.4,) * 4),
        ObjectScores(j_by_frame=(0.2,), f_by_frame=(0.6,)),
        ObjectScores(j_by_frame=(0.9, 0.6), f_by_frame=(0.2, 0.2)),
    ]
    summary = summarise(iter(objects))
    assert summary.j.mean == pytest.approx((1 + 0.2 + 0.75) / 3)
    assert summary.j.recall == pytest.approx(2 / 3)
    # two values: the quarter edges are 0, 0, 1, 1, 1
    assert summary.j.decay == pytest.approx((0.9 - 0.6) / 3)
    assert summary.f.mean == pytest.approx(0.4)
    assert summary.f.recall == pytest.approx(1 / 3)
    assert summary.jf_mean == pytest.approx((0.65 + 0.4) / 2)


def test_summary_needs_objects():
    with pytest.raises(UserError, match="no object"):
        summarise([])


def test_summary_keeps_a_nan_decay():
    long = ObjectScores(j_by_frame=(1.0,) * 300, f_by_frame=(1.0,) * 300)
    summary = summarise([long])
    assert math.isnan(summary.j.decay)
    assert summary.j.mean == 1


def test_a_single_foreground_is_all_that_is_not_background():
    mask = np.array([[0, 1, 3, 255]], np.uint8)
    assert single_foreground(mask).tolist() == [[0, 1, 1, 1]]
