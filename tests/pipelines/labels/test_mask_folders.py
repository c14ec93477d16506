import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from model.errors import UserError
from model.propagation.annotations import MaskAnnotation
from pipelines.labels.codec import VideoInfo
from pipelines.labels.formats import open_labels, write_labels
from pipelines.labels.mask_folders import seen_in_masks, write_meta
from tests.labels import assert_round_trip, few, masks, videos

STEMS = st.lists(
    st.text("abc019_-. ", min_size=1, max_size=6).filter(lambda s: s.strip(". ") == s and s != ""),
    min_size=1,
    max_size=3,
    unique=True,
).map(sorted)


def mask(*rows):
    return MaskAnnotation(np.array(rows, np.uint8))


@few
@given(videos(masks(st.integers(1, 254)), STEMS))
def test_round_trip(tmp_path_factory, frames):
    assert_round_trip(tmp_path_factory.mktemp("labels"), "davis", VideoInfo("cat"), frames)


def test_indices_become_stems_of_five_digits(tmp_path):
    write_labels("davis", tmp_path, VideoInfo("cat"), [(0, mask([0, 1])), (12, mask([2, 0]))])
    reader = open_labels(tmp_path)
    assert reader.frames("cat") == ("00000", "00012")
    assert reader.info("cat").size_hw == (1, 2)
    assert reader.read("cat", "00012").ids_HW.tolist() == [[2, 0]]


def test_objects_may_vanish_and_frames_may_be_empty(tmp_path):
    frames = [(0, mask([1, 2])), (1, mask([0, 2])), (2, mask([0, 0]))]
    assert_round_trip(
        tmp_path, "davis", VideoInfo("cat"), frames, [(f"{i:05d}", a) for i, a in frames]
    )


def test_a_video_is_replaced_whole(tmp_path):
    write_labels("davis", tmp_path, VideoInfo("cat"), [(0, mask([1])), (1, mask([1]))])
    write_labels("davis", tmp_path, VideoInfo("cat"), [(3, mask([2]))])
    assert [path.name for path in sorted(tmp_path.rglob("*"))] == ["cat", "00003.png"]


def test_masks_of_another_size_are_refused(tmp_path):
    with pytest.raises(UserError, match=r"00001\.png: a mask of 1x2 px in a video of 2x1 px"):
        write_labels("davis", tmp_path, VideoInfo("a"), [(0, mask([0, 1])), (1, mask([0], [1]))])
    assert list(tmp_path.iterdir()) == []
    write_labels("davis", tmp_path, VideoInfo("a"), [(0, mask([0, 1])), (1, mask([0, 1]))])
    Image.fromarray(np.zeros((2, 1), np.uint8)).save(tmp_path / "a" / "00001.png")
    with pytest.raises(UserError, match=r"00001\.png: 1x2 px, the first mask of a has 2x1 px"):
        open_labels(tmp_path).read("a", "00001")


def test_more_objects_than_a_palette_holds_are_refused(tmp_path):
    many = MaskAnnotation(np.delete(np.arange(301), 255).reshape(10, 30))
    with pytest.raises(UserError, match=r"0 to 255, the mask 0 to 300 .*coco-video"):
        write_labels("davis", tmp_path, VideoInfo("a"), [(0, many)])
    assert_round_trip(tmp_path / "b", "coco-video", VideoInfo("a"), [("0", many)])


def test_255_is_void_but_where_it_is_the_only_object(tmp_path):
    object_255, both = (MaskAnnotation(np.array(ids)) for ids in ([[0, 255]], [[1, 255]]))
    empty = MaskAnnotation(np.zeros((1, 2), int))
    assert_round_trip(tmp_path / "a", "davis", VideoInfo("a"), [("0", object_255), ("1", empty)])
    for frames in ([("0", both)], [("0", object_255), ("1", MaskAnnotation(np.array([[1, 0]])))]):
        stem = frames[-1][0]
        told = rf"b, frame {stem}: ids go to 254, since 255 is void in this format beside other"
        with pytest.raises(UserError, match=told):
            write_labels("davis", tmp_path, VideoInfo("b"), frames)
        assert_round_trip(tmp_path / f"coco{stem}", "coco-video", VideoInfo("b"), frames)
    with pytest.raises(UserError, match=r"frame 0: ids go to 254, since 255 is void"):
        write_labels("youtube-vos", tmp_path, VideoInfo("b"), [("0", object_255)])
    assert not (tmp_path / "b").exists()


def test_rgb_masks_are_refused(tmp_path):
    (tmp_path / "a").mkdir()
    Image.fromarray(np.zeros((2, 2, 3), np.uint8)).save(tmp_path / "a" / "0.png")
    with pytest.raises(UserError, match=r"0\.png: RGB"):
        open_labels(tmp_path).read("a", "0")


def youtube_vos(root, objects):
    for stem, rows in {"00000": [1, 0], "00005": [1, 2]}.items():
        path = root / "Annotations" / "cat" / f"{stem}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.array([rows], np.uint8)).save(path)
    (root / "meta.json").write_text(json.dumps({"videos": {"cat": objects}}))
    return root


def test_youtube_vos_says_what_objects_are_and_when_they_appear(tmp_path):
    objects = {
        "1": {"category": "penguin", "frames": ["00000", "00005"]},
        "2": {"category": "person", "frames": ["00005"]},
    }
    reader = open_labels(youtube_vos(tmp_path, {"objects": objects}))
    info = reader.info("cat")
    assert info.object_names == {1: "penguin", 2: "person"}
    assert info.first_frames == {1: "00000", 2: "00005"}
    assert reader.read("cat", "00005").ids_HW.tolist() == [[1, 2]]


def test_an_object_that_meta_does_not_list_is_refused(tmp_path):
    one = {"objects": {"1": {"category": "penguin", "frames": ["00000"]}}}
    reader = open_labels(youtube_vos(tmp_path, one))
    with pytest.raises(UserError, match=r"00005\.png: meta\.json lists no object 2 of cat"):
        reader.read("cat", "00005")


@pytest.mark.parametrize(
    ("objects", "cause"),
    [
        ({"objects": {"1": {"frames": []}}}, "object 1 has no frames"),
        ({"objects": {"x": {"frames": ["00000"]}}}, "id must be a whole number"),
        ({"objects": {"0": {"frames": ["00000"]}}}, "must be 1 to 255"),
        ({"objects": {"99999999999": {"frames": ["00000"]}}}, "must be 1 to 255"),
        ({"objects": [1]}, "'objects' must be an object"),
        (7, "a video must be an object"),
    ],
)
def test_a_damaged_meta_is_refused(tmp_path, objects, cause):
    with pytest.raises(UserError, match=rf"meta\.json, cat: .*{cause}"):
        open_labels(youtube_vos(tmp_path, objects))


def test_videos_of_meta_without_masks_do_not_count_and_the_other_way_is_an_error(tmp_path):
    root = youtube_vos(tmp_path, {"objects": {}})
    one = {"objects": {"1": {"frames": ["00000"]}}}
    (root / "meta.json").write_text(json.dumps({"videos": {"dog": one}}))
    reader = open_labels(root)
    assert reader.videos() == ("cat",)
    with pytest.raises(UserError, match=r"meta\.json: does not list cat"):
        reader.info("cat")


def test_meta_is_written_from_the_masks(tmp_path):
    frames = [("00000", mask([1, 0])), ("00005", mask([1, 2])), ("00010", mask([0, 2]))]
    write_labels("youtube-vos", tmp_path / "Annotations", VideoInfo("cat"), frames)
    write_meta(tmp_path, seen_in_masks(tmp_path, {"cat": {1: "penguin"}}))
    written = json.loads((tmp_path / "meta.json").read_text())
    assert written["videos"]["cat"]["objects"] == {
        "1": {"category": "penguin", "frames": ["00000", "00005"]},
        "2": {"category": "object", "frames": ["00005", "00010"]},
    }
    reader = open_labels(tmp_path)
    assert reader.info("cat").first_frames == {1: "00000", 2: "00005"}
    assert reader.read("cat", "00010").ids_HW.tolist() == [[0, 2]]


def test_masks_of_the_shared_sequences(shared_data):
    reader = open_labels(shared_data / "eval")
    name = "ytvos_003234408d"
    assert name in reader.videos()
    assert reader.info(name).size_hw == (180, 320)
    first = reader.read(name, "00000").ids_HW
    with Image.open(shared_data / "eval" / name / "masks" / "00000.png") as image:
        assert np.array_equal(first, np.array(image))
