"""Frames, masks and soft maps between pixels and cells: nothing may shift on the way."""

import numpy as np
import pytest
import torch

from model.errors import UserError
from model.propagation.grid import CellGrid

CPU = torch.device("cpu")


def disc(height: int, width: int, y: float, x: float, radius: float) -> np.ndarray:
    rows, columns = np.mgrid[:height, :width]
    return ((rows - y) ** 2 + (columns - x) ** 2 < radius**2).astype(np.uint8)


def centroid(mask: np.ndarray) -> np.ndarray:
    return np.argwhere(mask).mean(axis=0)


@pytest.mark.parametrize(
    ("size", "stride", "cells"),
    [
        ((480, 854), 8, (60, 107)),
        ((61, 83), 8, (8, 11)),
        ((8, 8), 8, (1, 1)),
        ((1, 17), 16, (1, 2)),
    ],
)
def test_grid_has_a_cell_for_every_pixel(
    size: tuple[int, int], stride: int, cells: tuple[int, int]
) -> None:
    grid = CellGrid(size, stride)
    assert grid.size_cells == cells
    assert grid.covered_px == (cells[0] * stride, cells[1] * stride)


def test_own_size_is_padded_with_edge_pixels_and_never_cropped() -> None:
    frame = np.random.default_rng(0).integers(0, 256, (13, 21, 3), dtype=np.uint8)
    read = CellGrid((13, 21), 8).encoder_input(frame, CPU).permute(1, 2, 0).numpy()
    np.testing.assert_array_equal(read, np.pad(frame, ((0, 3), (0, 3), (0, 0)), mode="edge"))


def test_squash_keeps_flat_colours_and_halves_places() -> None:
    frame = np.zeros((64, 128, 3), dtype=np.uint8)
    frame[:, 64:] = (10, 200, 255)
    read = CellGrid((64, 128), 8, (32, 64)).encoder_input(frame, CPU)
    assert read.dtype == torch.uint8
    assert read.shape == (3, 32, 64)
    assert read[:, :, :31].max() == 0
    assert read[:, 5, 40].tolist() == [10, 200, 255]


@pytest.mark.parametrize("label_resize", ["nearest", "bilinear"])
@pytest.mark.parametrize("squash", [None, (64, 64)])
def test_edges_on_cell_borders_come_back_exactly(
    label_resize: str, squash: tuple[int, int] | None
) -> None:
    height, width = (61, 83) if squash is None else (128, 192)
    grid = CellGrid((height, width), 8, squash)
    cell_y, cell_x = (8, 8) if squash is None else (16, 24)
    mask = np.zeros((height, width), dtype=np.uint8)
    mask[:, 5 * cell_x :] = 7
    soft = grid.to_cells(mask, (0, 7), label_resize, CPU)
    np.testing.assert_array_equal(grid.to_mask(soft, (0, 7)), mask)
    mask = np.zeros((height, width), dtype=np.uint8)
    mask[: 3 * cell_y] = 7
    soft = grid.to_cells(mask, (0, 7), label_resize, CPU)
    np.testing.assert_array_equal(grid.to_mask(soft, (0, 7)), mask)


@pytest.mark.parametrize("label_resize", ["nearest", "bilinear"])
@pytest.mark.parametrize("squash", [None, (64, 64)])
@pytest.mark.parametrize(("height", "width"), [(133, 187), (128, 184), (129, 191)])
def test_a_disc_stays_where_it_was(
    label_resize: str, squash: tuple[int, int] | None, height: int, width: int
) -> None:
    """On the average over many places; a single disc is rounded to whole cells."""
    grid = CellGrid((height, width), 8, squash)
    cell_px = np.array(grid.covered_px) / grid.size_cells
    rng = np.random.default_rng(4)
    shifts_cells = []
    for _ in range(60):
        y, x = rng.uniform(31, height - 31), rng.uniform(31, width - 31)
        mask = disc(height, width, y, x, 30)
        back = grid.to_mask(grid.to_cells(mask, (0, 1), label_resize, CPU), (0, 1))
        shifts_cells.append((centroid(back) - centroid(mask)) / cell_px)
    assert np.abs(np.mean(shifts_cells, axis=0)).max() < 0.08
    assert np.abs(shifts_cells).max() < 0.4


def test_nearest_takes_the_pixel_at_the_centre_of_the_cell() -> None:
    mask = np.random.default_rng(1).integers(0, 3, (40, 48), dtype=np.uint8)
    soft = CellGrid((40, 48), 8).to_cells(mask, (0, 1, 2), "nearest", CPU)
    np.testing.assert_array_equal(soft.argmax(0).numpy(), mask[4::8, 4::8])
    assert set(soft.unique().tolist()) == {0.0, 1.0}


def test_bilinear_takes_the_mean_of_the_four_central_pixels() -> None:
    mask = np.random.default_rng(2).integers(0, 2, (40, 48), dtype=np.uint8)
    soft = CellGrid((40, 48), 8).to_cells(mask, (0, 1), "bilinear", CPU)
    expected = np.mean([mask[a::8, b::8] for a in (3, 4) for b in (3, 4)], axis=0)
    np.testing.assert_allclose(soft[1].numpy(), expected, atol=1e-6)


def test_labels_reach_the_padding_as_the_frame_does() -> None:
    # The last cell column holds one pixel of the frame; seven more repeat it.
    mask = np.zeros((8, 17), dtype=np.uint8)
    mask[:, 16] = 1
    soft = CellGrid((8, 17), 8).to_cells(mask, (0, 1), "bilinear", CPU)
    assert soft[1, 0].tolist() == [0.0, 0.0, 1.0]


def test_equal_values_go_to_the_first_label() -> None:
    soft = torch.full((3, 2, 2), 1 / 3)
    assert np.unique(CellGrid((16, 16), 8).to_mask(soft, (0, 4, 9))).tolist() == [0]


def test_mask_is_the_argmax_of_the_upsampled_maps() -> None:
    soft = torch.rand(4, 8, 11, generator=torch.Generator().manual_seed(3))
    up = torch.nn.functional.interpolate(
        soft[None], size=(64, 88), mode="bilinear", align_corners=False
    )[0, :, :61, :83]
    expected = np.array([0, 2, 17, 255])[up.argmax(0).numpy()]
    mask = CellGrid((61, 83), 8).to_mask(soft, (0, 2, 17, 255))
    np.testing.assert_array_equal(mask, expected)
    assert mask.dtype == np.uint8


def test_squash_must_fit_the_stride() -> None:
    with pytest.raises(UserError, match=r"frame_size_px=64x60 is not a multiple of .* 8 px"):
        CellGrid((100, 100), 8, (64, 60))
