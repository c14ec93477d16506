"""Vectors come from the official metrics module; random masks are checked by a plain oracle."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import ndimage

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

SIDES = st.integers(1, 24)
MASK_PAIRS = st.tuples(SIDES, SIDES).flatmap(
    lambda shape: st.tuples(arrays(bool, shape), arrays(bool, shape))
)
SMALL, LARGE = (200, 200), (480, 854)


def box(shape, y0, y1, x0, x1):
    mask = np.zeros(shape, bool)
    mask[y0:y1, x0:x1] = True
    return mask


def ellipse(centre_x, centre_y, radius_x, radius_y):
    y, x = np.mgrid[:480, :854]
    return ((x - centre_x) / radius_x) ** 2 + ((y - centre_y) / radius_y) ** 2 <= 1


def reference_f(truth, pred, radius):
    """Boundary and dilation by their definitions on the whole image, with SciPy's own dilation."""

    def boundary(mask):
        east, south, south_east = mask.copy(), mask.copy(), mask.copy()
        east[:, :-1] = mask[:, 1:]
        south[:-1] = mask[1:]
        south_east[:-1, :-1] = mask[1:, 1:]
        edge = (mask != east) | (mask != south)
        edge[:-1, :-1] |= (mask != south_east)[:-1, :-1]
        return edge

    offsets = np.arange(-radius, radius + 1)
    disc = offsets[:, None] ** 2 + offsets**2 <= radius**2
    b_truth, b_pred = boundary(truth), boundary(pred)
    if not b_truth.any() or not b_pred.any():
        return float(b_truth.any() == b_pred.any())
    precision = ndimage.binary_dilation(b_truth, disc)[b_pred].mean()
    recall = ndimage.binary_dilation(b_pred, disc)[b_truth].mean()
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


BOX_200 = box(SMALL, 100, 150, 100, 150)
OTHER_200 = box(SMALL, 10, 40, 10, 40)
EMPTY_200 = np.zeros(SMALL, bool)
BOX_480 = box(LARGE, 100, 300, 200, 500)
ELLIPSE = ellipse(400, 240, 150, 90)

VECTORS = {
    "same": (BOX_200, BOX_200, 1, 1),
    "shift x +2": (BOX_200, box(SMALL, 100, 150, 102, 152), 0.923077, 1),
    "shift x +3": (BOX_200, box(SMALL, 100, 150, 103, 153), 0.886792, 1),
    "shift x +4": (BOX_200, box(SMALL, 100, 150, 104, 154), 0.851852, 0.53),
    "shift x +10": (BOX_200, box(SMALL, 100, 150, 110, 160), 0.666667, 0.47),
    "grown by 3": (BOX_200, box(SMALL, 97, 153, 97, 153), 0.797194, 0.953271),
    "left half": (BOX_200, box(SMALL, 100, 150, 100, 125), 0.5, 0.611429),
    "empty prediction": (BOX_200, EMPTY_200, 0, 0),
    "disjoint": (BOX_200, OTHER_200, 0, 0),
    "empty truth": (EMPTY_200, BOX_200, 0, 0),
    "both empty": (EMPTY_200, EMPTY_200, 1, 1),
    "480p shift x +8": (BOX_480, box(LARGE, 100, 300, 208, 508), 0.948052, 1),
    "480p shift x +9": (BOX_480, box(LARGE, 100, 300, 209, 509), 0.941748, 0.616),
    "480p shift (+6, +6)": (BOX_480, box(LARGE, 106, 306, 206, 506), 0.905851, 0.999),
    "480p two borders": (BOX_480, box(LARGE, 100, 480, 200, 854), 0.241429, 0.508108),
    "480p ellipse, near": (ELLIPSE, ellipse(412, 236, 140, 95), 0.880103, 0.619254),
    "480p ellipse, far": (ELLIPSE, ellipse(430, 260, 110, 120), 0.621050, 0.231927),
}


@pytest.mark.parametrize(("truth", "pred", "j", "f"), VECTORS.values(), ids=VECTORS.keys())
def test_official_vectors(truth, pred, j, f):
    assert region_similarity(truth, pred) == pytest.approx(j, abs=5e-7)
    assert boundary_measure(truth, pred) == pytest.approx(f, abs=5e-7)


def test_ellipses_have_the_sizes_of_the_official_vectors():
    areas = [np.count_nonzero(mask) for _, mask, *_ in list(VECTORS.values())[-2:]]
    assert [np.count_nonzero(ELLIPSE), *areas] == [42377, 41767, 41441]


def test_void_pixels_do_not_count():
    truth, pred = BOX_200, box(SMALL, 50, 150, 100, 150)
    void = box(SMALL, 50, 100, 100, 150)
    assert region_similarity(truth, pred, void) == 1
    assert boundary_measure(truth, pred, void) == 1
    assert region_similarity(truth, pred) == 0.5
    assert boundary_measure(truth, pred) == pytest.approx(0.628, abs=5e-4)


def test_void_over_everything_leaves_two_empty_masks():
    void = np.ones(SMALL, bool)
    assert region_similarity(BOX_200, OTHER_200, void) == 1
    assert boundary_measure(BOX_200, OTHER_200, void) == 1


@pytest.mark.parametrize(
    ("shape", "radius_px"), [((480, 854), 8), ((200, 200), 3), ((1080, 1920), 18), ((300, 400), 4)]
)
def test_radius_is_the_ceiling_of_a_share_of_the_diagonal(shape, radius_px):
    truth = box(shape, 50, 100, 50, 100)
    assert boundary_measure(truth, box(shape, 50, 100, 50 + radius_px, 100 + radius_px)) == 1
    assert boundary_measure(truth, box(shape, 50, 100, 51 + radius_px, 101 + radius_px)) < 1


def test_threshold_of_one_or_more_is_the_radius_in_pixels():
    pred = box(SMALL, 100, 150, 105, 155)
    assert boundary_measure(BOX_200, pred, bound_th=5) == 1
    assert boundary_measure(BOX_200, pred, bound_th=4) < 1


@given(MASK_PAIRS)
def test_j_is_symmetric_and_bounded_and_a_ratio_of_counts(masks):
    first, second = masks
    j = region_similarity(first, second)
    assert j == region_similarity(second, first)
    assert 0 <= j <= 1
    inside = [set(map(tuple, np.argwhere(mask))) for mask in masks]
    union = inside[0] | inside[1]
    assert j == (len(inside[0] & inside[1]) / len(union) if union else 1)


@given(MASK_PAIRS, st.integers(1, 5))
def test_f_equals_the_reference_on_random_masks(masks, radius):
    truth, pred = masks
    f = boundary_measure(truth, pred, bound_th=radius)
    assert f == pytest.approx(reference_f(truth, pred, radius), abs=1e-12)
    assert 0 <= f <= 1
    assert f == pytest.approx(boundary_measure(pred, truth, bound_th=radius), abs=1e-12)


@pytest.mark.parametrize("seed", range(8))
def test_f_equals_the_reference_on_blobs(seed):
    generator = np.random.default_rng(seed)
    noise = ndimage.gaussian_filter(generator.normal(size=(2, 150, 211)), (0, 6, 6))
    truth, pred = noise > generator.uniform(-0.03, 0.06, (2, 1, 1))
    f = boundary_measure(truth, pred)
    assert f == pytest.approx(reference_f(truth, pred, 3), abs=1e-12)
    assert 0 < f < 1


@given(MASK_PAIRS)
def test_identical_masks_score_one(masks):
    assert region_similarity(masks[0], masks[0]) == 1
    assert boundary_measure(masks[0], masks[0]) == 1


def test_non_zero_means_inside():
    truth, pred = BOX_200.astype(np.uint8) * 2, BOX_200.astype(np.int64) * 7
    assert region_similarity(truth, pred) == 1
    assert boundary_measure(truth, pred) == 1


@pytest.mark.parametrize("measure", [region_similarity, boundary_measure])
def test_other_sizes_are_refused(measure):
    with pytest.raises(UserError, match="20x10 pixels, the truth 10x20"):
        measure(np.zeros((20, 10)), np.zeros((10, 20)))
    with pytest.raises(UserError, match="20x10 pixels"):
        measure(np.zeros((20, 10)), np.zeros((20, 10)), np.zeros((10, 20)))
    with pytest.raises(UserError, match=r"\[H, W\]"):
        measure(np.zeros((2, 3, 4)), np.zeros((2, 3, 4)))


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
