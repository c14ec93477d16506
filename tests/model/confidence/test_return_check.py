"""Labels carried straight back: those that sit right come home, others do not."""

import numpy as np
import pytest
import torch

from model.confidence.return_check import ReturnCheck
from model.propagation.annotations import BoxAnnotation, KeypointAnnotation, MaskAnnotation
from model.propagation.encoders import LabEncoder
from model.propagation.protocols import get_protocol
from model.propagation.results import Carried, PropagationResult
from tests.model.confidence.test_flags import GREEN, RED, ground, mask_of, paint

HERE, THERE = (24, 24, 40, 40), (112, 24, 40, 40)


def frame(red: tuple[int, int, int, int], green: tuple[int, int, int, int]) -> np.ndarray:
    picture = ground()
    paint(picture, *red, RED)
    paint(picture, *green, GREEN)
    return picture


def result_of(*records: object) -> PropagationResult:
    return PropagationResult(tuple(Carried(r, torch.zeros(0, 0, 0), ()) for r in records))


def checked(*records: object) -> ReturnCheck:
    check = ReturnCheck(LabEncoder(), get_protocol("crw"))
    check.start(frame(HERE, THERE), result_of(*records))
    return check


def test_a_label_on_the_right_thing_comes_home_and_another_does_not() -> None:
    check = checked(MaskAnnotation(mask_of(HERE, THERE)))
    swapped = frame(THERE, HERE)  # both went far, beyond any window
    right = check.step(swapped, result_of(MaskAnnotation(mask_of(THERE, HERE))))
    wrong = check.step(swapped, result_of(MaskAnnotation(mask_of(HERE, THERE))))
    assert set(right) == {("mask", 1), ("mask", 2)}
    assert min(right.values()) > 0.8
    assert max(wrong.values()) < 0.1


def test_an_object_that_is_predicted_nowhere_does_not_come_home() -> None:
    check = checked(MaskAnnotation(mask_of(HERE, THERE)))
    gone = mask_of(HERE)
    found = check.step(frame(HERE, THERE), result_of(MaskAnnotation(gone)))
    assert found["mask", 1] > 0.8 and found["mask", 2] == 0


def test_a_later_annotation_takes_the_place_of_the_first() -> None:
    check = checked(MaskAnnotation(mask_of(HERE)))
    check.start(frame(HERE, THERE), result_of(MaskAnnotation(2 * mask_of(THERE))))
    found = check.step(frame(HERE, THERE), result_of(MaskAnnotation(2 * mask_of(THERE))))
    assert set(found) == {("mask", 2)} and found["mask", 2] > 0.8


def test_boxes_and_joints_come_home_too() -> None:
    box = BoxAnnotation((5,), np.array([HERE], float))
    joints = KeypointAnnotation((6,), np.array([[[30.0, 30.0], [56.0, 58.0]]]))
    found = checked(box, joints).step(frame(HERE, THERE), result_of(box, joints))
    assert set(found) == {("box", 5), ("keypoints", 6)}
    assert found["box", 5] > 0.8 and found["keypoints", 6] > 0.1


def test_it_needs_an_annotated_frame() -> None:
    with pytest.raises(RuntimeError, match="start"):
        ReturnCheck(LabEncoder(), get_protocol("crw")).step(frame(HERE, THERE), result_of())
