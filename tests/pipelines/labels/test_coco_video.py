import copy
import json

import numpy as np
import pytest
from hypothesis import given
from pycocotools import mask as coco

from model.errors import UserError
from model.propagation.annotations import MaskAnnotation
from pipelines.labels.codec import VideoInfo
from pipelines.labels.formats import open_labels, write_labels
from tests.labels import assert_round_trip, few, masks, videos

# Two by three pixels, down the columns: background first.
SAMPLE = {
    "videos": [
        {
            "id": 4,
            "height": 2,
            "width": 3,
            "length": 2,
            "file_names": ["cat/00000.jpg", "cat/00005.jpg"],
        },
        {"id": 5, "height": 2, "width": 3, "length": 0, "file_names": []},
    ],
    "annotations": [
        {
            "id": 700,
            "video_id": 4,
            "category_id": 2,
            "segmentations": [{"size": [2, 3], "counts": [0, 2, 4]}, None],
        },
        {
            "id": 701,
            "video_id": 4,
            "category_id": 9,
            "segmentations": [None, [[1, 0, 3, 0, 3, 1, 1, 1]]],
        },
    ],
    "categories": [{"id": 2, "name": "cat"}],
}


def saved(tmp_path, change=lambda sample: None):
    sample = copy.deepcopy(SAMPLE)
    change(sample)
    path = tmp_path / "instances.json"
    path.write_text(json.dumps(sample))
    return path


def test_a_track_id_names_the_object(tmp_path):
    def renamed(sample):
        sample["annotations"][0]["track_id"] = 701
        sample["annotations"][1]["track_id"] = 2

    reader = open_labels(saved(tmp_path, renamed))
    assert set(np.unique(reader.read("cat", "00000").ids_HW)) == {0, 701}
    assert set(np.unique(reader.read("cat", "00005").ids_HW)) == {0, 2}
    assert reader.info("cat").object_names == {701: "cat"}

    def twice(sample):
        sample["annotations"][0]["track_id"] = 701

    with pytest.raises(UserError, match="video 4: object 701 is there twice"):
        open_labels(saved(tmp_path, twice))


@few
@given(videos(masks()))
def test_round_trip(tmp_path_factory, frames):
    root = tmp_path_factory.mktemp("labels")
    expected = [(f"{index:05d}", annotation) for index, annotation in frames]
    assert_round_trip(root, "coco-video", VideoInfo("cat"), frames, expected)


def test_a_sample_is_read(tmp_path):
    reader = open_labels(saved(tmp_path))
    assert reader.videos() == ("5", "cat")
    assert reader.frames("5") == ()
    assert reader.frames("cat") == ("00000", "00005")
    assert reader.info("cat") == VideoInfo("cat", (2, 3), object_names={700: "cat"})
    assert reader.read("cat", "00000").ids_HW.tolist() == [[700, 0, 0], [700, 0, 0]]
    assert reader.read("cat", "00005").ids_HW.tolist() == [[0, 701, 701], [0, 0, 0]]


def test_what_is_written_is_read_by_pycocotools(tmp_path):
    ids = np.zeros((5, 8), int)
    ids[1:3, 2:6], ids[4] = 300, 12
    names = {300: "dog"}
    write_labels(
        "coco-video", tmp_path, VideoInfo("a", object_names=names), [(0, MaskAnnotation(ids))]
    )
    written = json.loads((tmp_path / "a.json").read_text())
    assert [a["id"] for a in written["annotations"]] == [12, 300]
    for annotation in written["annotations"]:
        decoded = coco.decode(annotation["segmentations"][0])
        assert np.array_equal(decoded, ids == annotation["id"])
    assert open_labels(tmp_path).info("a").object_names == {12: "object", 300: "dog"}


def test_an_empty_mask_stays_a_frame(tmp_path):
    empty = MaskAnnotation(np.zeros((2, 2), int))
    assert_round_trip(tmp_path, "coco-video", VideoInfo("a"), [("x", empty)])


def test_masks_of_another_size_are_not_written(tmp_path):
    frames = [(0, MaskAnnotation(np.ones((2, 2), int))), (1, MaskAnnotation(np.ones((2, 3), int)))]
    with pytest.raises(UserError, match=r"a\.json, frame 1: a mask of 3x2 px in a video of 2x2"):
        write_labels("coco-video", tmp_path, VideoInfo("a"), frames)
    assert list(tmp_path.iterdir()) == []


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
        (put("videos", 0, "length", value=3), "2 file_names and length 3"),
        (put("videos", 0, "file_names", value=None), "no list of file_names"),
        (put("videos", 0, "file_names", 1, value="dog/1.jpg"), "several folders"),
        (put("videos", 0, "file_names", 1, value="cat/00000.png"), "twice"),
        (put("videos", 0, "file_names", 0, value="../../etc/1.jpg"), "not the path of a frame"),
        (put("videos", 0, "file_names", 0, value="/etc/1.jpg"), "not the path of a frame"),
        (put("videos", 0, "file_names", 0, value=3), "not the path of a frame"),
        (put("videos", 0, "height", value=10**6), "3x1000000 px|the video has"),
        (put("videos", 0, "width", value=2**31 - 1), "more than a frame can have"),
        (put("videos", 0, "width", value=-3), "must be 1 to"),
        (put("videos", 0, "width", value=None), "must be a whole number"),
        (put("videos", 1, "id", value=4), "two videos have the id 4"),
        (put("videos", 1, "name", value="../x"), "cannot be the name"),
        (put("videos", value={}), "'videos' must be a list"),
        (put("annotations", 0, "video_id", value=6), "a video 6 that is not there"),
        (put("annotations", 0, "id", value=2**31), "must be 1 to 2147483647"),
        (put("annotations", 0, "id", value=0), "must be 1 to"),
        (put("annotations", 0, "id", value=701), "two annotations have the id 701"),
        (put("annotations", 0, "id", value="x"), "must be a whole number"),
        (put("annotations", 0, "segmentations", value=[None]), "must have 2 segmentations"),
        (put("annotations", 0, "segmentations", 0, "counts", value=[0, 2, 5]), "do not fill"),
        (put("annotations", 0, "segmentations", 0, "size", value=[3, 2]), "the video has"),
        (put("annotations", 0, "segmentations", 0, value=3), "neither"),
    ],
)
def test_files_that_lie_are_refused_by_name(tmp_path, change, cause):
    with pytest.raises(UserError, match=rf"instances\.json.*({cause})"):
        open_labels(saved(tmp_path, change), "coco-video").read("cat", "00000")


def test_a_file_that_is_no_json_is_refused(tmp_path):
    for text in ('{"videos": [', "[" * 100_000, "\0", '{"videos": ' + "9" * 9999 + "}"):
        (tmp_path / "a.json").write_text(text)
        with pytest.raises(UserError, match=r"a\.json: not JSON"):
            open_labels(tmp_path / "a.json")


def test_in_a_folder_a_file_holds_the_video_it_is_named_after(tmp_path):
    saved(tmp_path)
    reader = open_labels(tmp_path)
    assert reader.videos() == ("instances",)
    with pytest.raises(UserError, match="must hold the video instances and no other"):
        reader.frames("instances")
