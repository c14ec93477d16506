import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pycocotools import mask as coco

from model.errors import UserError
from model.propagation.annotations import MaskAnnotation
from pipelines.labels.coco_collection import collect_coco_videos
from pipelines.labels.codec import VideoInfo
from pipelines.labels.formats import open_labels, write_labels
from tests.labels import assert_same, few, masks, videos


def write(folder, name, frames, **info):
    write_labels("coco-video", folder, VideoInfo(name, **info), frames)


@few
@given(st.dictionaries(st.sampled_from(["-a", "b", "c d"]), videos(masks()), min_size=1))
def test_the_videos_of_one_file_are_those_of_the_files(tmp_path_factory, by_name):
    root = tmp_path_factory.mktemp("labels")
    for name, frames in by_name.items():
        write(root / "labels", name, frames)
    assert collect_coco_videos(root / "labels", root / "labels.json") == len(by_name)
    alone, together = open_labels(root / "labels"), open_labels(root / "labels.json")
    assert together.videos() == alone.videos() == tuple(sorted(by_name))
    for name in by_name:
        assert together.info(name) == alone.info(name)
        assert together.frames(name) == alone.frames(name)
        for frame in alone.frames(name):
            assert_same(together.read(name, frame), alone.read(name, frame))


def two_videos(folder):
    first = MaskAnnotation(np.array([[0, 7, 7], [300, 0, 0]]))
    write(folder, "cat", [(0, first)], object_names={7: "cat", 300: "bowl"})
    write(folder, "dog", [(0, MaskAnnotation(np.array([[7]])))], object_names={7: "dog"})


def test_what_is_written_is_youtube_vis(tmp_path):
    two_videos(tmp_path / "labels")
    collect_coco_videos(tmp_path / "labels", tmp_path / "all.json")
    document = json.loads((tmp_path / "all.json").read_text())
    assert [video["id"] for video in document["videos"]] == [1, 2]
    assert [video["file_names"] for video in document["videos"]] == [
        ["cat/00000.jpg"],
        ["dog/00000.jpg"],
    ]
    annotations = document["annotations"]
    assert [each["id"] for each in annotations] == [1, 2, 3]
    assert [each["track_id"] for each in annotations] == [7, 300, 7]
    assert [each["video_id"] for each in annotations] == [1, 1, 2]
    names = {entry["id"]: entry["name"] for entry in document["categories"]}
    assert [names[each["category_id"]] for each in annotations] == ["cat", "bowl", "dog"]
    bowl = coco.decode(annotations[1]["segmentations"][0])
    assert bowl.tolist() == [[0, 0, 0], [1, 0, 0]]


def test_it_can_be_repeated_and_follows_what_is_there(tmp_path):
    two_videos(tmp_path / "labels")
    collect_coco_videos(tmp_path / "labels", tmp_path / "all.json")
    before = (tmp_path / "all.json").read_bytes()
    collect_coco_videos(tmp_path / "labels", tmp_path / "all.json")
    assert (tmp_path / "all.json").read_bytes() == before
    (tmp_path / "labels" / "cat.json").unlink()
    (tmp_path / "labels" / ".hidden.json").write_text("[")
    collect_coco_videos(tmp_path / "labels", tmp_path / "all.json")
    assert open_labels(tmp_path / "all.json").videos() == ("dog",)


def test_no_videos_make_an_empty_file(tmp_path):
    assert collect_coco_videos(tmp_path / "labels", tmp_path / "all.json") == 0
    document = json.loads((tmp_path / "all.json").read_text())
    assert document == {"annotations": [], "videos": [], "categories": []}


def test_a_damaged_file_and_a_video_twice_leave_what_was_there(tmp_path):
    two_videos(tmp_path / "labels")
    path = tmp_path / "all.json"
    path.write_text("before")
    whole = (tmp_path / "labels" / "dog.json").read_text()
    for content, cause in ((whole[:40], "not JSON"), (whole.replace("dog/", "cat/"), "cat is in")):
        (tmp_path / "labels" / "dog.json").write_text(content)
        with pytest.raises(UserError, match=rf"dog\.json: .*{cause}"):
            collect_coco_videos(tmp_path / "labels", path)
        assert path.read_text() == "before"
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["all.json", "labels"]
