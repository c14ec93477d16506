"""Boxes on the cell grid and back."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from model.errors import UserError
from model.propagation.annotations import BoxAnnotation
from model.propagation.columns.boxes import BoxColumns
from model.propagation.columns.kind import Drawing
from model.propagation.grid import CellGrid

GRID = CellGrid((93, 131), 8)  # 12x17 cells, the last ones padded
DRAWING = Drawing(GRID, torch.device("cpu"))


def boxes(*rows: tuple[float, float, float, float]) -> BoxAnnotation:
    return BoxAnnotation(tuple(range(1, len(rows) + 1)), np.array(rows))


def there_and_back(annotation: BoxAnnotation) -> np.ndarray:
    columns = BoxColumns(DRAWING).extended(annotation)
    return columns.decode(columns.encode(annotation)).xywh_px_N4


def test_value_of_a_cell_is_the_share_that_the_box_covers() -> None:
    one = boxes((10, 4, 30, 21))
    pixels = np.zeros((96, 136))
    pixels[4:25, 10:40] = 1
    expected = pixels.reshape(12, 8, 17, 8).mean(axis=(1, 3))
    soft = BoxColumns(DRAWING).extended(one).encode(one)
    np.testing.assert_allclose(soft[0].numpy(), expected, atol=1e-6)


@settings(max_examples=80, deadline=None)
@given(x=st.floats(0, 100), y=st.floats(0, 60), w=st.floats(16, 131), h=st.floats(16, 93))
def test_a_box_comes_back_within_a_tenth_of_a_cell(x: float, y: float, w: float, h: float) -> None:
    """At least two cells wide and high, so that it fills one; cut off at the border of the image."""
    found = there_and_back(boxes((x, y, w, h)))[0]
    edges = np.array([x, y, min(x + w, 131), min(y + h, 93)])
    np.testing.assert_allclose([*found[:2], *(found[:2] + found[2:])], edges, atol=0.09 * 8)


def test_edges_on_cell_borders_are_exact_and_boxes_may_overlap() -> None:
    given_boxes = np.array([[8, 16, 40, 24], [24, 24, 64, 40], [0, 0, 131, 93]])
    found = there_and_back(BoxAnnotation((5, 300, 2), given_boxes))
    np.testing.assert_allclose(found, given_boxes, atol=1e-4)


def test_a_box_smaller_than_a_cell_comes_back_around_its_place() -> None:
    found = there_and_back(boxes((50, 42, 3, 4)))[0]
    assert found[0] <= 50 and found[0] + found[2] >= 53
    assert found[2] <= 16 and found[3] <= 16


def test_of_several_regions_the_heaviest_counts() -> None:
    columns = BoxColumns(DRAWING).extended(boxes((0, 0, 8, 8)))
    soft = torch.zeros(1, 12, 17)
    soft[0, 2:5, 3:7] = 0.8  # 12 cells
    soft[0, 8:10, 10:12] = 1.0  # 4 cells, with the greatest value
    soft[0, 11, :] = 0.3  # below half of it
    x, y, w, h = columns.decode(soft).xywh_px_N4[0]
    assert 20 < x < 26 and 13 < y < 18 and 30 < w < 37 and 22 < h < 29


def test_hidden_and_outside_boxes_are_nowhere() -> None:
    nowhere = boxes((np.nan,) * 4, (131, 5, 10, 10), (5, -30, 10, 30), (20, 20, 0, 10))
    assert np.isnan(there_and_back(nowhere)).all()
    assert not BoxColumns(DRAWING).extended(nowhere).names_something(nowhere)
    corner = boxes((np.nan,) * 4, (130, 92, 10, 10))
    assert BoxColumns(DRAWING).extended(corner).names_something(corner)


def test_what_is_no_box_is_refused() -> None:
    with pytest.raises(UserError, match="boxes: a width or height is negative"):
        BoxColumns(DRAWING).extended(boxes((4, 4, -1, 5)))
    with pytest.raises(UserError, match=r"boxes: an array of shape \(1, 3\)"):
        BoxColumns(DRAWING).extended(BoxAnnotation((1,), np.zeros((1, 3))))
