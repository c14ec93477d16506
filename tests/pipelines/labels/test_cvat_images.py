"""CVAT for images 1.1: what CVAT writes is read, and what is written comes back."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.errors import UserError
from model.propagation.annotations import (
    Annotation,
    BoxAnnotation,
    KeypointAnnotation,
    MaskAnnotation,
    PointAnnotation,
)
from pipelines.labels.codec import VideoInfo
from pipelines.labels.formats import open_labels, write_labels

# As CVAT exports it: a polygon and a mask of one object, a tag, a picture that nobody touched.
EXPORTED = """<?xml version="1.0" encoding="utf-8"?>
<annotations><version>1.1</version>
  <meta><task><id>1</id><image_quality>70</image_quality><labels>
    <label><name>car 1</name><type>any</type><attributes></attributes></label></labels></task></meta>
  <image id="0" name="images/street/00012.jpg" width="8" height="4">
    <mask label="car 1" source="manual" occluded="0" rle="0, 2, 1, 1" left="1" top="1" width="2" height="2"
      z_order="0"></mask>
    <polygon label="car 1" source="manual" occluded="0" points="4,0;8,0;8,4;4,4" z_order="0"></polygon>
    <mask label="big dog 7" source="manual" occluded="0" rle="0, 1" left="7" top="3" width="1" height="1"
      z_order="1"></mask>
  </image>
  <image id="1" name="images/street/00013.jpg" width="8" height="4"></image>
  <image id="2" name="images/street/00014.jpg" width="8" height="4">
    <tag label="nothing" source="manual"></tag></image>
  <image id="3" name="images/yard/00001.jpg" width="80" height="40">
    <box label="cat 2" source="manual" occluded="0" xtl="10.00" ytl="20.00" xbr="50.00" ybr="40.00"
      z_order="0"></box>
  </image>
</annotations>
"""


def test_an_export_of_cvat_is_read_by_video_and_frame(tmp_path: Path) -> None:
    (tmp_path / "annotations.xml").write_text(EXPORTED)
    (tmp_path / "images" / "street").mkdir(parents=True)
    (tmp_path / "images" / "street" / "00012.png").touch()
    labels = open_labels(tmp_path)
    assert labels.videos() == ("street", "yard")
    assert labels.frames("street") == ("00012", "00014")
    info = labels.info("street")
    assert (info.size_hw, dict(info.object_names)) == ((4, 8), {1: "car", 7: "big dog"})
    masks = labels.read("street", "00012")
    assert isinstance(masks, MaskAnnotation)
    assert masks.ids_HW.tolist() == [
        [0, 0, 0, 0, 1, 1, 1, 1],
        [0, 1, 1, 0, 1, 1, 1, 1],
        [0, 0, 1, 0, 1, 1, 1, 1],
        [0, 0, 0, 0, 1, 1, 1, 7],
    ]
    nothing = labels.read("street", "00014")
    assert isinstance(nothing, MaskAnnotation)
    assert nothing.complete and not nothing.ids_HW.any()
    boxes = labels.read("yard", "00001")
    assert isinstance(boxes, BoxAnnotation)
    assert (boxes.ids, boxes.xywh_px_N4.tolist()) == ((2,), [[10, 20, 40, 20]])


def written_and_read(folder: Path, video: VideoInfo, annotation: Annotation) -> Annotation:
    write_labels("cvat-images", folder, video, [("00003", annotation)])
    labels = open_labels(folder / f"{video.video_id}.xml")
    assert labels.frames(video.video_id) == ("00003",)
    return labels.read(video.video_id, "00003")


@given(st.integers(0, 2**32 - 1))
def test_masks_come_back_as_they_were(tmp_path_factory: pytest.TempPathFactory, seed: int) -> None:
    random = np.random.default_rng(seed)
    ids_HW = random.choice([0, 0, 1, 4, 300], random.integers(1, 12, 2))
    video = VideoInfo("-a <b>", ids_HW.shape, object_names={4: "dog 2", 300: ""})
    back = written_and_read(tmp_path_factory.mktemp("m"), video, MaskAnnotation(ids_HW))
    assert isinstance(back, MaskAnnotation)
    assert (back.ids_HW == ids_HW).all()


def test_boxes_points_and_skeletons_come_back(tmp_path: Path) -> None:
    video = VideoInfo("v", (50, 60), joint_names=("nose", "tail"))
    boxes = BoxAnnotation((3,), np.array([[1, 2, 3.5, 4]]))
    back = written_and_read(tmp_path, video, boxes)
    assert isinstance(back, BoxAnnotation)
    assert (back.ids, back.xywh_px_N4.tolist()) == ((3,), [[1, 2, 3.5, 4]])
    points = written_and_read(tmp_path, video, PointAnnotation((2,), np.array([[7.25, 8]])))
    assert isinstance(points, PointAnnotation)
    assert (points.ids, points.xy_px_N2.tolist()) == ((2,), [[7.25, 8]])
    places = np.array([[[1, 2], [3, 4]], [[5, 6], [np.nan, np.nan]]])
    skeletons = written_and_read(tmp_path, video, KeypointAnnotation((1, 2), places))
    assert isinstance(skeletons, KeypointAnnotation)
    assert skeletons.ids == (1, 2)
    assert np.array_equal(skeletons.xy_px_NK2, places, equal_nan=True)


@pytest.mark.parametrize(
    ("image", "cause"),
    [
        (
            '<image id="0" name="00012.jpg" width="8" height="4"><tag label="nothing"/></image>',
            "VIDEO",
        ),
        (
            '<image id="0" name="../v/1.jpg" width="8" height="4"><tag label="nothing"/></image>',
            "VIDEO",
        ),
        (
            '<image id="0" name="v/1.jpg" width="x" height="4"><tag label="nothing"/></image>',
            "whole",
        ),
        (
            '<image id="0" name="v/1.jpg" width="8" height="4">'
            '<box label="car" xtl="1" ytl="1" xbr="2" ybr="2"/></image>',
            "does not end in the number",
        ),
        (
            '<image id="0" name="v/1.jpg" width="8" height="4">'
            '<cuboid label="car 1" xtl1="1"/></image>',
            "cuboid",
        ),
        (
            '<image id="0" name="v/1.jpg" width="8" height="4">'
            '<box label="a 1" xtl="1" ytl="1" xbr="2" ybr="2"/>'
            '<box label="b 1" xtl="1" ytl="1" xbr="3" ybr="2"/></image>',
            "twice",
        ),
        (
            '<image id="0" name="v/1.jpg" width="8" height="4">'
            '<mask label="a 1" rle="0, 9" left="0" top="0" width="2" height="2"/></image>',
            "do not fill",
        ),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, image: str, cause: str) -> None:
    path = tmp_path / "annotations.xml"
    path.write_text(f"<annotations>{image}</annotations>")
    with pytest.raises(UserError, match=cause) as error:
        labels = open_labels(path)
        for video_id in labels.videos():
            for frame in labels.frames(video_id):
                labels.read(video_id, frame)
    assert str(error.value).startswith(str(path))


def test_the_format_of_tracks_says_which_one_this_is(tmp_path: Path) -> None:
    path = tmp_path / "v.xml"
    path.write_text(EXPORTED)
    with pytest.raises(UserError, match=r"v\.xml: is CVAT for images; read it as cvat-images"):
        open_labels(path, "cvat").frames("v")
