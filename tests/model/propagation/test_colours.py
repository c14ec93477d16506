"""Colours carried through a video: the columns are ab, the affinity is that of labels."""

import numpy as np
import pytest
import torch
from skimage.color import rgb2lab

from model.colorizer import Colorizer, ColorizerConfig
from model.errors import UserError
from model.propagation.colours import ColourPropagator
from model.propagation.encoders import ColorizerEncoder, LabEncoder
from model.propagation.engine import Propagator
from model.propagation.protocols import get_protocol

CRW = get_protocol("crw")


def blocks(seed: int = 0, shape: tuple[int, int] = (6, 8)) -> np.ndarray:
    """A frame of flat cells, each of another colour."""
    coarse = np.random.default_rng(seed).integers(0, 256, (*shape, 3)).astype(np.uint8)
    return coarse.repeat(8, axis=0).repeat(8, axis=1)


def true_ab(frame: np.ndarray) -> np.ndarray:
    """Of each cell, [2, h, w], by scikit-image."""
    cells = rgb2lab(frame).reshape(frame.shape[0] // 8, 8, frame.shape[1] // 8, 8, 3)
    return np.moveaxis(cells.mean(axis=(1, 3))[..., 1:], -1, 0)


def test_colours_follow_what_moves() -> None:
    """Cells of unlike colours, shifted by one cell a frame: by their colours they are found again."""
    first = blocks()
    propagator = ColourPropagator(LabEncoder(), CRW)
    assert np.allclose(propagator.start(first).numpy(), true_ab(first), atol=0.1)
    for step in (1, 2, 3):
        frame = np.roll(first, 8 * step, axis=1)
        carried, true = propagator.step(frame)
        assert np.allclose(true.numpy(), true_ab(frame), atol=0.1)
        new = slice(step, None)  # cells that came in on the left come from too far away
        wrong = np.linalg.norm(carried.numpy() - true_ab(frame), axis=0)[:, new]
        still = np.linalg.norm(true_ab(first) - true_ab(frame), axis=0)[:, new]
        assert wrong.max() < 5.0 < still.mean()


def test_a_mask_and_a_colour_of_two_values_come_out_alike() -> None:
    """The engine carries masks; a frame of two colours is a mask, so its colours must mix the same."""
    torch.manual_seed(0)
    protocol = get_protocol("vidcolor", ["frame_size_px=48x64"])
    colorizer = Colorizer(ColorizerConfig(width=4, embedding_channels=8))
    mask = np.zeros((48, 64), np.uint8)
    mask[8:32, 16:40] = 1
    first = np.where(mask[..., None] == 1, (200, 60, 60), (60, 60, 200)).astype(np.uint8)
    engine = Propagator(ColorizerEncoder(colorizer, protocol), protocol)
    colours = ColourPropagator(ColorizerEncoder(colorizer, protocol), protocol)
    engine.start(first, mask)
    ab = colours.start(first)
    background, foreground = ab[:, 0, 0], ab[:, 2, 3]
    for seed in range(4):
        frame = blocks(seed)
        share = engine.step(frame).probabilities_LHW[1]
        expected = background[:, None, None] * (1 - share) + foreground[:, None, None] * share
        assert torch.allclose(colours.step(frame)[0], expected, atol=1e-3)


def test_cells_become_pixels_and_the_padding_goes() -> None:
    propagator = ColourPropagator(LabEncoder(), CRW)
    flat = np.full((21, 35, 3), (10, 200, 90), np.uint8)
    cells = propagator.start(flat)
    assert cells.shape == (2, 3, 5)
    pixels = propagator.to_pixels(cells)
    assert pixels.shape == (2, 21, 35)
    assert np.allclose(pixels.numpy(), rgb2lab(flat)[0, 0, 1:, None, None], atol=0.1)


def test_what_cannot_be_coloured_is_refused() -> None:
    propagator = ColourPropagator(LabEncoder(), CRW)
    with pytest.raises(RuntimeError, match="start"):
        propagator.step(blocks())
    propagator.start(blocks())
    with pytest.raises(UserError, match="frame 1 is"):
        propagator.step(blocks(shape=(6, 9)))
