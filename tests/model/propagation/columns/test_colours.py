"""Colours on the cell grid and back, and masks that are rescaled."""

import numpy as np
import pytest
import torch

from model.errors import UserError
from model.propagation.annotations import ColourAnnotation, MaskAnnotation
from model.propagation.columns.colours import ColourColumns
from model.propagation.columns.kind import Drawing
from model.propagation.columns.masks import MaskColumns
from model.propagation.grid import CellGrid, rescaled

GRID = CellGrid((16, 24), 8)
CPU = torch.device("cpu")


def test_a_cell_has_the_mean_colour_of_its_pixels() -> None:
    ab = np.random.default_rng(0).uniform(-100, 100, (16, 24, 2))
    columns = ColourColumns(Drawing(GRID, CPU)).extended(ColourAnnotation(ab))
    soft = columns.encode(ColourAnnotation(ab))
    expected = ab.reshape(2, 8, 3, 8, 2).mean(axis=(1, 3))
    np.testing.assert_allclose(soft.permute(1, 2, 0).numpy(), expected, atol=1e-4)
    assert columns.decode(soft).ab_HW2.shape == (16, 24, 2)


def test_one_colour_stays_itself() -> None:
    ab = np.full((16, 24, 2), (-12.5, 40.0))
    columns = ColourColumns(Drawing(GRID, CPU))
    back = columns.decode(columns.encode(ColourAnnotation(ab)))
    np.testing.assert_allclose(back.ab_HW2, ab, atol=1e-5)


def test_colours_of_another_size_are_refused() -> None:
    columns = ColourColumns(Drawing(GRID, CPU))
    with pytest.raises(UserError, match=r"colours: an array of shape \(16, 23, 2\)"):
        columns.extended(ColourAnnotation(np.zeros((16, 23, 2))))
    with pytest.raises(UserError, match="not a number"):
        columns.extended(ColourAnnotation(np.full((16, 24, 2), np.nan)))


def test_rescaled_maps_go_from_0_to_1_and_flat_ones_stay() -> None:
    maps = torch.stack([torch.tensor([[0.2, 0.4], [0.3, 0.6]]), torch.full((2, 2), 0.7)])
    expected = torch.stack([torch.tensor([[0.0, 0.5], [0.25, 1.0]]), torch.full((2, 2), 0.7)])
    torch.testing.assert_close(rescaled(maps), expected)


def test_masks_are_rescaled_in_pixels_before_the_decision() -> None:
    ids = np.zeros((16, 24), np.uint8)
    ids[:, 16:] = 5
    columns = MaskColumns(Drawing(GRID, CPU, rescale_output=True)).extended(MaskAnnotation(ids))
    soft = torch.tensor([[0.9, 0.9, 0.7], [0.1, 0.1, 0.3]])[:, None].expand(2, 2, 3)
    assert not MaskColumns(Drawing(GRID, CPU), (5,)).decode(soft).ids_HW.any()
    np.testing.assert_array_equal(columns.decode(soft).ids_HW, ids)
