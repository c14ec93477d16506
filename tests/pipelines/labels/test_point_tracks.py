import io
import math
import zipfile

import numpy as np
import pytest
from hypothesis import given

from model.errors import UserError
from model.propagation.annotations import PointAnnotation
from pipelines.labels.codec import VideoInfo
from pipelines.labels.formats import open_labels, write_labels
from tests.labels import assert_round_trip, few, points, videos

HEADER = "video_id,point_id,frame,x_px,y_px,visible\n"


@few
@given(videos(points((0, 4, 2**31 - 1))))
def test_csv_round_trip(tmp_path_factory, frames):
    assert_round_trip(tmp_path_factory.mktemp("labels"), "tracks-csv", VideoInfo("cat"), frames)


@few
@given(videos(points((0, 4, 2**31 - 1))))
def test_npz_round_trip(tmp_path_factory, frames):
    info = VideoInfo("cat", (48, 61))
    assert_round_trip(tmp_path_factory.mktemp("labels"), "tracks-npz", info, frames)


def csv_file(tmp_path, *lines, header=HEADER):
    path = tmp_path / "tracks.csv"
    path.write_text(header + "".join(f"{line}\n" for line in lines))
    return path


def test_a_table_of_two_videos_is_read(tmp_path):
    reader = open_labels(
        csv_file(
            tmp_path,
            "dog,3,0,1.5,2,1",
            "cat,1,8,-4,7,True",
            "dog,2,0,,,0",
            "dog,3,4,9,9,0",
            '"a, b",1,0,0,0,1',
        )
    )
    assert reader.videos() == ("a, b", "cat", "dog")
    assert reader.frames("dog") == (0, 4)
    first = reader.read("dog", 0)
    assert first.ids == (2, 3)
    assert np.isnan(first.xy_px_N2[0]).all() and first.xy_px_N2[1].tolist() == [1.5, 2]
    hidden = reader.read("dog", 4)
    assert hidden.xy_px_N2.tolist() == [[9, 9]] and hidden.occluded.tolist() == [True]
    assert np.isnan(hidden.seen_px).all()
    assert reader.read("cat", 8).xy_px_N2.tolist() == [[-4, 7]]


def test_what_is_written_as_csv(tmp_path):
    places = np.array([[0.5, 1], [math.nan, math.nan], [7, 8]])
    points = PointAnnotation((5, 2, 9), places, np.array([False, False, True]))
    write_labels("tracks-csv", tmp_path, VideoInfo("cat"), [(3, points)])
    text = (tmp_path / "cat.csv").read_text()
    assert text == f"{HEADER}cat,2,3,,,0\ncat,5,3,0.5,1.0,1\ncat,9,3,7.0,8.0,0\n"


@pytest.mark.parametrize(
    ("line", "cause"),
    [
        ("cat,1,0,nan,2,1", "x_px must be a finite number"),
        ("cat,1,0,1,inf,1", "y_px must be a finite number"),
        ("cat,1,0,,2,1", "x_px must be a finite number"),
        ("cat,1,0,,2,0", "x_px must be a finite number"),
        ("cat,1,0,1,2,yes", "visible must be 0 or 1"),
        ("cat,1,0,1,2", "needs 6 values"),
        ("cat,1,0,1,2,1,9", "needs 6 values"),
        ("cat,x,0,1,2,1", "point_id must be a whole number"),
        ("cat,-1,0,1,2,1", "point_id must be 0 to"),
        ("cat,1,-1,1,2,1", "the frame must be 0 to"),
        ("cat,1,999999999,1,2,1", "the frame must be 0 to"),
        ("../cat,1,0,1,2,1", "cannot be the name of a video"),
        ("..,1,0,1,2,1", "cannot be the name of a video"),
        (",1,0,1,2,1", "cannot be the name of a video"),
        ("cat,7,0,1,2,1", "point 7 is in the frame twice"),
    ],
)
def test_rows_that_lie_are_refused(tmp_path, line, cause):
    path = csv_file(tmp_path, "cat,7,0,1,2,1", line)
    with pytest.raises(UserError, match=rf"tracks\.csv, line 3: .*{cause}"):
        open_labels(path)


def test_other_tables_are_refused(tmp_path):
    with pytest.raises(UserError, match=r"tracks\.csv: the columns must be video_id,"):
        open_labels(csv_file(tmp_path, "1,2", header="x,y\n"))
    (tmp_path / "tracks.csv").write_bytes(b"\xff\xfe\0")
    with pytest.raises(UserError, match=r"tracks\.csv: not a readable table"):
        open_labels(tmp_path / "tracks.csv")


def npz(tmp_path, **changes):
    arrays = {
        "points": np.array([[[0.25, 0.5], [0, 0]], [[0, 0], [1, 1]]], np.float32),
        "occluded": np.array([[False, True], [False, False]]),
        "size_hw": np.array([10, 40]),
    } | changes
    path = tmp_path / "cat.npz"
    np.savez(path, **{name: value for name, value in arrays.items() if value is not None})
    return path


def test_shares_of_a_frame_run_from_its_outer_edges(tmp_path):
    reader = open_labels(npz(tmp_path))
    assert reader.frames("cat") == (0, 1)
    assert reader.info("cat").size_hw == (10, 40)
    first, second = reader.read("cat", 0), reader.read("cat", 1)
    assert first.ids == second.ids == (0, 1)
    assert first.xy_px_N2.tolist() == [[9.5, 4.5], [-0.5, -0.5]]
    assert second.occluded.tolist() == [True, False]
    assert second.xy_px_N2.tolist() == [[-0.5, -0.5], [39.5, 9.5]]


def test_nan_is_hidden_at_no_known_place(tmp_path):
    points = np.array([[[0.25, 0.5], [np.nan, np.nan]], [[0, 0], [1, 1]]])
    second = open_labels(npz(tmp_path, points=points)).read("cat", 1)
    assert second.occluded.tolist() == [True, False]
    assert np.isnan(second.xy_px_N2[0]).all()


def test_points_and_queries_of_tap_vid(tmp_path):
    """Pixels of 256x256, and the frame in which each point is asked for."""
    target = np.array([[[64, 128], [0, 0]], [[0, 0], [256, 256]]])
    queries = np.array([[1, 128, 64], [0, 9.5, 9.5]])
    path = npz(
        tmp_path, points=None, target_points=target, query_points=queries, ids=np.arange(5, 7)
    )
    reader = open_labels(path)
    assert reader.info("cat").query_frames == {5: 1, 6: 0}
    assert reader.read("cat", 0).xy_px_N2.tolist() == [[9.5, 4.5], [-0.5, -0.5]]


def test_ids_and_frames_of_an_npz(tmp_path):
    reader = open_labels(npz(tmp_path, ids=np.array([7, 3]), frames=np.array([4, 9])))
    assert reader.frames("cat") == (4, 9)
    assert reader.read("cat", 9).ids == (7, 3)


@pytest.mark.parametrize(
    ("changes", "cause"),
    [
        ({"points": None, "occluded": None}, "holds no points and no occluded"),
        ({"size_hw": None}, "holds no size_hw"),
        ({"query_points": np.zeros((2, 2))}, "query_points are"),
        ({"query_points": np.full((2, 3), np.nan)}, "the frame must be a whole number"),
        ({"query_points": np.full((2, 3), -1)}, "the frame must be 0 to"),
        ({"points": np.zeros((2, 2, 3))}, r"points must be floats \[N, T, 2\]"),
        ({"points": np.zeros((2, 2, 2), int)}, "points must be floats"),
        ({"points": np.full((2, 2, 2), np.inf)}, "no finite place"),
        ({"points": np.full((2, 2, 2), [np.nan, 1])}, "no finite place"),
        ({"occluded": np.zeros((2, 3), bool)}, "occluded must be bool"),
        ({"occluded": np.zeros((2, 2))}, "occluded must be bool"),
        ({"size_hw": np.array([0, 4])}, "the height must be 1 to"),
        ({"size_hw": np.array([1 << 20, 1 << 20])}, "more than a frame can have"),
        ({"size_hw": np.array([1, 2, 3])}, "size_hw must be"),
        ({"ids": np.array([1, 1])}, "ids has a number twice"),
        ({"ids": np.array([1, 2**40])}, "ids must be 0 to"),
        ({"ids": np.array([1.0, 2.0])}, "ids must be 2 whole numbers"),
        ({"frames": np.array([3, 1])}, "frames must go up"),
        ({"frames": np.array([-3, 1])}, "frames must be 0 to"),
        ({"points": np.array([{}], dtype=object)}, "not a readable npz file .*allow_pickle"),
    ],
)
def test_arrays_that_lie_are_refused(tmp_path, changes, cause):
    with pytest.raises(UserError, match=rf"cat\.npz[:,] .*{cause}"):
        open_labels(npz(tmp_path, **changes)).frames("cat")


def test_files_that_are_no_npz_are_refused(tmp_path):
    path = tmp_path / "cat.npz"
    huge = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        huge, {"descr": "<f8", "fortran_order": False, "shape": (1 << 40, 1 << 20, 2)}
    )
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("points.npy", huge.getvalue())
    whole = npz(tmp_path).read_bytes()
    for content in (b"", b"PK\3\4", whole[:-30], whole[:90], archive.getvalue()):
        path.write_bytes(content)
        with pytest.raises(UserError, match=r"cat\.npz: not a readable npz file"):
            open_labels(path).frames("cat")


def test_what_npz_does_not_hold_is_refused(tmp_path):
    one, other = PointAnnotation((1,), np.ones((1, 2))), PointAnnotation((2,), np.ones((1, 2)))
    with pytest.raises(UserError, match="need its size"):
        write_labels("tracks-npz", tmp_path, VideoInfo("a"), [(0, one)])
    with pytest.raises(UserError, match="the same points"):
        write_labels("tracks-npz", tmp_path, VideoInfo("a", (4, 4)), [(0, one), (1, other)])
    infinite = PointAnnotation((1,), np.full((1, 2), np.inf))
    with pytest.raises(UserError, match="two finite numbers"):
        write_labels("tracks-npz", tmp_path, VideoInfo("a", (4, 4)), [(0, infinite)])
    half = PointAnnotation((1,), np.ones((1, 2)), np.zeros(2, bool))
    with pytest.raises(UserError, match=r"1 ids, hidden is \(2,\)"):
        write_labels("tracks-npz", tmp_path, VideoInfo("a", (4, 4)), [(0, half)])
    assert list(tmp_path.iterdir()) == []
