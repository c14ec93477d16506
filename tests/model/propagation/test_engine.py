"""The streaming engine on synthetic videos whose true masks are known."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from torch import Tensor

from model.errors import UserError
from model.propagation.annotations import MaskAnnotation, PointAnnotation
from model.propagation.engine import Propagator
from model.propagation.identity import IdentityPropagator
from model.propagation.matching_protocol import MatchingProtocol
from model.propagation.protocols import get_protocol
from tests.model.propagation.stubs import ColourCodes, FrameNumbers


@dataclass(frozen=True)
class Video:
    frames: list[np.ndarray]
    masks: list[np.ndarray]
    known: list[np.ndarray]
    """Pixels of the objects and of background that no object has covered yet: all of these were
    in every frame before, so any context can match them."""


def moving_blocks(
    frames: int, grid: tuple[int, int], block_px: tuple[int, int], size_px: tuple[int, int]
) -> Video:
    """Two objects of differently coloured blocks cross a background of such blocks."""
    rows, columns = grid
    levels = np.arange(0, 256, 25)
    palette = np.stack(np.meshgrid(levels, levels, levels), axis=-1).reshape(-1, 3)
    palette = np.random.default_rng(5).permutation(palette).astype(np.uint8)
    background = palette[24 : 24 + rows * columns].reshape(rows, columns, 3)
    sprites = {3: (2, 1, 1, 0), 200: (rows - 6, columns - 6, 0, -1)}  # id: y, x, dy, dx
    colours = {3: palette[:12].reshape(4, 3, 3), 200: palette[12:24].reshape(4, 3, 3)}
    video = Video([], [], [])
    covered = np.zeros((rows, columns), dtype=bool)

    def pixels(cells: np.ndarray) -> np.ndarray:
        large = cells.repeat(block_px[0], axis=0).repeat(block_px[1], axis=1)
        return np.ascontiguousarray(large[: size_px[0], : size_px[1]])

    for time in range(frames):
        scene, mask = background.copy(), np.zeros((rows, columns), dtype=np.uint8)
        for label, (y, x, dy, dx) in sprites.items():
            part = np.s_[y + dy * time : y + dy * time + 4, x + dx * time : x + dx * time + 3]
            scene[part], mask[part] = colours[label], label
        covered |= mask > 0
        video.known.append(pixels((mask > 0) | ~covered))
        video.frames.append(pixels(scene))
        video.masks.append(pixels(mask))
    return video


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


def test_identity_repeats_the_first_mask() -> None:
    video = moving_blocks(3, (16, 20), (8, 8), (125, 153))
    identity = IdentityPropagator()
    given = video.masks[0].copy()
    identity.start(video.frames[0], given)
    given[:] = 0  # what a caller does with an array, its own or a result, changes no later result
    identity.step(video.frames[1]).mask_HW[:] = 0
    result = identity.step(video.frames[2])
    np.testing.assert_array_equal(result.mask_HW, video.masks[0])
    assert result.object_ids == (0, 3, 200)
    assert result.probabilities_LHW.shape == (3, 16, 20)


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


def held_tensors(root: object) -> tuple[int, int]:
    """Number and bytes of all tensors that an object holds on to, however deep."""
    found: dict[int, int] = {}
    pending, seen = [root], set()
    while pending:
        item = pending.pop()
        if id(item) in seen:
            continue
        seen.add(id(item))
        if isinstance(item, Tensor):
            found[item.untyped_storage().data_ptr()] = item.untyped_storage().nbytes()
        elif isinstance(item, dict):
            pending += item.values()
        elif isinstance(item, list | tuple | set):
            pending += item
        elif hasattr(item, "__dict__"):
            pending += vars(item).values()
    return len(found), sum(found.values())


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
