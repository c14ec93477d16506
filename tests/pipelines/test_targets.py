"""The fast colour path against scikit-image and the readable reference in the model."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage.color import rgb2lab

from model.color import area_mean, rgb_to_lab
from model.color import colour_codes as reference_codes
from pipelines.targets import CELL_PX, cell_lab, colour_codes, pack_one_hot, unpack_one_hot


def image(kind: str, height: int = 256, width: int = 256) -> np.ndarray:
    random = np.random.default_rng(7)
    shape = (height, width, 3)
    if kind == "dark":  # both branches of the Lab curve and of the sRGB curve
        return random.integers(0, 14, shape, dtype=np.uint8)
    if kind == "saturated":
        return (random.integers(0, 2, shape) * 255).astype(np.uint8)
    if kind == "flat saturated":
        cells = random.integers(0, 2, (height // CELL_PX, width // CELL_PX, 3)) * 255
        return cells.repeat(CELL_PX, 0).repeat(CELL_PX, 1).astype(np.uint8)
    if kind == "black and white":
        return random.integers(0, 2, (height, width, 1)).repeat(3, 2).astype(np.uint8) * 255
    return random.integers(0, 256, shape, dtype=np.uint8)


KINDS = ["random", "dark", "saturated", "flat saturated", "black and white"]


@pytest.mark.parametrize("kind", KINDS)
def test_lab_of_cells_is_that_of_scikit_image_and_of_the_model(kind: str) -> None:
    frame_HW3 = image(kind, 128, 192)
    lab = cell_lab(frame_HW3)
    assert lab.shape == (16, 24, 3)
    assert lab.dtype == np.float32
    expected = rgb2lab(frame_HW3).reshape(16, 8, 24, 8, 3).mean(axis=(1, 3))
    assert np.abs(lab - expected).max() < 0.1
    reference = area_mean(rgb_to_lab(torch.from_numpy(frame_HW3).movedim(-1, 0)), (16, 24))
    assert np.abs(lab - reference.movedim(0, -1).numpy()).max() < 0.1


@pytest.mark.parametrize("kind", KINDS)
def test_codes_are_those_of_the_model_but_for_ties(kind: str) -> None:
    frame_HW3 = image(kind)
    random = np.random.default_rng(1)
    centroids = random.uniform(-60, 60, (16, 2)).astype(np.float32)
    codes = colour_codes(frame_HW3, centroids)
    expected = reference_codes(
        torch.from_numpy(frame_HW3).movedim(-1, 0), torch.from_numpy(centroids), (32, 32)
    ).numpy()
    assert codes.shape == (32, 32)
    assert codes.dtype == np.uint8
    distance = np.linalg.norm(cell_lab(frame_HW3)[..., None, 1:] - centroids, axis=-1)
    chosen, other = (
        np.take_along_axis(distance, ids.astype(np.int64)[..., None], -1)
        for ids in (codes, expected)
    )
    assert np.abs(chosen - other).max() < 1e-3
    assert (codes == expected).mean() > 0.99


def test_equal_centroids_go_to_the_lowest_id() -> None:
    codes = colour_codes(image("random"), np.array([[9, 9], [0, 0], [0, 0]], np.float32))
    assert set(np.unique(codes)) <= {0, 1}


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 99),
    clips=st.integers(1, 3),
    frames=st.integers(1, 5),
    clusters=st.integers(2, 256),
    cells_hw=st.sampled_from([(1, 8), (4, 4), (8, 8), (2, 12)]),
)
def test_packing_and_back(
    seed: int, clips: int, frames: int, clusters: int, cells_hw: tuple[int, int]
) -> None:
    random = np.random.default_rng(seed)
    codes = random.integers(0, clusters, (clips, frames, *cells_hw)).astype(np.uint8)
    packed = [pack_one_hot(clip, clusters) for clip in codes]
    shape = (frames, clusters, *cells_hw)
    assert {len(row) for row in packed} == {int(np.prod(shape)) // 8}
    planes = unpack_one_hot(np.array([np.frombuffer(row, np.uint8) for row in packed]), shape)
    assert planes.shape == (clips, *shape)
    assert (planes.sum(axis=2) == 1).all()
    assert (planes.argmax(axis=2) == codes).all()


def test_the_first_cell_is_the_most_significant_bit() -> None:
    codes = np.array([[[1, 0, 0, 0, 0, 0, 0, 1]]], np.uint8)
    assert pack_one_hot(codes, 2) == bytes([0b01111110, 0b10000001])
    planes = codes == np.arange(2)[:, None, None]
    assert pack_one_hot(codes, 2) == np.packbits(planes, bitorder="big").tobytes()
