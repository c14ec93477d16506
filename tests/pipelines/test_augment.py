import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage.transform import resize

from model.errors import UserError
from pipelines.augment import Augmentation, AugmentConfig, draw_augmentation

CELLS = 8
UNCHANGED = Augmentation(False, 0, 0, CELLS, 0.0, 1.0)


def texture(seed):
    """A smooth picture of 64 x 64."""
    return resize(np.random.default_rng(seed).integers(0, 256, (9, 9)), (64, 64), order=3)


def codes_of(seed):
    return np.random.default_rng(seed).integers(0, 16, (CELLS, CELLS))


def cut(array, drawn, scale):
    """What a person would cut out, by slicing."""
    top, left, side = scale * drawn.top, scale * drawn.left, scale * drawn.side
    part = array[top : top + side, left : left + side]
    return part[:, ::-1] if drawn.flipped else part


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    crop=st.sampled_from([0.3, 0.5, 0.8, 1.0]),
    size_cells=st.sampled_from([4, 8]),
)
def test_frames_and_targets_are_cut_and_mirrored_alike(seed, crop, size_cells):
    random = np.random.default_rng(seed)
    drawn = draw_augmentation(AugmentConfig(flip=0.5, crop=crop), CELLS, random)
    frame, codes = texture(seed).clip(0, 255).astype(np.uint8), codes_of(seed)
    rows, columns = drawn.cells(size_cells)
    centres = ((np.arange(size_cells) + 0.5) * drawn.side / size_cells).astype(int)
    np.testing.assert_array_equal(
        codes[rows[:, None], columns],
        cut(codes, drawn, 1)[:, :: -1 if drawn.flipped else 1][centres[:, None], centres][
            :, :: -1 if drawn.flipped else 1
        ],
    )
    size = (8 * size_cells, 8 * size_cells)
    if drawn.side <= size_cells:
        expected = resize(cut(frame, drawn, 8), size, order=1, preserve_range=True, mode="edge")
        assert np.abs(drawn(frame, size[0]) - expected).max() <= 1.0
    elif drawn.side % size_cells == 0:
        k = drawn.side // size_cells
        blocks = cut(frame, drawn, 8).astype(float).reshape(size[0], k, size[1], k)
        assert np.abs(drawn(frame, size[0]) - blocks.mean(axis=(1, 3))).max() <= 1.0


def test_cells_stay_over_their_pixels():
    """Frames that show their cells' codes in grey still do."""
    random = np.random.default_rng(0)
    config = AugmentConfig(flip=0.5, crop=0.4)
    agreement = []
    for seed in range(40):
        codes = codes_of(seed)
        frame = np.kron(codes * 16, np.ones((8, 8))).astype(np.uint8)
        drawn = draw_augmentation(config, CELLS, random)
        rows, columns = drawn.cells(CELLS)
        moved = drawn(frame, 64)
        centres = moved.reshape(CELLS, 8, CELLS, 8)[:, 3:5, :, 3:5].mean(axis=(1, 3))
        agreement.append((np.abs(centres / 16 - codes[rows[:, None], columns]) < 0.5).mean())
    # All but those whose centre lies where two cells of the source are mixed.
    assert np.mean(agreement) > 0.8


def test_brightness_and_contrast_follow_their_formula_and_saturate():
    frame = np.arange(0, 256, 4, dtype=np.uint8).repeat(64).reshape(64, 64)
    changed = Augmentation(False, 0, 0, CELLS, shift=40.0, gain=1.5)(frame, 64)
    expected = np.clip((frame.astype(float) - 127.5) * 1.5 + 127.5 + 40.0, 0, 255)
    assert np.abs(changed - expected).max() <= 0.5
    assert changed.max() == 255 and changed.dtype == np.uint8


def test_what_is_off_changes_nothing_and_what_is_drawn_stays_in_range():
    random = np.random.default_rng(0)
    assert {draw_augmentation(AugmentConfig(), CELLS, random) for _ in range(50)} == {UNCHANGED}
    frame = texture(0).astype(np.uint8)
    np.testing.assert_array_equal(UNCHANGED(frame, 64), frame)
    config = AugmentConfig(flip=0.5, crop=0.5, brightness=0.1, contrast=0.2)
    drawn = [draw_augmentation(config, CELLS, random) for _ in range(2000)]
    assert {d.side for d in drawn} == {4, 5, 6, 7, 8}
    assert all(0 <= d.top <= CELLS - d.side and 0 <= d.left <= CELLS - d.side for d in drawn)
    assert {d.left for d in drawn if d.side == 6} == {0, 1, 2}
    assert 0.45 < np.mean([d.flipped for d in drawn]) < 0.55
    shifts, gains = [d.shift for d in drawn], [d.gain for d in drawn]
    assert -25.5 <= min(shifts) < -24 and 24 < max(shifts) <= 25.5
    assert 0.8 <= min(gains) < 0.81 and 1.19 < max(gains) <= 1.2


@pytest.mark.parametrize(
    "setting", [{"flip": 1.5}, {"crop": 0.0}, {"crop": 1.1}, {"brightness": -0.1}, {"contrast": 2}]
)
def test_settings_out_of_range_are_refused(setting):
    with pytest.raises(UserError, match=next(iter(setting))):
        AugmentConfig(**setting)
