import numpy as np
import pytest
from hypothesis import given
from pycocotools import mask as coco

from model.errors import UserError
from model.propagation.annotations import MaskAnnotation
from pipelines.labels.codec import VideoInfo
from pipelines.labels.formats import open_labels, write_labels
from tests.labels import assert_round_trip, few, masks, videos, with_objects


def runs(*rows):
    return coco.encode(np.asfortranarray(rows, np.uint8))["counts"].decode()


LEFT, RIGHT = runs([1, 0, 0], [1, 0, 0]), runs([0, 0, 1], [0, 0, 1])


@few
@given(videos(masks().filter(with_objects)))
def test_round_trip(tmp_path_factory, frames):
    for name in ("mots", "kitti-mots"):
        assert_round_trip(tmp_path_factory.mktemp("labels"), name, VideoInfo("cat"), frames)


def sample(tmp_path, *lines):
    path = tmp_path / "0002.txt"
    path.write_text("\n".join(lines))
    return path


def test_a_sample_is_read(tmp_path):
    path = sample(
        tmp_path,
        f"1 2001 2 2 3 {LEFT}",
        f"1 1007 1 2 3 {RIGHT}",
        f"1 10000 10 2 3 {LEFT}",
        f"3 2001 2 2 3 {RIGHT}",
    )
    reader = open_labels(path)
    assert reader.frames("0002") == (0, 2)
    assert reader.read("0002", 0).ids_HW.tolist() == [[2001, 0, 1007]] * 2
    assert reader.read("0002", 2).ids_HW.tolist() == [[0, 0, 2001]] * 2
    names = {2001: "pedestrian", 1007: "car"}
    assert reader.info("0002") == VideoInfo("0002", (2, 3), object_names=names)


def test_kitti_counts_frames_from_0(tmp_path):
    path = sample(tmp_path, f"0 2001 2 2 3 {LEFT}")
    assert open_labels(path, "kitti-mots").frames("0002") == (0,)
    with pytest.raises(UserError, match=r"line 1: frames counted from 0; .*kitti-mots"):
        open_labels(path).frames("0002")


def test_what_is_written(tmp_path):
    ids = MaskAnnotation(np.array([[5, 0, 6], [5, 0, 6]]))
    info = VideoInfo("cat", object_names={6: "car"})
    write_labels("mots", tmp_path, info, [(2, ids)])
    assert (tmp_path / "cat.txt").read_text() == f"3 5 2 2 3 {LEFT}\n3 6 1 2 3 {RIGHT}\n"


def test_a_class_that_mots_does_not_have_is_not_written(tmp_path):
    info = VideoInfo("cat", object_names={5: "dog"})
    with pytest.raises(UserError, match="no class 'dog'"):
        write_labels("mots", tmp_path, info, [(0, MaskAnnotation(np.full((1, 1), 5)))])


@pytest.mark.parametrize(
    ("lines", "cause"),
    [
        ([f"1 5 2 2 3 {LEFT}", f"1 6 2 2 3 {LEFT}"], "frame 1: objects 5 and 6 overlap"),
        ([f"1 5 2 2 3 {LEFT}", f"1 5 2 2 3 {RIGHT}"], "line 2: object 5 .* twice"),
        ([f"1 5 2 2 3 {LEFT}", f"1 6 2 3 2 {RIGHT}"], "line 2: a mask of another size"),
        ([f"1 5 2 2 2 {LEFT}"], "frame 1, object 5: the run lengths do not fill 2x2 px"),
        ([f"1 5 2 99999 99999 {LEFT}"], "line 1: .* more than a frame can have"),
        ([f"1 4294967296 2 2 3 {LEFT}"], "line 1: the id must be 1 to 2147483647"),
        ([f"99999999999 5 2 2 3 {LEFT}"], "line 1: the frame must be 1 to"),
        ([f"1 5 2 -2 3 {LEFT}"], "line 1: the height must be 1 to"),
        (["1 5 2 2 3"], "line 1: needs frame id class"),
        (["1 5 2 2 3 P"], "frame 1, object 5: damaged run lengths"),
    ],
)
def test_lines_that_lie_are_refused(tmp_path, lines, cause):
    with pytest.raises(UserError, match=rf"0002\.txt, {cause}"):
        open_labels(sample(tmp_path, *lines), "mots").read("0002", 0)
