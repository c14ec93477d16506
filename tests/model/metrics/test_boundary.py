import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from model.metrics.boundary import boundary_map, count_within, crop_to_content

SIDES = st.integers(1, 12)
MASKS = st.tuples(SIDES, SIDES).flatmap(lambda shape: arrays(bool, shape))
MASK_PAIRS = st.tuples(SIDES, SIDES).flatmap(
    lambda shape: st.tuples(arrays(bool, shape), arrays(bool, shape))
)


def boundary_by_pixel(mask: np.ndarray) -> np.ndarray:
    """The definition, one pixel at a time."""
    height, width = mask.shape
    edge = np.zeros_like(mask)
    for y in range(height):
        for x in range(width):
            neighbours = []
            if x + 1 < width:
                neighbours.append(mask[y, x + 1])
            if y + 1 < height:
                neighbours.append(mask[y + 1, x])
            if x + 1 < width and y + 1 < height:
                neighbours.append(mask[y + 1, x + 1])
            edge[y, x] = any(neighbour != mask[y, x] for neighbour in neighbours)
    return edge


@given(MASKS)
def test_boundary_is_as_defined_pixel_by_pixel(mask):
    assert np.array_equal(boundary_map(mask), boundary_by_pixel(mask))


def test_boundary_sits_half_a_pixel_towards_the_origin():
    mask = np.zeros((6, 6), bool)
    mask[2:4, 2:4] = True
    expected = np.zeros((6, 6), bool)
    expected[1, 1:4] = expected[1:4, 1] = expected[3, 1:4] = expected[1:4, 3] = True
    assert np.array_equal(boundary_map(mask), expected)


def test_boundary_lengths_of_the_official_vector_that_touches_two_borders():
    truth, pred = np.zeros((2, 480, 854), bool)
    truth[100:300, 200:500] = True
    pred[100:480, 200:854] = True
    assert (boundary_map(pred).sum(), boundary_map(truth).sum()) == (1035, 1000)


def test_full_mask_has_no_boundary():
    assert not boundary_map(np.ones((5, 7), bool)).any()


def test_mask_at_the_border_has_no_boundary_along_it():
    mask = np.zeros((5, 5), bool)
    mask[3:, 3:] = True
    edge = boundary_map(mask)
    assert set(zip(*np.nonzero(edge), strict=True)) == {(2, 2), (2, 3), (2, 4), (3, 2), (4, 2)}


@given(MASK_PAIRS)
def test_crop_keeps_every_boundary_pixel(masks):
    for whole, cropped in zip(masks, crop_to_content(*masks), strict=True):
        assert boundary_map(cropped).sum() == boundary_map(whole).sum()


def test_crop_cuts_both_masks_to_their_common_box_and_margin():
    first, second = np.zeros((2, 30, 40), bool)
    first[10:12, 20:24] = True
    second[15, 26] = True
    first_crop, second_crop = crop_to_content(first, second)
    assert np.array_equal(first_crop, first[9:17, 19:28])
    assert np.array_equal(second_crop, second[9:17, 19:28])


@given(MASK_PAIRS, st.integers(0, 6) | st.floats(1, 6))
def test_count_within_is_the_count_of_points_near_enough(masks, radius):
    points, near = masks
    near_yx = np.argwhere(near)
    expected = sum(
        any((py - qy) ** 2 + (px - qx) ** 2 <= radius**2 for qy, qx in near_yx)
        for py, px in np.argwhere(points)
    )
    assert count_within(points, near, radius) == expected


@pytest.mark.parametrize(
    ("offset", "counted"), [((3, 4), 1), ((4, 4), 0), ((0, 5), 1), ((6, 0), 0)]
)
def test_disc_edge_is_inclusive(offset, counted):
    points, near = np.zeros((2, 20, 20), bool)
    near[8, 8] = True
    points[8 + offset[0], 8 + offset[1]] = True
    assert count_within(points, near, 5) == counted
