"""The streaming engine on synthetic videos whose true masks are known."""

import numpy as np
import pytest
import torch
from torch import Tensor

from model.errors import UserError
from model.propagation.annotations import MaskAnnotation, PointAnnotation
from model.propagation.engine import Propagator
from model.propagation.identity import IdentityPropagator
from model.propagation.protocols import get_protocol
from tests.model.propagation.moving_blocks import moving_blocks
from tests.model.propagation.stubs import ColourCodes, FrameNumbers

CASES = {
    "crw, whole cells": (get_protocol("crw"), (16, 20), (8, 8), (128, 160)),
    "crw, padded": (get_protocol("crw"), (16, 20), (8, 8), (125, 153)),
    "crw, three recent": (get_protocol("crw", ["recent_frames=3"]), (16, 20), (8, 8), (125, 153)),
    "vidcolor": (get_protocol("vidcolor"), (32, 32), (8, 8), (256, 256)),
    "vidcolor, squashed": (get_protocol("vidcolor"), (32, 32), (4, 16), (128, 512)),
}


@pytest.mark.parametrize("case", CASES)
def test_labels_follow_the_objects(case: str) -> None:
    protocol, grid, block_px, size_px = CASES[case]
    video = moving_blocks(9, grid, block_px, size_px)
    propagator = Propagator(ColourCodes(temperature=0.02), protocol)
    propagator.start(video.frames[0], video.masks[0])
    # Up-sampling rounds the corners of blocks, so compare at the centres of the cells.
    centres = np.s_[block_px[0] // 2 :: block_px[0], block_px[1] // 2 :: block_px[1]]
    for frame, truth, known in zip(video.frames[1:], video.masks[1:], video.known[1:], strict=True):
        result = propagator.step(frame)
        assert result.mask_HW.dtype == np.uint8
        assert result.mask_HW.shape == size_px
        wrong = (result.mask_HW != truth)[centres] & known[centres]
        assert not wrong.any()
        # The objects have left their first place, so a repeated first mask would be wrong.
        assert (video.masks[0] != truth)[centres].any()


def test_probabilities_are_distributions_over_the_ids_of_the_first_mask() -> None:
    video = moving_blocks(3, (16, 20), (8, 8), (125, 153))
    propagator = Propagator(ColourCodes(temperature=0.02), get_protocol("crw"))
    propagator.start(video.frames[0], video.masks[0])
    result = propagator.step(video.frames[1])
    assert result.object_ids == (0, 3, 200)
    assert result.probabilities_LHW.shape == (3, 16, 20)
    torch.testing.assert_close(result.probabilities_LHW.sum(0), torch.ones(16, 20))


def test_as_many_objects_as_ids_exist() -> None:
    mask = np.zeros((128, 128), dtype=np.uint8)
    mask[:] = np.arange(256, dtype=np.uint8).reshape(16, 16).repeat(8, axis=0).repeat(8, axis=1)
    frame = np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    frame = frame.repeat(8, axis=0).repeat(8, axis=1)
    propagator = Propagator(ColourCodes(temperature=0.01), get_protocol("crw"))
    propagator.start(frame, mask)
    result = propagator.step(frame)
    np.testing.assert_array_equal(result.mask_HW[4::8, 4::8], mask[4::8, 4::8])


def test_soft_labels_are_carried_on() -> None:
    """A context of equal features averages what it holds; a hard mask would not stay at 0.25."""
    protocol = get_protocol("vidcolor", ["frame_size_px=none", "recent_frames=1"])
    propagator = Propagator(FrameNumbers(), protocol)
    mask = np.zeros((16, 16), dtype=np.uint8)
    mask[:8, :8] = 9
    frame = np.zeros((16, 16, 3), dtype=np.uint8)
    propagator.start(frame, mask)
    for _ in range(3):
        result = propagator.step(frame)
        torch.testing.assert_close(result.probabilities_LHW[1], torch.full((2, 2), 0.25))


def test_start_forgets_the_video_before() -> None:
    first, second = (moving_blocks(4, (16, 20), (8, 8), size) for size in [(128, 160), (120, 150)])
    used = Propagator(ColourCodes(temperature=0.02), get_protocol("crw"))
    used.start(first.frames[0], first.masks[0])
    used.step(first.frames[1])
    fresh = Propagator(ColourCodes(temperature=0.02), get_protocol("crw"))
    for propagator in (used, fresh):
        propagator.start(second.frames[0], (second.masks[0] == 3).astype(np.uint8) * 11)
    for frame in second.frames[1:]:
        one, other = used.step(frame), fresh.step(frame)
        assert one.object_ids == (0, 11)
        np.testing.assert_array_equal(one.mask_HW, other.mask_HW)


def build(kind: str) -> Propagator | IdentityPropagator:
    if kind == "identity":
        return IdentityPropagator()
    return Propagator(ColourCodes(temperature=0.05), get_protocol(kind))


@pytest.mark.parametrize("kind", ["crw", "vidcolor", "identity"])
def test_bad_input_is_named(kind: str) -> None:
    propagator = build(kind)
    frame = np.zeros((20, 30, 3), dtype=np.uint8)
    mask = np.ones((20, 30), dtype=np.uint8)
    with pytest.raises(RuntimeError, match=r"start\(\)"):
        propagator.step(frame)
    with pytest.raises(UserError, match="no object"):
        propagator.start(frame, np.zeros_like(mask))
    with pytest.raises(UserError, match=r"mask is 30x19 px .*, its frame 30x20 px"):
        propagator.start(frame, mask[:19])
    with pytest.raises(UserError, match="one integer id per pixel"):
        propagator.start(frame, mask.astype(np.float32))
    with pytest.raises(UserError, match="one integer id per pixel"):
        propagator.start(frame, frame)
    with pytest.raises(UserError, match="ids from -3 to 1, expected 0 to 2147483647"):
        propagator.start(frame, np.where(np.arange(30) < 4, np.int64(-3), mask))
    with pytest.raises(UserError, match="ids from 1 to 2147483648"):
        propagator.start(frame, np.where(np.arange(30) < 4, np.int64(2**31), mask))
    with pytest.raises(UserError, match="expected uint8 RGB"):
        propagator.start(frame[..., 0], mask)
    with pytest.raises(UserError, match="frame 0 is empty"):
        propagator.start(frame[:0], mask[:0])
    with pytest.raises(UserError, match="the first frame has no annotation"):
        propagator.start(frame, ())
    with pytest.raises(UserError, match="a frame has 2 mask annotations"):
        propagator.start(frame, [MaskAnnotation(mask), MaskAnnotation(mask)])
    with pytest.raises(UserError, match="str is no kind of annotation"):
        propagator.start(frame, ["mask"])  # type: ignore[list-item]  # the point of it
    with pytest.raises(UserError, match="first point annotation has no place"):
        propagator.start(frame, [PointAnnotation((1,), np.full((1, 2), np.nan))])
    propagator.start(frame, mask)
    propagator.step(frame)
    with pytest.raises(UserError, match=r"frame 2 is 31x20 px .*, the first frame 30x20 px"):
        propagator.step(np.zeros((20, 31, 3), dtype=np.uint8))
    with pytest.raises(UserError, match="frame 2 has shape"):
        propagator.step(frame.astype(np.float32))
    assert propagator.step(frame).mask_HW.shape == (20, 30)


def test_squash_that_does_not_fit_the_encoder() -> None:
    protocol = get_protocol("vidcolor", ["frame_size_px=100x100"])
    frame, mask = np.zeros((20, 30, 3), dtype=np.uint8), np.ones((20, 30), dtype=np.uint8)
    with pytest.raises(UserError, match="frame_size_px=100x100 is not a multiple"):
        Propagator(ColourCodes(temperature=0.05), protocol).start(frame, mask)


def test_encoder_with_another_grid_is_refused() -> None:
    class Halved(ColourCodes):
        def encode(self, frame_3HW: Tensor) -> Tensor:
            return super().encode(frame_3HW)[:, ::2, ::2]

    frame, mask = np.zeros((32, 32, 3), dtype=np.uint8), np.ones((32, 32), dtype=np.uint8)
    with pytest.raises(ValueError, match=r"the encoder gave \(2, 2\) cells"):
        Propagator(Halved(temperature=0.05), get_protocol("crw")).start(frame, mask)


ONCE_AND_WINDOWED = ("pad_with_first=false", "window_on_anchor=true")
PINNED = {
    ("crw", ONCE_AND_WINDOWED): (
        [
            [0.362758, 0.066422, 0.636874, 0.728679],
            [0.423352, 0.823634, 0.064167, 0.028143],
            [0.21389, 0.109944, 0.298959, 0.243178],
        ],
        [16921, 1173, 1031],
    ),
    ("vidcolor", ()): (
        [
            [0.217015, 0.979933, 0.9941, 0.329673],
            [0.004975, 0.000049, 0.002505, 0.427285],
            [0.778011, 0.020024, 0.003398, 0.24304],
        ],
        [15923, 1975, 1227],
    ),
}


@pytest.mark.parametrize(("name", "settings"), PINNED)
def test_what_a_protocol_gives_stays_as_it_was(name: str, settings: tuple[str, ...]) -> None:
    """Four frames of noise, where everything matters: values of an earlier version of this engine."""
    rng = np.random.default_rng(7)
    frames = rng.integers(0, 256, (5, 125, 153, 3), dtype=np.uint8)
    mask = np.zeros((125, 153), np.uint8)
    mask[20:70, 30:90], mask[60:110, 80:140] = 3, 200
    propagator = Propagator(ColourCodes(temperature=0.05), get_protocol(name, settings))
    propagator.start(frames[0], mask)
    for frame in frames[1:]:
        result = propagator.step(frame)
    probabilities, pixels = PINNED[name, settings]
    _, height, width = result.probabilities_LHW.shape
    row = result.probabilities_LHW[:, height // 2, :: width // 4].numpy()
    np.testing.assert_allclose(row, probabilities, atol=2e-5)
    counts = np.bincount(result.mask_HW.ravel(), minlength=256)[[0, 3, 200]]
    np.testing.assert_allclose(counts, pixels, atol=3)
