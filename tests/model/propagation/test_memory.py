"""Which frames stay in the context."""

import torch

from model.propagation.memory import Memory
from model.propagation.protocols import get_protocol


def run(settings: list[str], frames: int, anchors: tuple[int, ...] = (0,)) -> Memory:
    memory = Memory(get_protocol("crw", settings))
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
