"""Keypoints and points on the cell grid and back, in both ways of doing it."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from model.errors import UserError
from model.propagation.annotations import KeypointAnnotation, PointAnnotation
from model.propagation.columns.keypoints import KeypointColumns
from model.propagation.columns.kind import Drawing
from model.propagation.columns.points import PointColumns
from model.propagation.grid import CellGrid

CPU = torch.device("cpu")
JHMDB = CellGrid((240, 320), 8, (320, 320))  # frames of 320x240 px squashed to 40x40 cells


def drawing(mode: str, grid: CellGrid = JHMDB, cells: int = 3) -> Drawing:
    return Drawing(grid, CPU, keypoint_mode=mode, keypoint_cells=cells)  # type: ignore[arg-type]


def points(*places: tuple[float, float]) -> PointAnnotation:
    return PointAnnotation(tuple(range(1, len(places) + 1)), np.array(places))


def drawn(mode: str, x: float, y: float, grid: CellGrid = JHMDB) -> np.ndarray:
    columns = PointColumns(drawing(mode, grid)).extended(points((x, y)))
    return columns.encode(points((x, y)))[0].numpy()


def test_reference_draws_four_by_four_cells_around_the_rounded_place() -> None:
    # x = 100 px is cell 12.5: int(11.0) = 11, centre 13. y = 51 px of 240 is cell 8.5: centre 9.
    maps = drawn("reference", 100, 51)
    expected = np.zeros((40, 40))
    for row in range(7, 11):
        for column in range(11, 15):
            expected[row, column] = np.exp(-2 * ((row - 9) ** 2 + (column - 13) ** 2))
    np.testing.assert_allclose(maps, expected, atol=1e-7)
    # The values that the evaluations are known to have at distances 0, 1 and 2.
    assert maps[9, 13] == 1
    assert maps[9, 14] == pytest.approx(0.1353, abs=1e-4)
    assert maps[7, 13] == pytest.approx(0.000335, abs=1e-6)


def test_reference_cuts_the_window_off_at_the_border() -> None:
    maps = drawn("reference", 319, 239)  # cell 39.9: window 38 to 41, centre 40, outside
    assert maps[:, :38].max() == 0
    assert maps[39, 39] == pytest.approx(np.exp(-4))
    assert not drawn("reference", 400, 100).any()


def test_reference_finds_the_mean_of_the_best_cells() -> None:
    columns = PointColumns(drawing("reference", cells=3)).extended(points((0, 0)))
    soft = torch.zeros(1, 40, 40)
    soft[0, 10, 20], soft[0, 10, 21], soft[0, 11, 20], soft[0, 30, 30] = 0.5, 0.3, 0.2, 0.1
    found = columns.decode(soft).xy_px_N2
    # Cells (20.3, 10.2), each 8 px wide and 6 px high, without a half-cell.
    np.testing.assert_allclose(found, [[20.3 * 8, 10.2 * 6]], atol=1e-4)


def test_reference_takes_the_first_of_equal_cells() -> None:
    columns = PointColumns(drawing("reference", cells=2)).extended(points((0, 0)))
    found = columns.decode(torch.ones(1, 40, 40)).xy_px_N2
    np.testing.assert_allclose(found, [[0.5 * 8, 0]])


@settings(max_examples=60, deadline=None)
@given(
    x=st.floats(4, 315),
    y=st.floats(4, 235),
    size=st.sampled_from([JHMDB, CellGrid((240, 320), 8), CellGrid((237, 317), 8)]),
)
def test_strict_gives_the_exact_place_back(x: float, y: float, size: CellGrid) -> None:
    """From half a cell inside the image on; what is drawn adds up to 1."""
    x, y = min(x, size.frame_size_px[1] - 5), min(y, size.frame_size_px[0] - 5)
    columns = PointColumns(drawing("strict", size)).extended(points((x, y)))
    soft = columns.encode(points((x, y)))
    assert soft.sum().item() == pytest.approx(1, abs=1e-5)
    np.testing.assert_allclose(columns.decode(soft).xy_px_N2, [[x, y]], atol=2e-3)


def test_strict_at_the_border_stays_within_half_a_cell() -> None:
    for x, y in ((0.0, 0.0), (-0.5, 100.0), (319.0, 239.0)):
        columns = PointColumns(drawing("strict")).extended(points((x, y)))
        found = columns.decode(columns.encode(points((x, y)))).xy_px_N2[0]
        assert abs(found[0] - x) <= 4 and abs(found[1] - y) <= 4


@pytest.mark.parametrize(("x", "y"), [(-0.6, 10), (319.5, 10), (10, 239.5), (10, -40), (1e9, 1e9)])
def test_strict_draws_nothing_for_a_place_outside_the_image(x: float, y: float) -> None:
    assert not drawn("strict", x, y).any()


@pytest.mark.parametrize("mode", ["reference", "strict"])
def test_nothing_in_a_column_is_no_place(mode: str) -> None:
    both = PointAnnotation((4, 2), np.array([[100.0, 100.0], [np.nan, np.nan]]))
    columns = PointColumns(drawing(mode)).extended(both)
    found = columns.decode(columns.encode(both))
    assert found.ids == (4, 2)
    assert np.isnan(found.xy_px_N2[1]).all() and not np.isnan(found.xy_px_N2[0]).any()


def test_joints_of_several_instances_have_a_column_each() -> None:
    rng = np.random.default_rng(0)
    first = KeypointAnnotation((7,), rng.uniform(20, 200, (1, 15, 2)))
    second = KeypointAnnotation((9, 7), rng.uniform(20, 200, (2, 15, 2)))
    columns = KeypointColumns(drawing("strict")).extended(first).extended(second)
    assert columns.ids == (7, 9)
    assert columns.names == tuple((label, joint) for label in (7, 9) for joint in range(15))
    found = columns.decode(columns.encode(second))
    np.testing.assert_allclose(found.xy_px_NK2, second.xy_px_NK2[::-1], atol=2e-3)
    only = columns.encode(first)
    assert only[:15].any() and not only[15:].any()


def test_what_is_no_place_is_refused() -> None:
    empty_points, empty_joints = PointColumns(drawing("strict")), KeypointColumns(drawing("strict"))
    with pytest.raises(UserError, match="points: 1 ids for 2 places"):
        empty_points.extended(PointAnnotation((1,), np.zeros((2, 2))))
    with pytest.raises(UserError, match="points: id 3 is there more than once"):
        empty_points.extended(PointAnnotation((1, 3, 3), np.zeros((3, 2))))
    with pytest.raises(
        UserError, match=r"an array of shape \(2, 3\) .* expected numbers \[any, 2\]"
    ):
        empty_points.extended(PointAnnotation((1, 2), np.zeros((2, 3))))
    with pytest.raises(UserError, match="a place is infinite"):
        empty_points.extended(points((np.inf, 3)))
    fifteen = KeypointAnnotation((1,), np.zeros((1, 15, 2)))
    with pytest.raises(UserError, match="keypoints: 14 joints, before there were 15"):
        empty_joints.extended(fifteen).extended(KeypointAnnotation((2,), np.zeros((1, 14, 2))))
