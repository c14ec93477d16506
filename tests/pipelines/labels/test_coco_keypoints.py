import copy
import json

import numpy as np
import pytest
from hypothesis import given
from pycocotools.coco import COCO

from model.errors import UserError
from model.propagation.annotations import KeypointAnnotation
from pipelines.labels.codec import VideoInfo
from pipelines.labels.formats import open_labels, write_labels
from tests.labels import assert_round_trip, few, skeletons, videos

SAMPLE = {
    "images": [
        {"id": 2**40, "file_name": "val/cat/img10.jpg", "height": 48, "width": 64},
        {"id": 2, "file_name": "val/cat/img2.jpg", "height": 48, "width": 64},
        {"id": 3, "file_name": "val/cat/img1.jpg", "height": 48, "width": 64},
    ],
    "annotations": [
        {
            "id": 9,
            "image_id": 2**40,
            "category_id": 1,
            "track_id": 0,
            "keypoints": [1, 2, 2, 900, -5.5, 1, 7, 7, 0],
        },
        {"id": 5, "image_id": 3, "category_id": 1, "keypoints": [0, 0, 0, 0, 0, 0, 3, 4, 2]},
    ],
    "categories": [{"id": 1, "name": "cat", "keypoints": ["nose", "tail", "paw"]}],
}


def saved(tmp_path, change=lambda sample: None):
    sample = copy.deepcopy(SAMPLE)
    change(sample)
    path = tmp_path / "person.json"
    path.write_text(json.dumps(sample))
    return path


@few
@given(videos(skeletons((0, 6), 3)))
def test_round_trip(tmp_path_factory, frames):
    root = tmp_path_factory.mktemp("labels")
    expected = [(f"{index:05d}", annotation) for index, annotation in frames]
    assert_round_trip(root, "coco-keypoints", VideoInfo("cat", (48, 64)), frames, expected)


def test_a_sample_is_read(tmp_path):
    reader = open_labels(saved(tmp_path))
    assert reader.videos() == ("cat",)
    assert reader.frames("cat") == ("img1", "img2", "img10")
    joints = reader.read("cat", "img10")
    assert joints.ids == (0,)
    assert joints.xy_px_NK2[0, :2].tolist() == [[1, 2], [900, -5.5]]  # outside, and it stays
    assert np.isnan(joints.xy_px_NK2[0, 2]).all()
    assert reader.read("cat", "img1").ids == (5,)
    empty = reader.read("cat", "img2")
    assert empty.ids == () and empty.xy_px_NK2.shape == (0, 3, 2)
    info = reader.info("cat")
    assert info.size_hw == (48, 64) and info.joint_names == ("nose", "tail", "paw")
    assert info.object_names == {0: "cat", 5: "cat"}


def test_what_is_written_is_read_by_pycocotools(tmp_path):
    places = np.array([[[1, 2], [np.nan, np.nan], [4, 6]]])
    info = VideoInfo("a", (48, 64), object_names={3: "cat"}, joint_names=("x", "y", "z"))
    write_labels("coco-keypoints", tmp_path, info, [(7, KeypointAnnotation((3,), places))])
    oracle = COCO(str(tmp_path / "a.json"))
    (annotation,) = oracle.loadAnns(oracle.getAnnIds())
    assert annotation["keypoints"] == [1, 2, 2, 0, 0, 0, 4, 6, 2]
    assert annotation["num_keypoints"] == 2
    assert annotation["bbox"] == [1, 2, 3, 4] and annotation["area"] == 12
    assert oracle.loadCats([annotation["category_id"]])[0]["name"] == "cat"
    assert oracle.loadImgs([annotation["image_id"]])[0]["file_name"] == "a/00007.jpg"


def put(*keys, value):
    def change(sample):
        place = sample
        for key in keys[:-1]:
            place = place[key]
        place[keys[-1]] = value

    return change


@pytest.mark.parametrize(
    ("change", "cause"),
    [
        (put("images", 1, "file_name", value="val/cat/img1.png"), "is there twice"),
        (put("images", 1, "id", value=3), "is there twice"),
        (put("images", 1, "file_name", value="a/../../b.jpg"), "not the path of a frame"),
        (put("images", 1, "file_name", value=".hidden/b.jpg"), "cannot be the name"),
        (put("images", 1, "height", value=47), "different sizes"),
        (put("images", 1, "height", value=1 << 30), "more than a frame can have"),
        (put("annotations", 0, "image_id", value=8), "an image 8 that is not there"),
        (put("annotations", 0, "track_id", value=-8), "an id must be 0 to"),
        (put("annotations", 0, "track_id", value=1 << 31), "an id must be 0 to"),
        (put("annotations", 0, "keypoints", value=[1, 2, 2]), "for each of 3 joints"),
        (put("annotations", 0, "keypoints", 0, value="x"), "x must be a finite number"),
        (put("annotations", 0, "keypoints", 1, value=float("nan")), "y must be a finite number"),
        (put("annotations", 0, "keypoints", 2, value=3), "the v of a joint must be 0 to 2"),
        (put("categories", value=[]), "the same keypoints"),
        (put("categories", 0, "keypoints", value=None), "the same keypoints"),
    ],
)
def test_files_that_lie_are_refused_by_name(tmp_path, change, cause):
    with pytest.raises(UserError, match=rf"person\.json.*{cause}"):
        open_labels(saved(tmp_path, change))


def test_an_instance_is_in_a_frame_once(tmp_path):
    def twice(sample):
        sample["annotations"][0].update(image_id=3, track_id=5)

    with pytest.raises(UserError, match="object 5 is there twice"):
        open_labels(saved(tmp_path, twice))


def test_what_cannot_be_written_is_refused(tmp_path):
    joints = KeypointAnnotation((1,), np.ones((1, 3, 2)))
    with pytest.raises(UserError, match="need the size"):
        write_labels("coco-keypoints", tmp_path, VideoInfo("a"), [(0, joints)])
    with pytest.raises(UserError, match="3 joints instead of 2"):
        info = VideoInfo("a", (4, 4), joint_names=("x", "y"))
        write_labels("coco-keypoints", tmp_path, info, [(0, joints)])
    assert list(tmp_path.iterdir()) == []
