"""The engine with every kind of label, later anchors, and what a protocol does to the carried state."""

from typing import Any

import numpy as np
import pytest
import torch

from model.propagation.annotations import (
    BoxAnnotation,
    ColourAnnotation,
    KeypointAnnotation,
    MaskAnnotation,
    PointAnnotation,
)
from model.propagation.engine import Propagator
from model.propagation.identity import IdentityPropagator
from model.propagation.protocols import get_protocol
from tests.model.propagation.stubs import ColourCodes, FrameNumbers

STILL = np.random.default_rng(3).integers(0, 256, (6, 8, 3), dtype=np.uint8)
STILL = STILL.repeat(8, axis=0).repeat(8, axis=1)  # 48x64 px, a colour for each of its 6x8 cells


def mask_with(**cells: tuple[int, int]) -> np.ndarray:
    """`id_7=(y, x)` marks cell (y, x) as object 7."""
    mask = np.zeros(STILL.shape[:2], np.uint8)
    for name, (y, x) in cells.items():
        mask[8 * y : 8 * y + 8, 8 * x : 8 * x + 8] = int(name.removeprefix("id_"))
    return mask


def sharp(protocol: str = "crw", *settings: str) -> Propagator:
    return Propagator(ColourCodes(temperature=0.002), get_protocol(protocol, settings))


def test_an_object_that_appears_later_gets_a_column_from_then_on() -> None:
    propagator = sharp("crw", "top_k=1", "anchor_first=false", "recent_frames=1")
    first, both = mask_with(id_9=(1, 1)), mask_with(id_9=(1, 1), id_4=(4, 5))
    propagator.start(STILL, first)
    assert propagator.step(STILL).object_ids == (0, 9)
    corrected = propagator.step(STILL, [MaskAnnotation(both)])
    assert corrected.object_ids == (0, 9, 4)
    np.testing.assert_array_equal(corrected.mask_HW, both)
    later = propagator.step(STILL)
    np.testing.assert_array_equal(later.mask_HW[4::8, 4::8], both[4::8, 4::8])


def test_a_corrected_mask_replaces_the_prediction_and_becomes_an_anchor() -> None:
    encoder = ColourCodes(temperature=0.002)
    propagator = Propagator(encoder, get_protocol("crw", ["recent_frames=1", "top_k=1"]))
    propagator.start(STILL, mask_with(id_2=(1, 1), id_3=(3, 3)))
    propagator.step(STILL)
    moved = mask_with(id_2=(2, 5))
    result = propagator.step(STILL, [MaskAnnotation(moved)])
    assert result.object_ids == (0, 2, 3)  # an id that vanishes keeps its column
    assert not result.probabilities_LHW[2].any()
    for _ in range(4):
        propagator.step(STILL)
    assert encoder.reference_counts[-1] == 3  # both anchors and the latest frame


def test_a_mask_of_the_new_objects_alone_leaves_the_others_as_predicted() -> None:
    propagator = sharp("crw", "top_k=1")
    propagator.start(STILL, mask_with(id_2=(1, 1), id_3=(3, 3)))
    propagator.step(STILL)
    new = mask_with(id_9=(4, 5), id_3=(3, 4))  # object 3 is annotated again, somewhere else
    result = propagator.step(STILL, [MaskAnnotation(new, complete=False)])
    expected = mask_with(id_2=(1, 1), id_3=(3, 4), id_9=(4, 5))
    assert result.object_ids == (0, 2, 3, 9)
    np.testing.assert_array_equal(result.mask_HW[4::8, 4::8], expected[4::8, 4::8])
    np.testing.assert_array_equal(result.mask_HW[new > 0], new[new > 0])
    complete = sharp("crw", "top_k=1")
    complete.start(STILL, mask_with(id_2=(1, 1), id_3=(3, 3)))
    result = complete.step(STILL, [MaskAnnotation(new)])
    np.testing.assert_array_equal(result.mask_HW, new)


def test_an_empty_mask_later_on_means_that_all_objects_are_gone() -> None:
    propagator = sharp("crw", "anchor_first=false", "recent_frames=1")
    propagator.start(STILL, mask_with(id_2=(1, 1)))
    propagator.step(STILL, [MaskAnnotation(np.zeros(STILL.shape[:2], np.uint8))])
    assert not propagator.step(STILL).mask_HW.any()


def test_many_objects_with_large_ids_come_back_as_int32() -> None:
    mask = (np.arange(48).reshape(6, 8) * 1000).repeat(8, axis=0).repeat(8, axis=1)
    propagator = sharp()
    propagator.start(STILL, mask)
    result = propagator.step(STILL)
    assert result.mask_HW.dtype == np.int32
    np.testing.assert_array_equal(result.mask_HW[4::8, 4::8], mask[4::8, 4::8])


def every_kind() -> list[Any]:
    return [
        MaskAnnotation(mask_with(id_7=(2, 2))),
        KeypointAnnotation((5,), np.array([[[20.0, 12.0], [np.nan, np.nan], [43.5, 27.5]]])),
        BoxAnnotation((1, 8), np.array([[8.0, 8, 24, 16], [32, 16, 16, 24]])),
        PointAnnotation((3,), np.array([[51.5, 35.5]])),
        ColourAnnotation(STILL[..., :2].astype(np.float32) - 100),
    ]


@pytest.mark.parametrize("kind", range(5))
def test_each_kind_is_carried_alike_alone_and_with_others(kind: int) -> None:
    together, alone = sharp("crw", "keypoint_mode=strict"), sharp("crw", "keypoint_mode=strict")
    together.start(STILL, every_kind())
    alone.start(STILL, [every_kind()[kind]])
    for _ in range(2):
        mixed, single = together.step(STILL), alone.step(STILL)
    assert len(mixed.carried) == 5
    [own] = single.carried
    other = mixed.of(type(own.record))
    assert other is not None and other.names == own.names
    torch.testing.assert_close(other.soft_Lhw, own.soft_Lhw)


@pytest.mark.parametrize("state", ["soft", "hard"])
def test_every_kind_stays_where_it_is_in_a_still_video(state: str) -> None:
    settings = ["keypoint_mode=strict", f"carried_state={state}"]
    propagator = sharp("crw", *settings)
    propagator.start(STILL, every_kind())
    for _ in range(3):
        result = propagator.step(STILL)
    masks, joints, boxes, points, colours = (each.record for each in result.carried)
    expected = every_kind()
    np.testing.assert_array_equal(masks.ids_HW[4::8, 4::8], expected[0].ids_HW[4::8, 4::8])
    np.testing.assert_allclose(joints.xy_px_NK2, expected[1].xy_px_NK2, atol=0.3)
    np.testing.assert_allclose(boxes.xywh_px_N4, expected[2].xywh_px_N4, atol=0.5)
    np.testing.assert_allclose(points.xy_px_N2, expected[3].xy_px_N2, atol=0.3)
    assert colours.ab_HW2.shape == (48, 64, 2)
    cells = result.carried[4].soft_Lhw.permute(1, 2, 0).numpy()
    np.testing.assert_allclose(cells, expected[4].ab_HW2[::8, ::8], atol=1e-3)


@pytest.mark.parametrize(("state", "share"), [("soft", 0.625), ("hard", 1.0)])
def test_hard_state_is_the_decision_in_pixels(state: str, share: float) -> None:
    """Equal features average what the frame before holds: 5/8 soft, and all of it once decided."""
    mask = np.ones((32, 32), np.uint8)
    mask[:, :20] = 2
    frame = np.zeros((32, 32, 3), np.uint8)
    settings = ["frame_size_px=none", "recent_frames=1", "label_resize=bilinear"]
    settings.append(f"carried_state={state}")
    propagator = Propagator(FrameNumbers(), get_protocol("vidcolor", settings))
    propagator.start(frame, mask)
    first, second = propagator.step(frame), propagator.step(frame)
    torch.testing.assert_close(first.probabilities_LHW[2], torch.full((4, 4), 0.625))
    torch.testing.assert_close(second.probabilities_LHW[2], torch.full((4, 4), share))


def test_carried_rescaling_stays_in_the_memory_and_spares_colours() -> None:
    """Equal features give the mean of the frame everywhere, a map of one value, which stays as it is."""
    frame = np.zeros((16, 16, 3), np.uint8)
    settings = ["frame_size_px=none", "recent_frames=1", "rescale=carried", "radius_cells=1.2"]
    propagator = Propagator(FrameNumbers(), get_protocol("vidcolor", settings))
    mask = np.zeros((16, 16), np.uint8)
    mask[:8, :8] = 9
    colours = np.where(mask[..., None] > 0, 60.0, 20.0) * np.ones(2)
    propagator.start(frame, [MaskAnnotation(mask), ColourAnnotation(colours)])
    # A cell sees itself and its two neighbours: [[1,0],[0,0]] becomes [[1,1],[1,0]]/3, then rescaled.
    one = propagator.step(frame)
    expected = torch.tensor([[1.0, 1.0], [1.0, 0.0]])
    torch.testing.assert_close(one.probabilities_LHW[1], expected)
    # [[1,1],[1,0]] -> [[1,2/3],[2/3,2/3]] -> rescaled; without memory of the scaled map it would differ.
    two = propagator.step(frame)
    torch.testing.assert_close(two.probabilities_LHW[1], torch.tensor([[1.0, 0.0], [0.0, 0.0]]))
    carried = one.of(ColourAnnotation)
    assert carried is not None
    torch.testing.assert_close(
        carried.soft_Lhw[0], torch.tensor([[100 / 3, 100 / 3], [100 / 3, 20.0]])
    )


def test_output_rescaling_changes_the_mask_and_not_what_is_carried() -> None:
    frame = np.zeros((16, 16, 3), np.uint8)
    mask = np.zeros((16, 16), np.uint8)
    mask[:8, :8] = 9
    base = ["frame_size_px=none", "recent_frames=1", "radius_cells=1.2"]
    results = []
    for rescale in ("none", "output"):
        settings = [*base, f"rescale={rescale}"]
        propagator = Propagator(FrameNumbers(), get_protocol("vidcolor", settings))
        propagator.start(frame, mask)
        results.append(propagator.step(frame))
    plain, rescaled = results
    torch.testing.assert_close(plain.probabilities_LHW, rescaled.probabilities_LHW)
    # Shares of the object [[1,1],[1,0]]/3: never the likeliest, but the greatest of its own map.
    assert not plain.mask_HW.any()
    assert rescaled.mask_HW[0, 0] == 9 and rescaled.mask_HW[15, 15] == 0


def test_identity_repeats_the_latest_annotation_of_each_kind() -> None:
    identity = IdentityPropagator()
    identity.start(STILL, every_kind())
    moved = PointAnnotation((3, 4), np.array([[1.0, 2.0], [5.0, 6.0]]))
    identity.step(STILL, [moved])
    result = identity.step(STILL)
    points, boxes = result.of(PointAnnotation), result.of(BoxAnnotation)
    assert points is not None and boxes is not None
    np.testing.assert_array_equal(points.record.xy_px_N2, moved.xy_px_N2)
    np.testing.assert_array_equal(boxes.record.xywh_px_N4, every_kind()[2].xywh_px_N4)


def test_masks_are_asked_for_where_none_were_given() -> None:
    propagator = sharp()
    result = propagator.start(STILL, [PointAnnotation((3,), np.array([[9.0, 9.0]]))])
    assert result.of(MaskAnnotation) is None
    with pytest.raises(LookupError, match="no masks"):
        _ = result.mask_HW
