import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.errors import UserError
from model.propagation.annotations import BoxAnnotation
from pipelines.labels.codec import VideoInfo
from pipelines.labels.formats import open_labels, write_labels
from tests.labels import assert_round_trip, boxes, few, videos

NAN = float("nan")
WITHOUT_GAPS = st.integers(1, 4).map(range)


def boxed(**rows):
    """Boxes by `o1=(x, y, width, height)`."""
    ids = tuple(int(name[1:]) for name in rows)
    return BoxAnnotation(ids, np.array(list(rows.values()), float).reshape(-1, 4))


@few
@given(videos(boxes(st.integers(0, 2**31 - 1)).filter(lambda found: found.ids)))
def test_mot_round_trip(tmp_path_factory, frames):
    assert_round_trip(tmp_path_factory.mktemp("labels"), "mot", VideoInfo("cat"), frames)


@few
@given(videos(boxes(st.just(1), max_size=1), WITHOUT_GAPS))
def test_otb_round_trip(tmp_path_factory, frames):
    assert_round_trip(tmp_path_factory.mktemp("labels"), "otb", VideoInfo("cat"), frames)


def mot(root, *lines):
    path = root / "MOT17-02" / "gt" / "gt.txt"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines))
    return path


GROUND_TRUTH = (
    "1,2,1,1,10,20,1,1,0.8",
    "1,3,100.5,7,8,9,1,1,1",
    "1,4,5,5,5,5,0,8,1",  # does not count
    "4,2,3,2,10,20,1,1,0.5",
)


def test_mot_counts_from_1(tmp_path):
    path = mot(tmp_path, *GROUND_TRUTH)
    for location in (tmp_path, path):
        reader = open_labels(location)
        assert reader.videos() == ("MOT17-02",)
        assert reader.frames("MOT17-02") == (0, 3)
        first = reader.read("MOT17-02", 0)
        assert first.ids == (2, 3)
        assert first.xywh_px_N4.tolist() == [[0, 0, 10, 20], [99.5, 6, 8, 9]]


def test_detections_are_objects_of_their_own(tmp_path):
    path = tmp_path / "MOT17-02" / "det" / "det.txt"
    path.parent.mkdir(parents=True)
    path.write_text(
        "1,-1,1,1,4,4,0,-1,-1,-1\n1,-1,3,3,4,4,0.9,-1,-1,-1\n2,-1,1,1,4,4,0.9,-1,-1,-1\n"
    )
    reader = open_labels(tmp_path)
    assert [reader.read("MOT17-02", frame).ids for frame in (0, 1)] == [(1, 2), (3,)]
    mot(tmp_path, *GROUND_TRUTH)
    assert open_labels(tmp_path).read("MOT17-02", 0).ids == (2, 3)


def test_mot_says_size_and_length_in_seqinfo(tmp_path):
    path = mot(tmp_path, *GROUND_TRUTH)
    info = path.parent.parent / "seqinfo.ini"
    info.write_text("[Sequence]\nname=x\nimWidth=640\nimHeight=480\nseqLength=5\n")
    assert open_labels(tmp_path).info("MOT17-02") == VideoInfo("MOT17-02", (480, 640), 5)
    info.write_text("[Sequence]\nimWidth=640\nimHeight=480\nseqLength=3\n")
    with pytest.raises(UserError, match="frame 4 of a video of 3 frames"):
        open_labels(tmp_path).info("MOT17-02")
    info.write_text("imWidth=640\n")
    with pytest.raises(UserError, match=r"seqinfo\.ini: not a readable description"):
        open_labels(tmp_path).info("MOT17-02")


def test_what_is_written_as_mot(tmp_path):
    frames = [(4, boxed(o7=(0, 0.5, 10, 20))), (0, boxed(o9=(1, 1, 1, 1), o2=(2, 2, 2, 2)))]
    write_labels("mot", tmp_path, VideoInfo("cat"), frames)
    assert (tmp_path / "cat.txt").read_text() == (
        "1,2,3.0,3.0,2.0,2.0,1,-1,-1,-1\n"
        "1,9,2.0,2.0,1.0,1.0,1,-1,-1,-1\n"
        "5,7,1.0,1.5,10.0,20.0,1,-1,-1,-1\n"
    )


@pytest.mark.parametrize(
    ("line", "cause"),
    [
        ("0,2,1,1,10,20,1,1,1", "the frame must be 1 to"),
        ("99999999999,2,1,1,10,20,1,1,1", "the frame must be 1 to"),
        ("1.5,2,1,1,10,20,1,1,1", "the frame must be a whole number"),
        ("1,-1,1,1,10,20,0.9,-1,-1,-1", "detections .* and objects in one file"),
        ("1,-2,1,1,10,20,1,1,1", "the id must be 0 to"),
        ("1,2147483648,1,1,10,20,1,1,1", "the id must be 0 to 2147483647"),
        ("1,2,nan,1,10,20,1,1,1", "x must be a finite number"),
        ("1,2,1,1,inf,20,1,1,1", "the width must be a finite number"),
        ("1,2,1,1,-10,20,1,1,1", "-10 x 20 px has no extent"),
        ("1,2,1,1,10,0,1,1,1", "10 x 0 px has no extent"),
        ("1,2,1,x,10,20,1,1,1", "y must be a finite number"),
        ("1,2,1,1,10", "needs frame,id,left"),
        ("1,3,1,1,10,20,1,1,1", "object 3 is in frame 1 twice"),
    ],
)
def test_lines_of_mot_that_lie_are_refused(tmp_path, line, cause):
    mot(tmp_path, *GROUND_TRUTH, line)
    with pytest.raises(UserError, match=rf"gt\.txt, line 5: .*{cause}"):
        open_labels(tmp_path, "mot").frames("MOT17-02")


@pytest.mark.parametrize(
    "line", ["11,21,30.5,40", "11\t21\t30.5\t40", "11 21  30.5 40\r", "11;21; 30.5;40"]
)
def test_otb_takes_any_separator_and_counts_from_1(tmp_path, line):
    path = tmp_path / "Crossing" / "groundtruth_rect.txt"
    path.parent.mkdir()
    path.write_text(f"\ufeff{line}\nNaN,NaN,NaN,NaN\n7,8,0,0\n{line}\n\n")
    for location in (tmp_path, path):
        reader = open_labels(location)
        assert reader.frames("Crossing") == (0, 1, 2, 3)
        assert reader.info("Crossing").frame_count == 4
        assert reader.read("Crossing", 0).ids == (1,)
        assert reader.read("Crossing", 3).xywh_px_N4.tolist() == [[10, 20, 30.5, 40]]
        assert reader.read("Crossing", 1).ids == reader.read("Crossing", 2).ids == ()


@pytest.mark.parametrize(
    ("line", "cause"),
    [
        ("1,2,3", "needs x, y, width, height"),
        ("1,2,3,4,5,6,7,8", "needs x, y, width, height"),
        ("NaN,2,3,4", "x must be a finite number"),
        ("1,2,-3,4", "no extent"),
        ("a,b,c,d", "x must be a finite number"),
        ("\n1,2,3,4", "needs x, y, width, height"),  # or the frames behind it would move
    ],
)
def test_lines_of_otb_that_lie_are_refused(tmp_path, line, cause):
    path = tmp_path / "groundtruth.txt"
    path.write_text(f"1,2,3,4\n{line}\n")
    with pytest.raises(UserError, match=rf"groundtruth\.txt, line 2: .*{cause}"):
        open_labels(path, "otb").frames(tmp_path.name)


def test_otb_files_may_be_named_after_their_video(tmp_path):
    (tmp_path / "a.txt").write_text("1,2,3,4\n")
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "groundtruth.txt").write_text("1,2,3,4\n")
    assert open_labels(tmp_path, "otb").videos() == ("a", "b")
    (tmp_path / "b.txt").write_text("1,2,3,4\n")
    with pytest.raises(UserError, match=r"b\.txt: the same video as .*groundtruth"):
        open_labels(tmp_path, "otb")


def test_an_empty_otb_file_is_a_video_of_no_length(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "groundtruth.txt").write_text("\n")
    assert open_labels(tmp_path).frames("a") == ()


def test_what_otb_does_not_hold_is_refused(tmp_path):
    one, other = boxed(o1=(1, 1, 2, 2)), boxed(o2=(1, 1, 2, 2))
    with pytest.raises(UserError, match="one object, not 2"):
        write_labels("otb", tmp_path, VideoInfo("a"), [(0, one), (1, other)])
    with pytest.raises(UserError, match="every frame from 0 on, and 1 is not there"):
        write_labels("otb", tmp_path, VideoInfo("a"), [(0, one), (2, one)])
    assert not any(tmp_path.rglob("*.txt"))


def test_otb_names_no_ids(tmp_path):
    told = r"groundtruth\.txt: OTB names no ids, its object is 1, not 7 \(mot keeps ids\)"
    with pytest.raises(UserError, match=told):
        write_labels("otb", tmp_path, VideoInfo("a"), [(0, boxed()), (1, boxed(o7=(1, 1, 2, 2)))])


@pytest.mark.parametrize("format", ["otb", "mot", "cvat"])
def test_a_box_that_is_nan_is_not_there(tmp_path, format):
    here = boxed(o1=(1, 1, 2, 2))
    frames = [(0, here), (1, boxed(o1=(NAN, NAN, NAN, NAN))), (2, here)]
    write_labels(format, tmp_path, VideoInfo("a", (8, 8), 3), frames)
    reader = open_labels(tmp_path, format)
    found = {int(frame): reader.read("a", frame).ids for frame in reader.frames("a")}
    assert found == {0: (1,), 2: (1,)} | ({1: ()} if format == "otb" else {})


def test_boxes_without_extent_and_stems_are_not_written(tmp_path):
    for frames, cause in (
        ([(0, boxed(o1=(1, 1, -2, 2)))], "no extent"),
        ([(0, boxed(o1=(1, float("nan"), 2, 2)))], "y must be a finite number"),
        ([(0, BoxAnnotation((1, 1), np.ones((2, 4))))], "object 1 is there twice"),
        ([(0, BoxAnnotation((1,), np.ones((2, 4))))], "1 ids and an array"),
        ([("00000", boxed(o1=(1, 1, 2, 2)))], "indices from 0 on, not '00000'"),
        ([(-1, boxed(o1=(1, 1, 2, 2)))], "indices from 0 on, not -1"),
    ):
        with pytest.raises(UserError, match=cause):
            write_labels("mot", tmp_path, VideoInfo("a"), frames)
    assert list(tmp_path.iterdir()) == []


def test_the_shared_boxes(shared_data):
    reader = open_labels(shared_data / "boxes")
    assert reader.videos() == ("otb_Crossing",)
    assert reader.frames("otb_Crossing") == tuple(range(120))
    path = shared_data / "boxes" / "otb_Crossing" / "groundtruth.txt"
    expected = np.loadtxt(path) - [1, 1, 0, 0]
    found = [reader.read("otb_Crossing", frame).xywh_px_N4[0] for frame in range(120)]
    assert np.array_equal(found, expected)
