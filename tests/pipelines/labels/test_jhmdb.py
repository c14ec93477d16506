import io
import json

import numpy as np
import pytest
import scipy.io
from hypothesis import given
from hypothesis import strategies as st

from model.errors import UserError
from model.propagation.annotations import KeypointAnnotation
from pipelines.labels.codec import VideoInfo
from pipelines.labels.formats import open_labels, write_labels
from pipelines.labels.jhmdb import JOINTS
from tests.labels import assert_round_trip, few, skeletons, videos

NAN = float("nan")
NAME = "jhmdbdev_golf__Steve_Elkington_1995_PGA_golf_f_cm_np1_ri_med_0"


def saved(root, video="walk/clip", **arrays):
    path = root / video / "joint_positions.mat"
    path.parent.mkdir(parents=True, exist_ok=True)
    scipy.io.savemat(path, arrays)
    return path


@few
@given(videos(skeletons((1,), 15), st.integers(1, 4).map(range)))
def test_round_trip(tmp_path_factory, frames):
    assert_round_trip(tmp_path_factory.mktemp("labels"), "jhmdb", VideoInfo("cat"), frames)


def test_places_count_from_1(tmp_path):
    pos_img = np.arange(2 * 15 * 3, dtype=float).reshape(2, 15, 3)
    path = saved(tmp_path, pos_img=pos_img)
    for location in (tmp_path, path.parent.parent, path):
        reader = open_labels(location)
        assert reader.videos() == ("clip",)
        assert reader.frames("clip") == (0, 1, 2)
        joints = reader.read("clip", 2)
        assert joints.ids == (1,)
        assert joints.xy_px_NK2[0, 4].tolist() == [pos_img[0, 4, 2] - 1, pos_img[1, 4, 2] - 1]
    assert open_labels(tmp_path).info("clip").joint_names == JOINTS


def test_other_joints_are_numbered(tmp_path):
    saved(tmp_path, pos_img=np.ones((2, 3, 4)))
    reader = open_labels(tmp_path)
    assert reader.info("clip").joint_names == ("joint_0", "joint_1", "joint_2")
    assert reader.read("clip", 3).xy_px_NK2.tolist() == [[[0, 0]] * 3]


def test_json_of_joints(tmp_path):
    record = {"joints": ["head", "tail"], "keypoints": [[[1, 2], [3, 4]], [[5, 6], [NAN, 8]]]}
    (tmp_path / "clip").mkdir()
    (tmp_path / "clip" / "keypoints.json").write_text(json.dumps(record))
    reader = open_labels(tmp_path, "jhmdb")
    assert reader.info("clip").joint_names == ("head", "tail")
    assert reader.read("clip", 0).xy_px_NK2.tolist() == [[[0, 1], [2, 3]]]
    assert np.isnan(reader.read("clip", 1).xy_px_NK2[0, 1]).all()


@pytest.mark.parametrize(
    ("record", "cause"),
    [
        ("[1, 2]", "must be an object"),
        ("[1, 2", "not JSON"),
        ('{"joints": ["a"]}', "no lists of joints and keypoints"),
        ('{"joints": ["a"], "keypoints": [[["x", 2]]]}', "not numbers"),
        ('{"joints": ["a"], "keypoints": [[[1, 2], [3]]]}', "not numbers"),
        ('{"joints": ["a"], "keypoints": [[1, 2]]}', r"must be \[T, K, 2\]"),
        ('{"joints": ["a", "b"], "keypoints": [[[1, 2]]]}', "2 names of joints"),
        ('{"joints": ["a"], "keypoints": [[[1, Infinity]]]}', "infinite"),
    ],
)
def test_damaged_json_is_named(tmp_path, record, cause):
    (tmp_path / "clip").mkdir()
    (tmp_path / "clip" / "keypoints.json").write_text(record)
    with pytest.raises(UserError, match=rf"keypoints\.json: .*{cause}"):
        open_labels(tmp_path, "jhmdb").frames("clip")


def test_one_frame_has_no_third_axis(tmp_path):
    saved(tmp_path, pos_img=np.ones((2, 15)))
    assert open_labels(tmp_path).frames("clip") == (0,)


def test_a_video_of_no_length_has_no_frames(tmp_path):
    saved(tmp_path, pos_img=np.ones((2, 15, 0)))
    assert open_labels(tmp_path).frames("clip") == ()


def test_joints_outside_the_picture_stay_and_nan_is_not_seen(tmp_path):
    pos_img = np.full((2, 15, 1), -50.0)
    pos_img[0, 3] = np.nan
    saved(tmp_path, pos_img=pos_img)
    joints = open_labels(tmp_path).read("clip", 0).xy_px_NK2[0]
    assert joints[0].tolist() == [-51, -51]
    assert np.isnan(joints[3]).all()


def test_written_files_are_read_by_scipy_and_the_same_every_time(tmp_path):
    places = np.arange(30, dtype=float).reshape(1, 15, 2)
    for video in ("a", "b"):
        write_labels("jhmdb", tmp_path, VideoInfo(video), [(0, KeypointAnnotation((1,), places))])
    contents = [(tmp_path / v / "joint_positions.mat").read_bytes() for v in ("a", "b")]
    assert contents[0] == contents[1]
    pos_img = scipy.io.loadmat(io.BytesIO(contents[0]))["pos_img"]
    assert np.array_equal(pos_img.reshape(2, 15), places[0].T + 1)


@pytest.mark.parametrize(
    ("arrays", "cause"),
    [
        ({"pos_img": np.ones((3, 15, 3))}, r"2 x joints x frames, not \(3, 15, 3\)"),
        ({"pos_img": np.ones((15, 2, 3))}, "2 x joints x frames"),
        ({"pos_img": np.ones((2, 0, 3))}, "2 x joints x frames"),
        ({"pos_img": "text"}, "2 x joints x frames"),
        ({"pos_img": np.ones((2, 15, 3), complex)}, "2 x joints x frames"),
        ({"pos_img": np.full((2, 15, 3), np.inf)}, "infinite"),
        ({"other": np.ones((2, 15, 3))}, "no pos_img"),
    ],
)
def test_other_content_is_refused(tmp_path, arrays, cause):
    saved(tmp_path, **arrays)
    with pytest.raises(UserError, match=rf"joint_positions\.mat: .*{cause}"):
        open_labels(tmp_path).read("clip", 0)


def test_damaged_files_are_refused_wherever_they_are_cut(tmp_path):
    path = saved(tmp_path, pos_img=np.ones((2, 15, 3)))
    whole = path.read_bytes()
    for length in [*range(0, 200, 7), *range(200, len(whole), 101)]:
        path.write_bytes(whole[:length])
        with pytest.raises(UserError, match=r"joint_positions\.mat: "):
            open_labels(tmp_path).frames("clip")


def test_sizes_that_lie_are_refused(tmp_path):
    path = saved(tmp_path, pos_img=np.ones((2, 15, 3)))
    whole = path.read_bytes()
    count = np.array([2, 15, 3], np.int32).tobytes()
    assert whole.count(count) == 1
    path.write_bytes(whole.replace(count, np.array([2, 15, 2**30], np.int32).tobytes()))
    with pytest.raises(UserError, match=r"joint_positions\.mat: "):
        open_labels(tmp_path).frames("clip")


def test_what_jhmdb_does_not_hold_is_refused(tmp_path):
    for places in (np.ones((2, 15, 2)), np.ones((1, 14, 2))):
        frames = [(0, KeypointAnnotation(tuple(range(1, len(places) + 1)), places))]
        with pytest.raises(UserError, match="one person with 15 joints"):
            write_labels("jhmdb", tmp_path, VideoInfo("a"), frames)
    half = np.ones((1, 15, 2))
    half[0, 0, 0] = np.nan
    with pytest.raises(UserError, match="two finite numbers, or NaN twice"):
        write_labels("jhmdb", tmp_path, VideoInfo("a"), [(0, KeypointAnnotation((1,), half))])


def test_the_person_has_the_id_1_or_is_not_there(tmp_path):
    here = KeypointAnnotation((1,), np.ones((1, 15, 2)))
    for ids in ((7,), (0,)):
        frames = [(0, here), (1, KeypointAnnotation(ids, here.xy_px_NK2))]
        told = rf"frame 1: JHMDB names no ids, its person is 1, not {ids[0]} \(coco-keypoints"
        with pytest.raises(UserError, match=told):
            write_labels("jhmdb", tmp_path, VideoInfo("a"), frames)
    nobody = KeypointAnnotation((), np.empty((0, 15, 2)))
    write_labels("jhmdb", tmp_path, VideoInfo("a"), [(0, here), (1, nobody)])
    assert np.isnan(open_labels(tmp_path).read("a", 1).xy_px_NK2).all()


def test_the_shared_joints(shared_data):
    reader = open_labels(shared_data / "eval", "jhmdb")
    assert len(reader.videos()) == 8
    folder = shared_data / "eval" / NAME
    pos_img = scipy.io.loadmat(folder / "joint_positions.mat")["pos_img"]
    found = np.stack([reader.read(NAME, f).xy_px_NK2[0] for f in reader.frames(NAME)])
    assert np.array_equal(found, pos_img.transpose(2, 1, 0) - 1)
    listed = json.loads((folder / "keypoints.json").read_text())  # from 1 on, too
    assert tuple(listed["joints"]) == JOINTS
    assert np.allclose(found + 1, listed["keypoints"])
