"""The streaming engine where it encodes several frames at a time."""

from collections.abc import Iterator

import numpy as np
import pytest
import torch

from model.errors import UserError
from model.propagation.annotations import MaskAnnotation
from model.propagation.engine import Propagator
from model.propagation.protocols import get_protocol
from tests.model.propagation.held_tensors import held_tensors
from tests.model.propagation.moving_blocks import moving_blocks
from tests.model.propagation.stubs import ColourCodes


@pytest.mark.parametrize("name", ["crw", "vidcolor", "mast"])
@pytest.mark.parametrize("batch", [2, 3, 20])
def test_frames_encoded_in_batches_give_the_same(name: str, batch: int) -> None:
    protocol = get_protocol(name, ["frame_size_px=none"])
    video = moving_blocks(9, (16, 20), (8, 8), (125, 153))
    labels = {0: [MaskAnnotation(video.masks[0])], 4: [MaskAnnotation(video.masks[4])]}
    encoder = ColourCodes(temperature=0.02)
    single, batched = (Propagator(encoder, protocol, batch_frames=each) for each in (None, batch))
    expected = [single.start(video.frames[0], labels[0])]
    expected += [
        single.step(frame, labels.get(index, ()))
        for index, frame in enumerate(video.frames[1:], start=1)
    ]
    encoder.batches.clear()
    results = list(batched.run(iter(video.frames), labels))
    for ours, theirs in zip(results, expected, strict=True):
        torch.testing.assert_close(ours.probabilities_LHW, theirs.probabilities_LHW)
        np.testing.assert_array_equal(ours.mask_HW, theirs.mask_HW)
    after_the_first = [batch] * (8 // batch) + [8 % batch] * (8 % batch > 0)
    assert encoder.batches == [1, *after_the_first]
    assert held_tensors(batched) == held_tensors(single)


def test_no_more_frames_are_read_ahead_than_a_batch_has() -> None:
    frame, read = np.zeros((16, 16, 3), np.uint8), []

    def frames() -> Iterator[np.ndarray]:
        for number in range(10):
            read.append(number)
            yield frame

    labels = {0: [MaskAnnotation(np.ones((16, 16), np.uint8))]}
    propagator = Propagator(ColourCodes(temperature=0.02), get_protocol("crw"), batch_frames=4)
    ahead = [len(read) - done for done, _ in enumerate(propagator.run(frames(), labels), start=1)]
    assert max(ahead) == 3
    assert ahead[-1] == 0


@pytest.mark.parametrize("batch", [None, 4])
def test_a_frame_that_does_not_fit_is_refused_in_its_turn(batch: int | None) -> None:
    frames = [np.zeros((16, 16, 3), np.uint8)] * 3 + [np.zeros((16, 24, 3), np.uint8)] * 2
    labels = {0: [MaskAnnotation(np.ones((16, 16), np.uint8))]}
    propagator = Propagator(ColourCodes(temperature=0.02), get_protocol("crw"), batch_frames=batch)
    results = propagator.run(frames, labels)
    for _ in range(3):
        next(results)
    with pytest.raises(UserError, match="frame 3 is 24x16 px"):
        next(results)


def test_a_run_needs_a_frame_and_a_batch() -> None:
    with pytest.raises(UserError, match="the video has no frame"):
        next(Propagator(ColourCodes(temperature=0.05), get_protocol("crw")).run([], {}))
    with pytest.raises(UserError, match="batch_frames must be at least 1, not 0"):
        Propagator(ColourCodes(temperature=0.05), get_protocol("crw"), batch_frames=0)
