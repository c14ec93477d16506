"""A video labelled from anchors anywhere in it."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch

from model.errors import UserError
from model.propagation.annotations import Annotation, MaskAnnotation, PointAnnotation
from model.propagation.both_ways import propagate_both_ways
from model.propagation.engine import Propagator
from model.propagation.protocols import get_protocol
from model.propagation.results import PropagationResult
from tests.model.propagation.stubs import ColourCodes, FrameNumbers

CRW = get_protocol("crw")
AVERAGE = get_protocol("vidcolor", ["frame_size_px=none", "recent_frames=1"])


def labelled(
    frames: Sequence[np.ndarray], anchors: dict[int, Sequence[Annotation]], **options: Any
) -> list[PropagationResult]:
    encoder = options.get("encoder") or ColourCodes(temperature=0.002)
    return list(propagate_both_ways(frames, anchors, encoder, options.get("protocol", CRW)))


def noise(frames: int) -> list[np.ndarray]:
    cells = np.random.default_rng(2).integers(0, 256, (frames, 4, 5, 3), dtype=np.uint8)
    return list(cells.repeat(8, axis=1).repeat(8, axis=2))


def mask(value: int, columns: int) -> MaskAnnotation:
    """The first `columns` of five columns of cells belong to object `value`."""
    ids = np.zeros((32, 40), np.uint8)
    ids[:, : 8 * columns] = value
    return MaskAnnotation(ids)


def test_one_anchor_at_the_start_is_the_streaming_engine() -> None:
    frames = noise(4)
    results = labelled(frames, {0: [mask(3, 2)]})
    propagator = Propagator(ColourCodes(temperature=0.002), CRW)
    expected = [propagator.start(frames[0], [mask(3, 2)])]
    expected += [propagator.step(frame) for frame in frames[1:]]
    for ours, theirs in zip(results, expected, strict=True):
        np.testing.assert_array_equal(ours.mask_HW, theirs.mask_HW)
        torch.testing.assert_close(ours.probabilities_LHW, theirs.probabilities_LHW)


def test_an_anchor_at_the_end_is_carried_to_the_start() -> None:
    still = noise(1) * 5
    for result in labelled(still, {4: [mask(3, 2)]}):
        np.testing.assert_array_equal(result.mask_HW, mask(3, 2).ids_HW)


def test_between_anchors_both_predictions_count_by_distance_and_sureness() -> None:
    """Equal features spread what is known over the frame: each prediction is one number a label."""
    frames = [np.zeros((32, 40, 3), np.uint8)] * 5
    anchors: dict[int, Sequence[Annotation]] = {0: [mask(3, 2)], 4: [mask(3, 4)]}
    results = labelled(frames, anchors, encoder=FrameNumbers(), protocol=AVERAGE)
    # Forwards 2/5 of the frame is the object, backwards 4/5; the surer label has 3/5 and 4/5.
    for time in (1, 2, 3):
        ahead, back = 0.6 * (4 - time), 0.8 * time
        expected = (ahead * 0.4 + back * 0.8) / (ahead + back)
        soft = results[time].probabilities_LHW[1]
        torch.testing.assert_close(soft, torch.full((4, 5), expected), atol=1e-3, rtol=0)
    for time in (0, 4):
        [given] = anchors[time]
        assert isinstance(given, MaskAnnotation)
        np.testing.assert_array_equal(results[time].mask_HW, given.ids_HW)


def test_an_object_known_from_one_anchor_only() -> None:
    still = noise(1) * 6
    anchors: dict[int, Sequence[Annotation]] = {1: [mask(3, 2)], 5: [mask(9, 4)]}
    results = labelled(still, anchors)
    assert {result.object_ids for result in results} == {(0, 3, 9)}
    # Object 3 is found nearer to its anchor, object 9 nearer to its own; half way the first id wins.
    assert [int(result.mask_HW[4, 4]) for result in results] == [3, 3, 3, 3, 9, 9]
    assert results[1].mask_HW[4, 28] == 0


def test_kinds_annotated_in_different_frames_are_merged_on_their_own() -> None:
    still = noise(1) * 4
    point = PointAnnotation((6,), np.array([[12.0, 20.0]]))
    results = labelled(still, {0: [mask(3, 2)], 3: [point]})
    for result in results:
        places = result.of(PointAnnotation)
        assert places is not None and places.record.ids == (6,)
        np.testing.assert_allclose(places.record.xy_px_N2, [[12.0, 20.0]], atol=4)
        np.testing.assert_array_equal(result.mask_HW, mask(3, 2).ids_HW)


def test_between_two_places_the_nearer_anchor_decides() -> None:
    """Backwards and forwards disagree about a point: no mean place between the two comes out."""
    still = noise(1) * 5
    places = (np.array([[4.0, 4.0]]), np.array([[32.0, 24.0]]))
    anchors = {time: [PointAnnotation((1,), xy)] for time, xy in zip((0, 4), places, strict=True)}
    protocol = get_protocol("crw", ["keypoint_mode=strict"])
    results = labelled(still, anchors, protocol=protocol)
    found = [result.of(PointAnnotation) for result in results]
    for time, nearer in ((1, 0), (3, 1)):
        each = found[time]
        assert each is not None
        np.testing.assert_allclose(each.record.xy_px_N2, places[nearer], atol=0.5)


def test_an_anchor_with_a_new_object_alone_keeps_the_others() -> None:
    still = noise(1) * 3
    ids = np.zeros((32, 40), np.uint8)
    ids[:, 32:] = 9
    anchors: dict[int, Sequence[Annotation]] = {
        0: [mask(3, 2)],
        2: [MaskAnnotation(ids, complete=False)],
    }
    last = labelled(still, anchors)[2]
    np.testing.assert_array_equal(last.mask_HW, np.maximum(mask(3, 2).ids_HW, ids))
    assert last.probabilities_LHW[1, 0, 0] == 1


def test_a_single_frame_is_its_annotation() -> None:
    [result] = labelled(noise(1), {0: [mask(3, 2)]})
    np.testing.assert_array_equal(result.mask_HW, mask(3, 2).ids_HW)


def test_what_cannot_be_labelled_is_refused() -> None:
    frames = noise(3)
    with pytest.raises(UserError, match="the video has no frame"):
        labelled([], {0: [mask(3, 2)]})
    with pytest.raises(UserError, match="no frame of the video is annotated"):
        labelled(frames, {})
    with pytest.raises(UserError, match="frame 3 is annotated, but the video has 3 frames"):
        labelled(frames, {3: [mask(3, 2)]})
    with pytest.raises(UserError, match="frame 1 is 41x32 px"):
        labelled([frames[0], np.zeros((32, 41, 3), np.uint8)], {0: [mask(3, 2)]})
    resized = [*frames, np.zeros((32, 41, 3), np.uint8), frames[0], frames[0]]
    for anchor in (0, 5):
        with pytest.raises(UserError, match=r"frame 3 is 41x32 px .*, the first frame 40x32"):
            labelled(resized, {anchor: [mask(3, 2)]})
    with pytest.raises(UserError, match="the first mask has no object"):
        labelled(frames, {0: [mask(0, 2)]})
