import json
import re
import textwrap
from pathlib import Path

import numpy as np
import pytest

from model.errors import UserError
from model.propagation.annotations import (
    BoxAnnotation,
    KeypointAnnotation,
    MaskAnnotation,
    PointAnnotation,
)
from pipelines.labels.codec import VideoInfo
from pipelines.labels.formats import FORMATS, open_labels, write_labels
from pipelines.labels.mask_folders import seen_in_masks, write_meta
from pipelines.s3 import StorageError
from tests.labels import assert_same
from tests.s3_faults import Fault

MASK = MaskAnnotation(np.array([[0, 1, 1], [2, 0, 0]]))
BOX = BoxAnnotation((1,), np.array([[1.0, 2, 3, 4]]))
POINT = PointAnnotation((1,), np.array([[1.0, 2]]))
JOINTS = KeypointAnnotation((1,), np.ones((1, 15, 2)))
INFO = VideoInfo("cat", (2, 3))

HELD = {
    "davis": MASK,
    "youtube-vos": MASK,
    "jhmdb": JOINTS,
    "otb": BOX,
    "mot": BOX,
    "mots": MASK,
    "kitti-mots": MASK,
    "coco-video": MASK,
    "coco-keypoints": JOINTS,
    "cvat": MASK,
    "cvat-images": MASK,
    "tracks-csv": POINT,
    "tracks-npz": POINT,
}
BY_STEM = {"davis", "youtube-vos", "coco-video", "coco-keypoints", "cvat-images"}
every_format = pytest.mark.parametrize("name", FORMATS)


def write(name, root, video_id="cat"):
    info = VideoInfo(video_id, INFO.size_hw)
    write_labels(name, root, info, [(0, HELD[name])])
    if name == "youtube-vos":
        write_meta(root, seen_in_masks(root, {}))


def test_every_format_is_tested():
    assert set(HELD) == set(FORMATS)


@every_format
def test_a_written_format_is_recognised(tmp_path, name):
    write(name, tmp_path)
    write(name, tmp_path, "-dog_1")
    # Nothing in a file of KITTI says from where it counts, so this one is never taken.
    reader = open_labels(tmp_path, name if name == "kitti-mots" else "auto")
    assert reader.videos() == ("-dog_1", "cat")
    for video_id in reader.videos():
        (frame,) = reader.frames(video_id)
        assert frame == ("00000" if name in BY_STEM else 0)
        assert reader.info(video_id).video_id == video_id
        assert_same(reader.read(video_id, frame), HELD[name])


@every_format
def test_a_video_or_a_frame_that_is_not_there_is_an_error(tmp_path, name):
    write(name, tmp_path)
    reader = open_labels(tmp_path, name)
    for ask in (reader.info, reader.frames, lambda video_id: reader.read(video_id, 0)):
        with pytest.raises(UserError, match="for a video 'dog'"):
            ask("dog")
    for frame in (7, -1, "00007", "../00000"):
        with pytest.raises(UserError, match=r"frame .* of cat is not annotated"):
            reader.read("cat", frame)


@every_format
@pytest.mark.parametrize("video_id", ["..", ".", "", "a/b", "../a", "/a", ".hidden", "a\0b"])
def test_a_name_that_leaves_the_folder_is_refused(tmp_path, name, video_id):
    root = tmp_path / "labels"
    with pytest.raises(UserError, match="cannot be the name of a video"):
        write_labels(name, root, VideoInfo(video_id, INFO.size_hw), [(0, HELD[name])])
    assert list(tmp_path.rglob("*")) == []


@every_format
def test_nothing_is_left_of_a_video_that_fails_halfway(tmp_path, name):
    def frames():
        yield 0, HELD[name]
        yield 1, HELD[name]
        raise RuntimeError("the tracker fell over")

    write(name, tmp_path)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    with pytest.raises(RuntimeError, match="fell over"):
        write_labels(name, tmp_path, INFO, frames())
    after = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    assert after == before


@every_format
def test_no_frame_a_frame_twice_and_other_labels_are_refused(tmp_path, name):
    other = next(a for a in (MASK, BOX, POINT, JOINTS) if type(a) is not type(HELD[name]))
    for frames, cause in (
        ([], "no frames to write"),
        ([(0, HELD[name]), (0, HELD[name])], "frame 0 is there twice"),
        ([(0, HELD[name]), (1, other)], "does not hold a|another kind"),
    ):
        with pytest.raises(UserError, match=cause):
            write_labels(name, tmp_path, INFO, frames)
    assert list(tmp_path.rglob("*")) == []


def test_masks_come_before_joints_that_lie_beside_them(tmp_path):
    write("jhmdb", tmp_path)
    assert_same(open_labels(tmp_path).read("cat", 0), JOINTS)
    write("davis", tmp_path / "cat" / "masks")
    (tmp_path / "cat" / "masks" / "cat" / "00000.png").rename(tmp_path / "cat" / "masks" / "0.png")
    assert_same(open_labels(tmp_path).read("cat", "0"), MASK)
    assert_same(open_labels(tmp_path, "jhmdb").read("cat", 0), JOINTS)


def test_places_without_labels_are_refused_with_what_is_known(tmp_path):
    (tmp_path / "notes.txt").write_text("nothing")
    (tmp_path / "a.json").write_text(json.dumps({"videos": 3}))
    for location in (tmp_path, tmp_path / "notes.txt", tmp_path / "a.json"):
        with pytest.raises(UserError) as caught:
            open_labels(location)
        assert all(name in str(caught.value) for name in FORMATS)
    with pytest.raises(UserError, match="no such file or folder"):
        open_labels(tmp_path / "missing")
    with pytest.raises(UserError, match="'coco' is not a format of labels; known are davis"):
        open_labels(tmp_path, "coco")


@every_format
def test_another_format_than_what_is_there_is_refused(tmp_path, name):
    (tmp_path / "notes.md").write_text("nothing")
    for location in (tmp_path, tmp_path / "missing"):
        with pytest.raises(UserError):
            open_labels(location, name).videos()


def test_a_file_is_named_by_its_folder_wherever_one_stands(tmp_path, monkeypatch):
    write("otb", tmp_path)
    monkeypatch.chdir(tmp_path / "cat")
    assert open_labels(Path("groundtruth.txt")).videos() == ("cat",)


def test_a_video_is_a_file_once(tmp_path):
    write("cvat", tmp_path)
    (tmp_path / "cat.XML").write_bytes((tmp_path / "cat.xml").read_bytes())
    with pytest.raises(UserError, match="the same video as"):
        open_labels(tmp_path)


def test_a_video_is_a_folder_once(tmp_path):
    write("jhmdb", tmp_path / "walk")
    write("jhmdb", tmp_path / "run")
    with pytest.raises(UserError, match="the same video as"):
        open_labels(tmp_path)


def test_the_examples_of_the_document_are_read(tmp_path):
    text = (Path(__file__).parents[3] / "docs" / "labels.md").read_text()
    fenced = re.findall(r"^ *```(\w*)\n(.*?)^ *```$", text, re.DOTALL | re.MULTILINE)
    kinds = []
    for number, (language, content) in enumerate(fenced):
        suffix = language or "csv"
        path = tmp_path / f"{number}.{suffix}"
        path.write_text(textwrap.dedent(content))
        if suffix == "python" or '"objects"' in content:
            continue
        reader = open_labels(path)
        (video_id,) = reader.videos()
        read = [reader.read(video_id, frame) for frame in reader.frames(video_id)]
        kinds.append((suffix, type(read[0]).__name__, len(read)))
    assert kinds == [
        ("json", "MaskAnnotation", 1),
        ("xml", "BoxAnnotation", 9),
        ("xml", "MaskAnnotation", 1),
        ("json", "KeypointAnnotation", 1),
        ("csv", "PointAnnotation", 2),
    ]


def test_labels_lie_on_s3_as_well(bucket):
    for name in FORMATS:
        root = bucket / name
        write(name, root)
        reader = open_labels(root, name)
        assert reader.videos() == ("cat",)
        (frame,) = reader.frames("cat")
        assert_same(reader.read("cat", frame), HELD[name])


def test_on_s3_a_video_is_replaced_whole_or_gone(bucket, s3_proxy):
    frames = [(0, MASK), (1, MASK), (2, MASK)]
    write_labels("davis", bucket, INFO, frames)
    write_labels("davis", bucket, INFO, [(5, MASK)])
    assert open_labels(bucket).frames("cat") == ("00005",)
    s3_proxy.faults = [Fault("denied", "PUT", "00001.png", times=99)]
    with pytest.raises(StorageError, match="access denied"):
        write_labels("davis", bucket, INFO, frames)
    s3_proxy.forget()
    assert list(bucket.files()) == []
