"""Optical flow on a rendered square whose true place is known in every frame."""

import cv2
import numpy as np
import pytest

from model.errors import UserError
from model.propagation.annotations import (
    BoxAnnotation,
    ColourAnnotation,
    KeypointAnnotation,
    MaskAnnotation,
    PointAnnotation,
)
from pipelines.flow import FlowPropagator

SIDE, FRAMES = 32, 10
START_XY, STEP_XY = (20, 40), (5, -2)  # px, and px a frame
HEIGHT, WIDTH = 92, 122  # no multiple of the cells
NOISE = np.random.default_rng(0).integers(0, 256, (8, 8, 3), dtype=np.uint8)
SQUARE = cv2.resize(NOISE, (SIDE, SIDE), interpolation=cv2.INTER_CUBIC)
# Smooth: what comes out from behind an object keeps its label where the background has texture.
BACKGROUND = np.add.outer(np.arange(HEIGHT), np.arange(WIDTH)) // 2 + 60


def scene(index: int) -> tuple[np.ndarray, np.ndarray]:
    """A textured square that has moved `index` steps over a slope of grey, and its mask (id 7)."""
    left, top = (s + index * d for s, d in zip(START_XY, STEP_XY, strict=True))
    frame = np.repeat(BACKGROUND[..., None].astype(np.uint8), 3, axis=2)
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    frame[top : top + SIDE, left : left + SIDE] = SQUARE
    mask[top : top + SIDE, left : left + SIDE] = 7
    return frame, mask


def jaccard(one: np.ndarray, other: np.ndarray) -> float:
    return float((one & other).sum() / (one | other).sum())


def test_a_square_is_followed() -> None:
    flow = FlowPropagator()
    flow.start(*scene(0))
    first = scene(0)[1]
    for index in range(1, FRAMES):
        frame, truth = scene(index)
        result = flow.step(frame)
        assert set(np.unique(result.mask_HW)) == {0, 7}
        assert jaccard(result.mask_HW == 7, truth == 7) > 0.9
    assert jaccard(first == 7, truth == 7) == 0  # it has left its first place altogether
    assert result.object_ids == (0, 7)
    assert result.probabilities_LHW.shape == (2, 12, 16)
    np.testing.assert_allclose(result.probabilities_LHW.sum(0), 1, atol=1e-5)
    cell = result.mask_HW[24:32, 80:88] == 7  # where no cell is padded, soft and hard labels agree
    assert abs(float(result.probabilities_LHW[1, 3, 10]) - cell.mean()) < 0.1


def test_points_on_the_square_are_followed() -> None:
    first = np.array(START_XY) + np.array([[8, 8], [16, 16], [24, 10], [np.nan, np.nan]])
    corner = np.array([*START_XY, SIDE, SIDE], float)
    flow = FlowPropagator()
    joints = KeypointAnnotation((1,), first[None])
    flow.start(
        scene(0)[0],
        [PointAnnotation((1, 2, 3, 4), first), joints, BoxAnnotation((1,), corner[None])],
    )
    for index in range(1, FRAMES):
        result = flow.step(scene(index)[0])
        found, joint, box = (each.record for each in result.carried)
        moved = index * np.array(STEP_XY)
        assert np.linalg.norm(found.xy_px_N2[:3] - first[:3] - moved, axis=1).max() < 1
        assert np.isnan(found.xy_px_N2[3]).all()
        np.testing.assert_array_equal(joint.xy_px_NK2[0], found.xy_px_N2)
        np.testing.assert_allclose(box.xywh_px_N4[0], corner + np.array([*moved, 0, 0]), atol=1)


def test_a_later_annotation_takes_over() -> None:
    flow = FlowPropagator()
    flow.start(*scene(0))
    frame, mask = scene(1)
    result = flow.step(frame, [MaskAnnotation((mask == 7).astype(np.int32) * 300)])
    assert set(np.unique(result.mask_HW)) == {0, 300}
    assert set(np.unique(flow.step(scene(2)[0]).mask_HW)) == {0, 300}


def test_colours_are_refused() -> None:
    with pytest.raises(UserError, match="not colours"):
        FlowPropagator().start(scene(0)[0], [ColourAnnotation(np.zeros((HEIGHT, WIDTH, 2)))])


def test_another_video_starts_afresh() -> None:
    flow = FlowPropagator()
    flow.start(*scene(0))
    flow.step(scene(1)[0])
    flow.start(*scene(4))
    assert jaccard(flow.step(scene(4)[0]).mask_HW == 7, scene(4)[1] == 7) == 1


@pytest.mark.parametrize("size", [(5, 40), (12, 64), (31, 33)])
def test_frames_too_small_for_the_flow_count_as_still(size: tuple[int, int]) -> None:
    frame = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
    mask = np.zeros(size, np.uint8)
    mask[2:4] = 1
    flow = FlowPropagator()
    flow.start(frame, mask)
    np.testing.assert_array_equal(flow.step(frame[::-1]).mask_HW, mask)


def test_bad_input_is_named() -> None:
    flow = FlowPropagator()
    frame, mask = scene(0)
    with pytest.raises(RuntimeError, match=r"start\(\)"):
        flow.step(frame)
    with pytest.raises(UserError, match="no object"):
        flow.start(frame, np.zeros_like(mask))
    flow.start(frame, mask)
    with pytest.raises(UserError, match="frame 1 is 122x91 px"):
        flow.step(frame[:-1])
