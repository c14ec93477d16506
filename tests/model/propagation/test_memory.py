"""Which frames stay in the context."""

import pytest
import torch

from model.propagation.memory import Memory
from model.propagation.protocols import get_protocol


def run(
    settings: list[str], frames: int, anchors: tuple[int, ...] = (0,), protocol: str = "crw"
) -> Memory:
    plain = ["pad_with_first=false"] if protocol == "crw" else []
    memory = Memory(get_protocol(protocol, [*plain, *settings]))
    for index in range(frames):
        value = torch.full((1, 1, 1), float(index))
        memory.add(index, value, value + 100, anchor=index in anchors)
    return memory


def indices(memory: Memory) -> list[int]:
    return [frame.frame_index for frame in memory.context()]


def test_anchor_stays_and_the_latest_follow() -> None:
    memory = run(["recent_frames=3", "window_on_anchor=false"], 8)
    assert indices(memory) == [0, 5, 6, 7]
    assert [frame.windowed for frame in memory.context()] == [False, True, True, True]


def test_frame_zero_is_in_the_context_once() -> None:
    memory = run(["recent_frames=3"], 2)
    assert indices(memory) == [0, 1]


def test_without_anchors_the_first_frame_leaves() -> None:
    settings = ["recent_frames=3", "anchor_first=false"]
    assert indices(run(settings, 3)) == [0, 1, 2]
    assert indices(run(settings, 4)) == [1, 2, 3]


def test_window_on_anchor() -> None:
    memory = run(["recent_frames=1", "window_on_anchor=true"], 4)
    assert [frame.windowed for frame in memory.context()] == [True, True]


def test_several_anchors_stay_in_order() -> None:
    memory = run(["recent_frames=2"], 9, anchors=(0, 4))
    assert indices(memory) == [0, 4, 7, 8]
    assert [frame.kept for frame in memory.context()] == [True, True, False, False]


def test_no_recent_frames_leaves_the_anchor() -> None:
    assert indices(run(["recent_frames=0"], 5)) == [0]


def test_features_and_labels_stay_with_their_frame() -> None:
    memory = run(["recent_frames=2"], 6)
    for frame in memory.context():
        assert frame.features_CHW.item() == frame.frame_index
        assert frame.labels_LHW.item() == frame.frame_index + 100


def test_size_does_not_grow_with_the_video() -> None:
    assert len(run(["recent_frames=5"], 500)) == 6


@pytest.mark.parametrize(
    ("frames", "expected"),
    [
        (1, [0]),
        (2, [0, 1]),
        (3, [0, 2]),
        (5, [0, 2, 4]),
        (6, [0, 1, 3, 5]),
        (7, [0, 2, 4, 5, 6]),
        (8, [0, 3, 5, 7]),
        (20, [0, 5, 15, 17, 19]),
    ],
)
def test_mast_takes_every_second_frame_and_frames_0_and_5(frames: int, expected: list[int]) -> None:
    """For target i + 1: {0, 5} as far as they are past, and {i, i - 2, i - 4}; each frame once."""
    memory = run([], frames, protocol="mast")
    assert indices(memory) == expected
    assert len(memory) <= 7  # frames 0 and 5, and the latest five


@pytest.mark.parametrize("name", ["timecycle", "uvc"])
@pytest.mark.parametrize("frames", [1, 2, 5, 7, 8, 12])
def test_eight_frames_of_which_the_missing_ones_are_the_first(name: str, frames: int) -> None:
    """As if eight copies of frame 0 lay before the video: the first frame and the seven latest."""
    video = [0] * 8 + list(range(1, frames))
    memory = run([], frames, protocol=name)
    assert indices(memory) == sorted([0, *video[-7:]])
    assert len(memory) <= 8


def test_without_a_kept_anchor_copies_fill_the_recent_frames() -> None:
    settings = ["pad_with_first=true", "anchor_first=false", "recent_frames=3"]
    assert indices(run(settings, 1)) == [0, 0, 0]
    assert indices(run(settings, 2)) == [0, 0, 1]
    assert indices(run(settings, 5)) == [2, 3, 4]


def test_copies_have_a_window_and_the_kept_anchor_may_have_none() -> None:
    memory = run(["pad_with_first=true", "recent_frames=2", "window_on_anchor=false"], 1)
    assert [frame.windowed for frame in memory.context()] == [True, True, False]


def test_copies_are_of_the_latest_anchor_and_stand_for_what_it_took_the_place_of() -> None:
    """As if the video began with it."""
    settings = ["pad_with_first=true", "recent_frames=3"]
    assert indices(run(settings, 5, anchors=(0, 4))) == [4, 4, 4, 0, 4]
    assert indices(run(settings, 6, anchors=(0, 4))) == [4, 4, 0, 4, 5]
    assert indices(run(settings, 8, anchors=(0, 4))) == [0, 4, 5, 6, 7]
    settings.append("anchor_first=false")
    assert indices(run(settings, 5, anchors=(0, 3, 4))) == [4, 3, 4]
    assert indices(run(settings, 9, anchors=(0, 4))) == [6, 7, 8]


def test_empty_memory_has_no_context() -> None:
    assert run([], 0).context() == ()


def test_an_anchor_drops_the_predictions_before_it() -> None:
    assert indices(run(["recent_frames=3"], 5, anchors=(0, 4))) == [0, 4]
    assert indices(run(["recent_frames=3"], 7, anchors=(0, 4))) == [0, 4, 5, 6]
    settings = ["recent_frames=3", "anchor_first=false"]
    assert indices(run(settings, 6, anchors=(0, 4))) == [4, 5]
