"""Signals and confidence of every kind of label, along a video."""

import math
from dataclasses import replace

import numpy as np
import pytest

from model.confidence.return_check import ReturnCheck
from model.confidence.scorer import load_confidence_model
from model.confidence.tracker import ObjectConfidence, VideoConfidence
from model.metrics.davis import region_similarity
from model.propagation.annotations import (
    Annotation,
    BoxAnnotation,
    ColourAnnotation,
    KeypointAnnotation,
    MaskAnnotation,
    PointAnnotation,
)
from model.propagation.encoders import LabEncoder
from model.propagation.engine import Propagator
from model.propagation.identity import IdentityPropagator
from model.propagation.protocols import get_protocol
from tests.model.confidence.test_flags import RED, START, ground, mask_of, paint

PROTOCOL = get_protocol("crw")


def frame_at(time: int) -> np.ndarray:
    picture = ground()
    paint(picture, 24 + 3 * time, 24, 40, 40, RED)
    return picture


def watched(
    annotations: tuple[Annotation, ...], frames: int = 3, later: dict[int, Annotation] | None = None
) -> list[tuple[ObjectConfidence, ...]]:
    propagator = Propagator(LabEncoder(), PROTOCOL, diagnose=True)
    confidence = VideoConfidence(load_confidence_model())
    rows = [confidence.start(frame_at(0), propagator.start(frame_at(0), annotations))]
    for time in range(1, frames):
        given = [later[time]] if later and time in later else []
        result = propagator.step(frame_at(time), given)
        rows.append(confidence.step(frame_at(time), result, given))
    return rows


def test_a_mask_is_measured_as_it_is() -> None:
    propagator = Propagator(LabEncoder(), PROTOCOL, diagnose=True)
    confidence = VideoConfidence(load_confidence_model())
    confidence.start(frame_at(0), propagator.start(frame_at(0), mask_of(START)))
    result = propagator.step(frame_at(1))
    (judged,) = confidence.step(frame_at(1), result)
    inside = result.mask_HW == 1
    assert judged.kind == "mask" and judged.object_id == 1
    assert judged.signals.area_px == inside.sum()
    assert judged.signals.anchor_area_ratio == pytest.approx(inside.sum() / 1600)
    assert judged.signals.image_share == pytest.approx(inside.mean())
    rows, columns = np.nonzero(inside)
    way = math.hypot(columns.mean() - 43.5, rows.mean() - 43.5)
    assert judged.signals.centroid_jump == pytest.approx(way / 40)
    diagnostics = result.diagnostics
    assert diagnostics is not None
    shares = inside.reshape(12, 8, 24, 8).mean((1, 3))
    residual = np.average(diagnostics.colour_residual_hw.numpy(), weights=shares)
    assert judged.colour_residual == pytest.approx(residual, rel=1e-4)
    assert judged.signals.entropy == pytest.approx(
        np.average(diagnostics.entropy_hw.numpy(), weights=shares), rel=1e-4
    )
    assert judged.confidence is not None and judged.confidence > 0.9
    assert region_similarity(inside, np.roll(mask_of(START), 3, axis=1)) > 0.8


def test_boxes_keypoints_and_points_have_the_signals_that_make_sense_for_them() -> None:
    rows = watched(
        (
            BoxAnnotation((4,), np.array([[24.0, 24.0, 40.0, 40.0]])),
            KeypointAnnotation((7,), np.array([[[30.0, 30.0], [55.0, 55.0], [np.nan, np.nan]]])),
            PointAnnotation((9,), np.array([[44.0, 44.0]])),
        )
    )
    kinds = {each.kind: each for each in rows[-1]}
    assert set(kinds) == {"box", "keypoints", "point"}
    for each in kinds.values():
        signals = each.signals
        assert each.confidence is not None and 0 <= each.confidence <= 1
        for name in ("colour_residual", "entropy", "top1_weight", "margin", "centroid_jump"):
            assert math.isfinite(getattr(signals, name)), (each.kind, name)
    assert kinds["box"].signals.area_px == pytest.approx(1600, rel=0.2)
    assert math.isnan(kinds["keypoints"].signals.area_px)
    assert kinds["point"].signals.cells == 9


def test_a_place_that_was_seen_is_lost_and_one_that_never_was_is_not() -> None:
    points = PointAnnotation((1, 2), np.array([[44.0, 44.0], [np.nan, np.nan]]))
    propagator = Propagator(LabEncoder(), PROTOCOL, diagnose=True)
    confidence = VideoConfidence(load_confidence_model())
    confidence.start(frame_at(0), propagator.start(frame_at(0), (points,)))
    result = propagator.step(frame_at(1))
    seen, never = confidence.step(frame_at(1), result)
    assert seen.flags == () and seen.confidence is not None
    assert never.flags == () and never.confidence is None
    carried = replace(result.carried[0], record=PointAnnotation((1, 2), np.full((2, 2), np.nan)))
    gone, never = confidence.step(frame_at(2), replace(result, carried=(carried,)))
    assert gone.flags == ("lost",) and gone.confidence == load_confidence_model().absent
    assert never.flags == () and never.confidence is None


def test_the_way_back_leads_to_the_latest_annotated_frame() -> None:
    propagator = Propagator(LabEncoder(), PROTOCOL, diagnose=True)
    confidence = VideoConfidence(None, ReturnCheck(LabEncoder(), PROTOCOL))
    alone = ReturnCheck(LabEncoder(), PROTOCOL)  # it encodes what it is given
    again = {2: MaskAnnotation(mask_of((30, 24, 40, 40)))}
    for time in range(5):
        frame_HW3 = frame_at(time)
        given = [again[time]] if time in again else []
        if time == 0:
            result = propagator.start(frame_HW3, mask_of(START))
            (judged,) = confidence.start(frame_HW3, result)
        else:
            result = propagator.step(frame_HW3, given)
            (judged,) = confidence.step(frame_HW3, result, given)
        if time in (0, 2):
            assert math.isnan(judged.signals.return_overlap)
            alone.start(frame_HW3, replace(result, features_CHW=None))
        else:
            expected = alone.step(frame_HW3, replace(result, features_CHW=None))
            assert judged.signals.return_overlap == pytest.approx(expected["mask", 1])
            assert expected["mask", 1] > 0.7
    # Another video, of which no frame is annotated yet.
    (judged,) = confidence.start(frame_at(0), propagator.step(frame_at(0)), [])
    assert math.isnan(judged.signals.return_overlap)


def test_what_a_person_annotated_is_certain() -> None:
    mask = mask_of(START)
    rows = watched((MaskAnnotation(mask),), 4, {2: MaskAnnotation(np.roll(mask, 6, axis=1))})
    assert [row[0].confidence == 1 for row in rows] == [True, False, True, False]
    assert rows[2][0].flags == ()
    assert [row[0].signals.frames_since_anchor for row in rows] == [0, 1, 0, 1]


def test_a_mask_that_names_one_object_says_nothing_of_the_other() -> None:
    first = mask_of(START)
    later = np.zeros_like(first)
    later[80:, :16] = 2
    rows = watched((MaskAnnotation(first),), 3, {2: MaskAnnotation(later, complete=False)})
    assert {each.object_id: each.confidence == 1 for each in rows[2]} == {1: False, 2: True}


def test_colours_have_no_objects() -> None:
    ab = np.zeros((*ground().shape[:2], 2), np.float32)
    assert watched((ColourAnnotation(ab),)) == [(), (), ()]


def test_models_that_match_nothing_have_flags_and_no_confidence() -> None:
    propagator, confidence = IdentityPropagator(), VideoConfidence(load_confidence_model())
    confidence.start(frame_at(0), propagator.start(frame_at(0), mask_of(START)))
    (judged,) = confidence.step(
        (frame_at(1) * 0.6).astype(np.uint8), propagator.step((frame_at(1) * 0.6).astype(np.uint8))
    )
    assert judged.confidence is None and judged.colour_residual is None
    assert judged.flags == ("lighting_change",)


def test_another_video_starts_anew() -> None:
    propagator = Propagator(LabEncoder(), replace(PROTOCOL), diagnose=True)
    used = VideoConfidence(None)
    for mask in (mask_of((80, 24, 24, 24)), mask_of(START)):
        rows = [used.start(frame_at(0), propagator.start(frame_at(0), mask))]
        rows.append(used.step(frame_at(1), propagator.step(frame_at(1))))
    fresh = VideoConfidence(None)
    expected = [fresh.start(frame_at(0), propagator.start(frame_at(0), mask_of(START)))]
    expected.append(fresh.step(frame_at(1), propagator.step(frame_at(1))))
    assert str(rows) == str(expected)
