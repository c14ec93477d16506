import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage.color import lab2rgb, rgb2lab

from model.color import (
    area_mean,
    colour_codes,
    lab_to_rgb,
    nearest_centroid,
    one_hot,
    rgb_to_lab,
)


def random_rgb(seed, height=24, width=40, brightest=256):
    return np.random.default_rng(seed).integers(0, brightest, (height, width, 3), dtype=np.uint8)


def chw(image):
    return torch.from_numpy(np.moveaxis(image, -1, 0).copy())


@pytest.mark.parametrize("brightest", [256, 60, 8, 1])
def test_lab_agrees_with_skimage(brightest):
    image = random_rgb(0, brightest=brightest) if brightest > 1 else np.zeros((8, 8, 3), np.uint8)
    ours = rgb_to_lab(chw(image)).numpy()
    assert np.abs(np.moveaxis(ours, 0, -1) - rgb2lab(image)).max() < 0.1


def test_all_greys_have_no_colour():
    grey = np.repeat(np.arange(256, dtype=np.uint8)[:, None, None], 3, axis=2)
    assert rgb_to_lab(chw(grey))[1:].abs().max() < 0.1


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_rgb_survives_the_way_to_lab_and_back(seed):
    image = random_rgb(seed, 6, 6)
    back = lab_to_rgb(rgb_to_lab(chw(image)))
    assert (back.int() - chw(image).int()).abs().max() <= 1


def test_lab_to_rgb_agrees_with_skimage_inside_the_gamut():
    lab = np.stack(np.meshgrid([30.0, 60.0, 80.0], [-10.0, 5.0], [-8.0, 12.0]), -1).reshape(3, 4, 3)
    theirs = np.round(lab2rgb(lab) * 255)
    ours = lab_to_rgb(torch.from_numpy(np.moveaxis(lab, -1, 0).copy())).numpy()
    assert np.abs(np.moveaxis(ours, 0, -1) - theirs).max() <= 1


def test_area_mean_is_the_mean_of_each_block():
    image = torch.arange(2 * 16 * 24, dtype=torch.float32).reshape(2, 16, 24)
    expected = image.numpy().reshape(2, 2, 8, 3, 8).mean(axis=(2, 4))
    assert np.allclose(area_mean(image, (2, 3)).numpy(), expected)


def test_nearest_centroid_by_brute_force_and_ties_to_the_lowest():
    rng = np.random.default_rng(1)
    centroids = rng.uniform(-50, 50, (16, 2))
    ab = rng.uniform(-60, 60, (2, 5, 7))
    expected = [
        [((ab[:, y, x] - centroids) ** 2).sum(1).argmin() for x in range(7)] for y in range(5)
    ]
    ours = nearest_centroid(torch.from_numpy(ab), torch.from_numpy(centroids))
    assert ours.tolist() == expected
    tie = nearest_centroid(torch.zeros(2, 1, 1), torch.tensor([[3.0, 0.0], [-3.0, 0.0]]))
    assert tie.item() == 0


def test_one_hot_has_one_plane_per_cluster():
    codes = torch.tensor([[0, 2], [1, 2]])
    planes = one_hot(codes, 4)
    assert planes.shape == (4, 2, 2)
    assert planes.sum(dim=0).eq(1).all()
    assert planes.argmax(dim=0).equal(codes)


def test_colour_codes_follow_skimage_lab():
    image = random_rgb(3, 32, 48)
    centroids = np.random.default_rng(4).uniform(-40, 40, (16, 2)).astype(np.float32)
    ab = rgb2lab(image).reshape(4, 8, 6, 8, 3).mean(axis=(1, 3))[..., 1:]
    distance = ((ab[:, :, None] - centroids) ** 2).sum(-1)
    ours = colour_codes(chw(image), torch.from_numpy(centroids), (4, 6)).numpy()
    assert (
        np.take_along_axis(distance, ours[..., None], -1)[..., 0] < distance.min(-1) + 0.1
    ).all()
