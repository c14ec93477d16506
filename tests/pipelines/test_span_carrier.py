"""Labels carried span by span, with plain colours as features, on a square that moves."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from model.propagation.annotations import MaskAnnotation
from model.propagation.both_ways import propagate_both_ways
from model.propagation.encoders import LabEncoder
from model.propagation.engine import Propagator
from model.propagation.protocols import get_protocol
from pipelines.archive_plan import UnfitVideo
from pipelines.footage import FootageFrame
from pipelines.span_carrier import SpanCarrier
from pipelines.spans import Span, spans_of
from tests.pipelines.test_archive import moving_square

CRW = get_protocol("crw")
COUNT = 6
FRAMES = [FootageFrame(i, f"{i}", i / 24, moving_square(i)[0]) for i in range(COUNT)]


def carrier():
    return SpanCarrier(Propagator(LabEncoder(), CRW), LabEncoder(), CRW, "cpu")


def mask(index, *, label=3):
    return MaskAnnotation(np.where(moving_square(index)[1] > 0, label, 0).astype(np.uint8))


def masks(anchors, direction, spans=None):
    """Of every frame; None where it was passed over."""
    spans = spans or [(span, True) for span in spans_of(sorted(anchors), direction)]
    carried = list(carrier().carry(FRAMES, anchors, spans))
    assert [each.frame.index for each in carried] == list(range(COUNT))
    for each in carried:
        np.testing.assert_array_equal(each.frame.picture_HW3, FRAMES[each.frame.index].picture_HW3)
    return [None if each.result is None else each.result.mask_HW for each in carried]


def test_from_the_first_frame_it_is_what_the_engine_gives():
    propagator = Propagator(LabEncoder(), CRW)
    expected = [propagator.start(FRAMES[0].picture_HW3, [mask(0)]).mask_HW]
    expected += [propagator.step(frame.picture_HW3).mask_HW for frame in FRAMES[1:]]
    for direction in ("forwards", "both"):
        np.testing.assert_array_equal(masks({0: mask(0)}, direction), expected)


@pytest.mark.parametrize("times", [(4,), (0, 5), (1, 4)])
def test_both_ways_it_is_what_the_engine_gives_for_the_whole_video(times):
    anchors = {time: mask(time) for time in times}
    pictures = [frame.picture_HW3 for frame in FRAMES]
    given = {time: [annotation] for time, annotation in anchors.items()}
    whole = [r.mask_HW for r in propagate_both_ways(pictures, given, LabEncoder(), CRW)]
    np.testing.assert_array_equal(masks(anchors, "both"), whole)


@pytest.mark.parametrize("direction", ["forwards", "both"])
@pytest.mark.parametrize("corrected", [0, 2, 5])
def test_a_span_made_alone_is_the_one_of_the_whole_video(direction, corrected):
    before = {0: mask(0), 3: mask(3), 4: mask(4)}
    after = before | {corrected: mask(corrected, label=9)}
    whole = masks(after, direction)
    spans = [
        (span, span.touched_by({corrected}, min(after)))
        for span in spans_of(sorted(after), direction)
    ]
    again = masks(after, direction, spans)
    old = masks(before, direction)
    for index in range(COUNT):
        np.testing.assert_array_equal(
            old[index] if again[index] is None else again[index], whole[index]
        )
    assert (
        sum(found is None for found in again)
        == {
            ("forwards", 0): 0,
            ("forwards", 2): 5,
            ("forwards", 5): 5,
            ("both", 0): 0,
            ("both", 2): 3,
            ("both", 5): 4,
        }[direction, corrected]
    )


def test_an_object_that_is_annotated_as_gone_may_come_back():
    """From the first annotated frame, which stays in the memory."""
    gone = MaskAnnotation(np.zeros((64, 64), np.uint8))

    def seen(anchor, hidden, direction):
        frames = [
            replace(frame, picture_HW3=np.full_like(frame.picture_HW3, (20, 120, 30)))
            if frame.index in hidden
            else frame
            for frame in FRAMES
        ]
        spans = [(span, True) for span in spans_of([0, anchor], direction)]
        found = carrier().carry(frames, {0: mask(0), anchor: gone}, spans)
        return [bool(each.result.mask_HW.any()) for each in found]

    assert seen(2, (2, 3), "forwards") == [True, True, False, False, True, True]
    assert seen(5, (5,), "both") == [True] * 5 + [False]


@pytest.mark.parametrize("times", [(4,), (0, 5), (1, 4)])
def test_every_frame_is_diagnosed(times):
    """Before the first annotated frame as the pass backwards from it was, elsewhere as the one forwards."""
    propagator = Propagator(LabEncoder(), CRW, diagnose=True)
    watched = SpanCarrier(propagator, LabEncoder(), CRW, "cpu", diagnose=True)
    anchors = {time: mask(time) for time in times}
    spans = [(span, True) for span in spans_of(times, "both")]
    found = [each.result.diagnostics for each in watched.carry(FRAMES, anchors, spans)]
    alone = Propagator(LabEncoder(), CRW, diagnose=True)
    alone.start(FRAMES[times[0]].picture_HW3, [anchors[times[0]]])
    for time in range(times[0] - 1, -1, -1):
        expected = alone.step(FRAMES[time].picture_HW3).diagnostics
        for name in ("lab_3hw", "entropy_hw", "top1_hw", "spread_hw", "colour_residual_hw"):
            assert torch.equal(getattr(found[time], name), getattr(expected, name))
    assert all(each is not None for each in found)


@pytest.mark.parametrize("direction", ["forwards", "both"])
def test_an_annotation_behind_the_end_is_refused(direction):
    with pytest.raises(UnfitVideo, match="frame 9 is annotated, it has 6 frames") as refused:
        masks({0: mask(0), 9: mask(5)}, direction)
    assert refused.value.kind == "no_frame"


def test_a_span_that_is_passed_over_still_tells_what_was_annotated():
    spans = [(Span(0, 3, 0, None), False), (Span(3, None, 3, None), True)]
    carried = list(carrier().carry(FRAMES, {0: mask(0), 3: mask(3)}, spans))
    assert [each.annotation is not None for each in carried] == [True, False, False] * 2
    assert [each.begins for each in carried] == [True, False, False] * 2
