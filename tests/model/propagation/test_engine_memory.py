"""What the streaming engine holds of a video, and in which order it looks at it."""

import numpy as np
import pytest
import torch

from model.propagation.engine import Propagator
from model.propagation.matching_protocol import MatchingProtocol
from model.propagation.protocols import get_protocol
from tests.model.propagation.held_tensors import held_tensors
from tests.model.propagation.moving_blocks import moving_blocks
from tests.model.propagation.stubs import ColourCodes, FrameNumbers


def test_memory_does_not_grow_with_the_video() -> None:
    encoder = ColourCodes(temperature=0.05)
    protocol = get_protocol("crw", ["recent_frames=4"])
    propagator = Propagator(encoder, protocol)
    rng = np.random.default_rng(0)
    mask = np.zeros((24, 24), dtype=np.uint8)
    mask[8:16, 8:16] = 1
    propagator.start(rng.integers(0, 256, (24, 24, 3), dtype=np.uint8), mask)
    alive = []
    for _ in range(200):
        propagator.step(rng.integers(0, 256, (24, 24, 3), dtype=np.uint8))
        alive.append(encoder.alive)
    assert alive[:4] == [2, 3, 4, 5]
    assert set(alive[4:]) == {5}
    assert set(encoder.reference_counts[4:]) == {5}
    assert len(encoder.encoded) == 201  # every frame is encoded once


@pytest.mark.parametrize(
    ("protocol", "expected"),
    [
        (get_protocol("vidcolor"), [[0], [0, 1], [0, 1, 2], [1, 2, 3], [2, 3, 4]]),
        (
            get_protocol("crw", ["recent_frames=2"]),  # copies stand for what is not there yet
            [[0, 0, 0], [0, 0, 1], [0, 1, 2], [0, 2, 3], [0, 3, 4]],
        ),
    ],
)
def test_context_is_given_oldest_first(
    protocol: MatchingProtocol, expected: list[list[int]]
) -> None:
    encoder = FrameNumbers()
    propagator = Propagator(encoder, protocol)
    mask = np.ones((16, 16), dtype=np.uint8)
    propagator.start(np.zeros((16, 16, 3), dtype=np.uint8), mask)
    for number in range(1, 6):
        propagator.step(np.full((16, 16, 3), number, dtype=np.uint8))
    assert encoder.matched == [(numbers, t + 1) for t, numbers in enumerate(expected)]


@pytest.mark.parametrize("settings", [["recent_frames=3"], ["recent_frames=3", "kept_frames=5,8"]])
@pytest.mark.parametrize("half", [False, True])
def test_held_bytes_are_the_same_after_fifty_and_four_hundred_frames(
    settings: list[str], half: bool
) -> None:
    rng = np.random.default_rng(0)
    propagator = Propagator(FrameNumbers(), get_protocol("crw", settings), half_memory=half)
    frame = rng.integers(0, 256, (16, 24, 3), dtype=np.uint8)
    propagator.start(frame, np.ones((16, 24), np.uint8))
    held = []
    for number in range(1, 401):
        propagator.step(frame)
        if number in (50, 400):
            held.append(held_tensors(propagator))
    assert held[0] == held[1]
    assert held[0][0] == 2 * (4 + len(settings[1:]) * 2)  # features and labels of each frame


def test_half_memory_holds_half_and_gives_nearly_the_same() -> None:
    video = moving_blocks(5, (16, 20), (8, 8), (128, 160))
    full, half = (
        Propagator(ColourCodes(temperature=0.02), get_protocol("crw"), half_memory=each)
        for each in (False, True)
    )
    for propagator in (full, half):
        propagator.start(video.frames[0], video.masks[0])
    for frame in video.frames[1:]:
        one, other = full.step(frame), half.step(frame)
        torch.testing.assert_close(
            one.probabilities_LHW, other.probabilities_LHW, atol=0.05, rtol=0
        )
    assert held_tensors(half)[1] < 0.6 * held_tensors(full)[1]
