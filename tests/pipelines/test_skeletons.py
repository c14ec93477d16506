"""Bones between joints, and labels as they are drawn."""

import numpy as np
import pytest

from model.propagation.annotations import BoxAnnotation, KeypointAnnotation, PointAnnotation
from pipelines.labels.davis import davis_palette
from pipelines.labels.jhmdb import JOINTS
from pipelines.object_colours import css_colour, object_rgb, palette_index
from pipelines.pictures import drawn
from pipelines.skeletons import COCO_BONES, COCO_JOINTS, JHMDB_BONES, bones_between, joint_names_of


def test_cocos_bones_are_those_of_its_file() -> None:
    # `skeleton` of the category `person` in person_keypoints_val2017.json, which counts from 1.
    published = [
        [16, 14], [14, 12], [17, 15], [15, 13], [12, 13], [6, 12], [7, 13], [6, 7], [6, 8], [7, 9],
        [8, 10], [9, 11], [2, 3], [1, 2], [1, 3], [2, 4], [3, 5], [4, 6], [5, 7],
    ]  # fmt: skip
    expected = {frozenset((a - 1, b - 1)) for a, b in published}
    assert {frozenset(bone) for bone in COCO_BONES} == expected
    assert len(COCO_BONES) == len(expected)


@pytest.mark.parametrize(("names", "bones"), [(JOINTS, JHMDB_BONES), (COCO_JOINTS, COCO_BONES)])
def test_bones_hold_the_body_together_and_mirror(
    names: tuple[str, ...], bones: tuple[tuple[int, int], ...]
) -> None:
    reached = {0}
    for _ in names:
        reached |= {joint for bone in bones if reached & set(bone) for joint in bone}
    assert reached == set(range(len(names)))
    sides = {name: name.replace("left", "?").replace("right", "left").replace("?", "right")
             for name in names}  # fmt: skip
    mirrored = {frozenset(names.index(sides[names[joint]]) for joint in bone) for bone in bones}
    assert mirrored == {frozenset(bone) for bone in bones}
    assert bones_between(len(names)) == bones
    assert joint_names_of(len(names)) == names
    assert bones_between(4) == joint_names_of(4) == ()


def test_bones_are_drawn_in_the_persons_colour_between_joints_that_are_seen() -> None:
    frame = np.full((120, 120, 3), 50, np.uint8)
    places = np.full((1, 15, 2), np.nan)
    places[0, JOINTS.index("neck")] = 60, 10
    places[0, JOINTS.index("belly")] = 60, 90
    picture = drawn(frame, KeypointAnnotation((5,), places))
    assert np.abs(picture[50, 60].astype(int) - davis_palette()[5]).max() < 40  # smoothed edges
    assert (frame == 50).all()
    alone = places.copy()
    alone[0, JOINTS.index("belly")] = np.nan
    assert (drawn(frame, KeypointAnnotation((5,), alone))[50, 60] == 50).all()
    three = np.array([[[10.0, 60], [110, 60], [60, 110]]])
    assert (drawn(frame, KeypointAnnotation((5,), three))[60, 60] == 50).all()


def test_an_object_has_one_colour_whatever_its_kind() -> None:
    frame = np.zeros((40, 40, 3), np.uint8)
    for object_id in (1, 7, 300):
        colour = davis_palette()[(object_id - 1) % 255 + 1]
        box = drawn(frame, BoxAnnotation((object_id,), np.array([[5.0, 5, 20, 20]])))
        assert (box[5, 10] == colour).all()
        point = drawn(frame, PointAnnotation((object_id,), np.array([[20.0, 20]])))
        assert (point[20, 20] == colour).all()
        assert css_colour(object_id) == "rgb({} {} {})".format(*colour)
    # Where there is no background 0 is an object: not black.
    assert object_rgb(0) == tuple(davis_palette()[255])
    assert palette_index(np.array([1, 255, 256])).tolist() == [1, 255, 1]
