"""Vectors come from the official metrics module; random masks are checked by a plain oracle."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import ndimage

from model.errors import UserError
from model.metrics.davis import (
    boundary_measure,
    region_similarity,
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
