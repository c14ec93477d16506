"""Mean IoU against scikit-learn, and the resizing against Pillow."""

import math

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image
from sklearn.metrics import confusion_matrix, jaccard_score

from model.errors import UserError
from model.metrics.parts import VIP_CLASSES, class_iou, confusion, mean_iou, nearest

SIDES = st.integers(1, 9)
MAPS = st.tuples(SIDES, SIDES).flatmap(
    lambda shape: st.tuples(*[arrays(np.uint8, shape, elements=st.integers(0, 4))] * 2)
)


@given(MAPS)
def test_the_table_and_the_scores_are_scikit_learns(maps):
    truth, pred = maps
    table = confusion(truth, pred, classes=5)
    assert (table == confusion_matrix(truth.ravel(), pred.ravel(), labels=range(5))).all()
    there = np.union1d(truth, pred)
    expected = jaccard_score(truth.ravel(), pred.ravel(), labels=there, average=None)
    iou = class_iou(table)
    assert iou[there].tolist() == pytest.approx(expected.tolist())
    assert np.isnan(np.delete(iou, there)).all()
    assert mean_iou(table) == pytest.approx(expected.mean())


def test_pixels_are_summed_before_anything_is_divided():
    """Two frames: class 1 has 1 of 1 pixel, then 1 of 3."""
    first = confusion(np.array([[0, 1]]), np.array([[0, 1]]), classes=2)
    second = confusion(np.array([[1, 1, 1]]), np.array([[1, 0, 0]]), classes=2)
    assert class_iou(first + second).tolist() == [1 / 3, 2 / 4]
    assert mean_iou(first + second) == pytest.approx((1 / 3 + 1 / 2) / 2)


def test_a_class_that_only_the_prediction_has_scores_zero():
    table = confusion(np.array([[0, 0]]), np.array([[0, 1]]), classes=3)
    assert class_iou(table)[:2].tolist() == [0.5, 0]
    assert mean_iou(table) == 0.25


def test_void_pixels_do_not_count_whatever_is_predicted_there():
    table = confusion(np.array([[0, 1, 255, 20]]), np.array([[0, 1, 99, 0]]))
    assert table.sum() == 2
    assert mean_iou(table) == 1
    assert len(table) == len(VIP_CLASSES) == 20


def test_nothing_but_void_has_no_score():
    assert math.isnan(mean_iou(confusion(np.array([[255]]), np.array([[0]]))))


@given(arrays(np.uint8, st.tuples(SIDES, SIDES)), st.tuples(SIDES, SIDES))
def test_resizing_is_pillows(labels, size_hw):
    # where a centre falls on an edge between two pixels, Pillow's rounding decides
    for old, new in zip(labels.shape, size_hw, strict=True):
        assume(all((2 * i + 1) * old % (2 * new) for i in range(new)) or old % new == 0)
    resized = Image.fromarray(labels).resize(size_hw[::-1], Image.Resampling.NEAREST)
    assert (nearest(labels, size_hw) == np.array(resized)).all()


def test_a_prediction_of_another_size_is_brought_to_the_truths():
    truth = np.array([[0, 0, 1, 1], [0, 0, 1, 1]])
    assert mean_iou(confusion(truth, np.array([[0, 1]]), classes=2)) == 1


@pytest.mark.parametrize("index", [5, 255, -1])
def test_an_index_that_is_no_class_is_refused(index):
    with pytest.raises(UserError, match=f"index {index} is predicted, but the classes are 0 to 4"):
        confusion(np.zeros((2, 2), int), np.array([[0, 0], [0, index]]), classes=5)


def test_maps_have_rows_and_columns():
    with pytest.raises(UserError, match=r"\[H, W\]"):
        confusion(np.zeros((2, 2, 3), int), np.zeros((2, 2), int))


def test_the_scripts_own_output():
    """What eval_vip.py of UVC (4336938) makes of these maps, whose truth has two indices too many."""
    wave = np.sin(np.arange(1, 1201)).reshape(30, 40)
    truth = (11 * (1 + wave)).astype(int)
    other = (8 * (1 + np.sin(0.6 * np.arange(1, 1201)))).astype(int).reshape(30, 40)
    pred = np.where(np.sin(1.9 * np.arange(1, 1201)).reshape(30, 40) > 0.3, truth, other)
    table = confusion(truth, np.minimum(pred, 19))
    assert table.sum() == 966
    assert mean_iou(table) == pytest.approx(0.28667216371987136)
