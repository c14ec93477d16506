"""What is written as CVAT for video, and read back."""

import numpy as np
import pytest
from defusedxml import ElementTree
from hypothesis import given

from model.errors import UserError
from model.propagation.annotations import (
    BoxAnnotation,
    KeypointAnnotation,
    MaskAnnotation,
    PointAnnotation,
)
from pipelines.labels.codec import VideoInfo
from pipelines.labels.formats import write_labels
from tests.labels import (
    assert_round_trip,
    boxes,
    few,
    masks,
    points,
    skeletons,
    videos,
    with_objects,
)


@few
@given(videos(boxes().filter(lambda found: found.ids)))
def test_boxes_round_trip(tmp_path_factory, frames):
    assert_round_trip(tmp_path_factory.mktemp("labels"), "cvat", VideoInfo("cat"), frames)


@few
@given(videos(masks().filter(with_objects)))
def test_masks_round_trip(tmp_path_factory, frames):
    info = VideoInfo("cat", frame_count=60)
    assert_round_trip(tmp_path_factory.mktemp("labels"), "cvat", info, frames)


def seen_points(annotation):
    seen = ~annotation.occluded
    ids = tuple(i for i, is_seen in zip(annotation.ids, seen, strict=True) if is_seen)
    return PointAnnotation(ids, annotation.xy_px_N2[seen])


@few
@given(videos(points((3, 9))))
def test_points_that_are_seen_round_trip(tmp_path_factory, frames):
    expected = [(f, seen_points(a)) for f, a in frames]
    expected = [(f, a) for f, a in expected if a.ids]
    root = tmp_path_factory.mktemp("labels")
    if expected:
        assert_round_trip(root, "cvat", VideoInfo("cat"), frames, expected)
    else:
        with pytest.raises(UserError, match="not one object"):
            write_labels("cvat", root, VideoInfo("cat"), frames)


@few
@given(videos(skeletons((1, 5), 3).filter(lambda a: not np.isnan(a.xy_px_NK2).all((1, 2)).any())))
def test_skeletons_round_trip(tmp_path_factory, frames):
    info = VideoInfo("cat", joint_names=("nose", "tail", "paw"))
    assert_round_trip(tmp_path_factory.mktemp("labels"), "cvat", info, frames)


def test_what_is_written(tmp_path):
    ids = np.zeros((4, 6), int)
    ids[1:3, 2:4] = 1
    ids[2, 2] = 0
    info = VideoInfo("a", object_names={1: "dog & cat"})
    frames = [(0, MaskAnnotation(ids)), (1, MaskAnnotation(ids)), (4, MaskAnnotation(ids))]
    write_labels("cvat", tmp_path, info, frames)
    root = ElementTree.parse(tmp_path / "a.xml").getroot()
    (written,) = root.findall("track")
    assert (written.get("id"), written.get("label")) == ("0", "dog & cat")
    shapes = [(int(m.get("frame")), m.get("outside"), m.get("keyframe")) for m in written]
    assert shapes == [(0, "0", "1"), (1, "0", "1"), (2, "1", "1"), (4, "0", "1")]
    box = {name: written[0].get(name) for name in ("rle", "left", "top", "width", "height")}
    assert box == {"rle": "0, 2, 1, 1", "left": "2", "top": "1", "width": "2", "height": "2"}
    assert root.findtext("meta/task/size") == "5"
    assert root.findtext("meta/task/original_size/width") == "6"


@pytest.mark.parametrize(
    ("frames", "cause"),
    [
        ([(0, BoxAnnotation((0,), np.ones((1, 4))))], "begin at 1 here, not 0"),
        ([(0, BoxAnnotation((), np.ones((0, 4))))], "not one object"),
        ([(9, BoxAnnotation((1,), np.ones((1, 4))))], "frame 9 of a video of 5 frames"),
        (
            [
                (0, BoxAnnotation((1,), np.ones((1, 4)))),
                (1, PointAnnotation((1,), np.ones((1, 2)))),
            ],
            "another kind",
        ),
        (
            [
                (0, KeypointAnnotation((1,), np.ones((1, 2, 2)))),
                (1, KeypointAnnotation((1,), np.ones((1, 3, 2)))),
            ],
            "3 joints instead of 2",
        ),
    ],
)
def test_what_cannot_be_written_is_refused(tmp_path, frames, cause):
    with pytest.raises(UserError, match=cause):
        write_labels("cvat", tmp_path, VideoInfo("a", frame_count=5), frames)
    assert list(tmp_path.iterdir()) == []
