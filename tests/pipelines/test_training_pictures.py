"""A network that knows the answer: what it recolours and where it points can be said beforehand."""

import numpy as np
import pytest
import torch
from skimage.color import lab2rgb, rgb2lab
from torch import Tensor

from model.colorizer import Colorizer, ColorizerConfig
from pipelines.held_out import HeldOutClip
from pipelines.training_pictures import ClipView, view_clip
from pipelines.training_sheet import Tile, clip_sheet, tile_sheet

CELLS, SIDE = 8, 64
SHIFT_YX = (1, 2)  # cells by which the second reference moves to become the target
CENTROIDS = np.array([(a, b) for a in (-30, -10, 10, 30) for b in (-30, -10, 10, 30)], np.float32)


class Oracle(Colorizer):
    """Cells of the second reference and of the target have the same embedding where they are the same."""

    def __init__(self) -> None:
        super().__init__(ColorizerConfig(width=4, embedding_channels=8, head="linear"))

    def forward(self, grey_BTHW: Tensor) -> Tensor:
        names = torch.eye(CELLS * CELLS).reshape(CELLS * CELLS, CELLS, CELLS) * 30
        unlike = torch.zeros_like(names)
        target = names.roll(SHIFT_YX, dims=(1, 2))
        return torch.stack((unlike, names, unlike, target))[None]


def painted(codes_hw: np.ndarray) -> np.ndarray:
    """Cells of one lightness in the colours of their codes: uint8 RGB [SIDE, SIDE, 3]."""
    ab = CENTROIDS[codes_hw].repeat(8, axis=0).repeat(8, axis=1)
    lab = np.concatenate((np.full((SIDE, SIDE, 1), 60.0), ab), axis=2)
    return (lab2rgb(lab) * 255).round().astype(np.uint8)


@pytest.fixture(scope="module")
def codes() -> np.ndarray:
    """[T, h, w]: two unrelated references around the one that the target is made of."""
    codes = np.random.default_rng(0).integers(0, 16, (4, CELLS, CELLS))
    codes[3] = np.roll(codes[1], SHIFT_YX, axis=(0, 1))
    return codes


@pytest.fixture(scope="module")
def view(codes: np.ndarray) -> ClipView:
    clip = HeldOutClip("a video", np.stack([painted(frame) for frame in codes]))
    return view_clip(clip, Oracle(), CENTROIDS)


def test_perfect_embeddings_recolour_exactly(view: ClipView, codes: np.ndarray) -> None:
    assert view.accuracy == 1
    assert view.copy_accuracy == pytest.approx((codes[2] == codes[3]).mean())
    centres = slice(4, None, 8)
    for picture, expected in ((view.recoloured_HW3, codes[3]), (view.copied_HW3, codes[2])):
        lab = rgb2lab(picture)[centres, centres]
        middle = (lab[..., 1:] + rgb2lab(picture)[3::8, 3::8, 1:]) / 2
        assert np.abs(middle - CENTROIDS[expected]).max() < 8  # the next centroid is 20 away
        np.testing.assert_allclose(lab[..., 0], 60, atol=4)  # some colours are clipped
    assert (view.target_HW3 == painted(codes[3])).all()
    assert np.ptp(view.grey_HW3, axis=2).max() == 0


def test_the_heat_of_a_known_match_peaks_there(view: ClipView) -> None:
    y, x = view.query_yx
    assert view.heat_Rhw.shape == (3, CELLS, CELLS)
    assert view.heat_Rhw.sum() == pytest.approx(1, abs=1e-4)
    source = (y - SHIFT_YX[0]) % CELLS, (x - SHIFT_YX[1]) % CELLS
    assert view.heat_Rhw[(1, *source)] > 0.99


def test_the_marked_cell_has_changed_its_colour(view: ClipView, codes: np.ndarray) -> None:
    y, x = view.query_yx
    assert 0 < y < CELLS - 1
    assert 0 < x < CELLS - 1
    ab = CENTROIDS[codes]
    moved = np.linalg.norm(ab[3] - ab[2], axis=2) * np.linalg.norm(ab[3], axis=2)
    assert moved[y, x] > 0.95 * moved[1:-1, 1:-1].max()


def test_the_sheet_has_a_row_a_clip_and_shows_the_heat(view: ClipView) -> None:
    one, two = (clip_sheet([view] * count, "step 5") for count in (1, 2))
    assert one.dtype == np.uint8
    assert one.shape[2] == 3
    assert one.shape[1] == two.shape[1]
    assert two.shape[0] > 1.5 * one.shape[0]
    assert (one[-1] == 255).all()  # light
    other = ClipView(**{**vars(view), "heat_Rhw": np.roll(view.heat_Rhw, 3, axis=2)})
    changed = (clip_sheet([other], "step 5") != one).any(axis=(0, 2)).nonzero()[0]
    # Only the second reference, the third of seven columns, is another picture.
    assert 2 / 7 < changed.min() / one.shape[1] < changed.max() / one.shape[1] < 3 / 7


def test_tiles_keep_their_shape_and_colours() -> None:
    red = np.full((30, 60, 3), (200, 10, 20), np.uint8)
    blue = np.full((30, 30, 3), (10, 20, 200), np.uint8)
    sheet = tile_sheet([Tile(red, "wide"), Tile(blue, "square"), Tile(red, "wide")], 2, "step 5")
    for colour, count in (((200, 10, 20), 2), ((10, 20, 200), 1)):
        rows, columns = (sheet == colour).all(axis=2).nonzero()
        assert len(rows) > 100 * 100 * count / 3
    rows, columns = (sheet == (10, 20, 200)).all(axis=2).nonzero()
    assert np.ptp(rows) == pytest.approx(np.ptp(columns), abs=2)
