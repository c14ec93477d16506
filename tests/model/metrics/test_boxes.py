"""Success and precision: hand-made boxes, IoU against masks of pixels, and the known bounds of AUC."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from pycocotools import mask as coco_mask

from model.errors import UserError
from model.metrics.boxes import (
    DISTANCES_PX,
    IOU_THRESHOLDS,
    box_scores,
    centre_error_px,
    mean_scores,
    overlap,
)

NO_BOX = [math.nan] * 4


def boxes(*rows):
    return np.array(rows, float)


def scored(truth, pred):
    return box_scores(overlap(truth, pred), centre_error_px(truth, pred))


BOXES = st.integers(1, 6).flatmap(
    lambda frames: st.tuples(
        *[
            arrays(np.float64, (frames, 4), elements=st.integers(1, 40)).map(
                lambda xywh: xywh + np.array([0, 0, 0.5, 0.25])
            )
        ]
        * 2
    )
)


@given(BOXES)
def test_overlap_is_cocos_iou_of_boxes(pair):
    truth, pred = pair
    expected = [
        coco_mask.iou(p[None], t[None], [0])[0, 0] for t, p in zip(truth, pred, strict=True)
    ]
    assert overlap(truth, pred).tolist() == pytest.approx(expected)


def test_centres_are_those_of_continuous_boxes():
    truth = boxes([0, 0, 10, 10], [0, 0, 10, 10])
    pred = boxes([3, 4, 10, 10], [0, 0, 16, 26])
    assert centre_error_px(truth, pred).tolist() == [5, math.hypot(3, 8)]


def test_there_are_21_thresholds_and_the_comparison_is_strict():
    assert len(IOU_THRESHOLDS) == 21
    assert IOU_THRESHOLDS[10] == 0.5
    half = scored(boxes([0, 0, 10, 10]), boxes([0, 0, 10, 5]))
    assert half.success == (1,) * 10 + (0,) * 11
    assert half.success_auc == pytest.approx(10 / 21)
    same = scored(boxes([0, 0, 10, 10]), boxes([0, 0, 10, 10]))
    assert same.success == (1,) * 20 + (0,)
    assert same.success_auc == pytest.approx(20 / 21)  # even perfect boxes do not reach 1
    apart = scored(boxes([0, 0, 10, 10]), boxes([10, 0, 10, 10]))
    assert apart.success == (0,) * 21


def test_twenty_pixels_are_near_enough():
    truth = boxes(*[[0, 0, 10, 10]] * 4)
    pred = boxes([20, 0, 10, 10], [12, 16, 10, 10], [20.5, 0, 10, 10], [0, 0, 10, 10])
    scores = scored(truth, pred)
    assert scores.precision_at_20_px == 0.75
    assert scores.precision[0] == 0.25
    assert len(scores.precision) == len(DISTANCES_PX) == 51


@pytest.mark.parametrize("nothing", [NO_BOX, [5, 5, 0, 10], [5, 5, 10, -1]])
def test_frames_without_a_box(nothing):
    truth = boxes([0, 0, 10, 10], nothing, [0, 0, 10, 10])
    pred = boxes([0, 0, 10, 10], [0, 0, 10, 10], nothing)
    nan = math.nan
    assert overlap(truth, pred).tolist() == pytest.approx([1, nan, 0], nan_ok=True)
    errors_px = centre_error_px(truth, pred).tolist()
    assert errors_px == pytest.approx([0, nan, math.inf], nan_ok=True)
    scores = scored(truth, pred)
    assert scores.success[10] == 0.5
    assert scores.precision[-1] == 0.5


@given(BOXES)
def test_curves_fall_and_rise(pair):
    scores = scored(*pair)
    assert list(scores.success) == sorted(scores.success, reverse=True)
    assert list(scores.precision) == sorted(scores.precision)
    mean_iou = overlap(*pair).mean()
    assert mean_iou - 1 / 20 <= scores.success_auc <= mean_iou + 1 / 20


def test_sequences_weigh_the_same_whatever_their_length():
    good = scored(boxes(*[[0, 0, 10, 10]] * 9), boxes(*[[0, 0, 10, 10]] * 9))
    bad = scored(boxes([0, 0, 10, 10]), boxes([100, 0, 10, 10]))
    mean = mean_scores([good, bad])
    assert mean.success == (0.5,) * 20 + (0,)
    assert mean.precision_at_20_px == 0.5
    with pytest.raises(UserError, match="no sequence"):
        mean_scores([])


def test_bad_arrays_are_refused():
    with pytest.raises(UserError, match=r"\[T, 4\]"):
        overlap(boxes([0, 0, 1, 1]), boxes([0, 0, 1, 1], [0, 0, 1, 1]))
    with pytest.raises(UserError, match="no frame has a true box"):
        scored(boxes(NO_BOX), boxes([0, 0, 1, 1]))


def wave(*shape, step=1.0):
    """Numbers between -1 and 1 that look random and are the same everywhere."""
    return np.sin(step * np.arange(1, 1 + np.prod(shape))).reshape(shape)


def test_the_toolkits_own_output():
    """What the GOT-10k toolkit (956e728) makes of these boxes."""
    truth = 5 + 60 * np.abs(wave(40, 4))
    pred = truth + 20 * np.abs(wave(40, 4, step=1.3)) ** 3 * np.sign(wave(40, 4, step=0.7))
    pred[:, 2:] = np.abs(pred[:, 2:]) + 1
    scores = scored(truth, pred)
    expected = "0.8 0.8 0.775 0.725 0.7 0.675 0.65 0.625 0.375 0.225 0.15 0.1 0.05 0.025 0.025"
    assert scores.success == pytest.approx([*map(float, expected.split()), *[0] * 6])
    assert scores.success_auc == pytest.approx(0.3190476190476191)
    assert [scores.precision[px] for px in (0, 5, 10, 20)] == pytest.approx([0, 0.05, 0.125, 0.55])
