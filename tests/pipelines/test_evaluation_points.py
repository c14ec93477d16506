import json

import numpy as np
import pytest

from model.errors import UserError
from model.metrics.points import PointTracks, point_scores
from pipelines.evaluation_points import evaluate_points

SHARES = np.random.default_rng(0).uniform(0.1, 0.9, (3, 5, 2))
OFF = np.random.default_rng(1).uniform(-0.03, 0.03, (3, 5, 2))
HIDDEN = np.zeros((3, 5), bool)
HIDDEN[0, 0] = HIDDEN[1, 3] = True
HIDDEN[2] = True  # never visible
SIZE_HW = np.array([120, 200])
HEADER = "video_id,point_id,frame,x_px,y_px,visible\n"


def save(path, **fields):
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(path, **fields)


def table(shares, visible, ids=range(3)):
    """The same points as a CSV of pixel indices; hidden ones have no row."""
    pixels = shares * SIZE_HW[::-1] - 0.5
    rows = [
        f"v,{ids[n]},{t},{pixels[n, t, 0]:.17g},{pixels[n, t, 1]:.17g},1\n"
        for n, t in zip(*np.nonzero(visible), strict=True)
    ]
    return HEADER + "".join(rows)


@pytest.fixture
def folders(tmp_path):
    truth, pred = tmp_path / "truth", tmp_path / "pred"
    save(truth / "v.npz", points=SHARES, occluded=HIDDEN, size_hw=SIZE_HW)
    save(pred / "v.npz", points=SHARES + OFF, occluded=np.zeros((3, 5), bool))
    return truth, pred


def expected(mode="first", query=(1, 0)):
    truth = PointTracks(SHARES[:2] * 256, HIDDEN[:2])
    pred = PointTracks((SHARES + OFF)[:2] * 256, np.zeros((2, 5), bool))
    return point_scores(truth, pred, np.array(query), mode)


def test_folder_scores_are_the_metric_of_the_arrays(folders):
    (video,) = evaluate_points(*folders).videos
    assert video.scores == expected()
    assert 0 < video.scores.average_jaccard < video.scores.average_position_accuracy < 1
    assert video.points == 2
    assert len(video.accuracy_by_frame) == 5


def test_queries_of_the_truth(folders):
    truth, pred = folders
    queries = np.array([[2, 9, 9], [4, 9, 9], [0, 0, 0]])
    save(truth / "v.npz", points=SHARES, occluded=HIDDEN, query_points=queries)
    for mode in ("first", "strided"):
        assert evaluate_points(truth, pred, mode).summary == expected(mode, (2, 4))


def test_points_are_paired_by_their_ids(folders):
    truth, pred = folders
    order = [2, 0, 1]
    save(
        pred / "v.npz",
        points=(SHARES + OFF)[order],
        occluded=np.zeros((3, 5), bool),
        ids=np.array(order),
    )
    assert evaluate_points(truth, pred).summary == expected()


def test_target_points_are_pixels_of_256(folders):
    truth, pred = folders
    save(truth / "v.npz", target_points=SHARES * 256, occluded=HIDDEN)
    assert evaluate_points(truth, pred).summary.jaccard == pytest.approx(expected().jaccard)


def test_nan_is_hidden(folders):
    truth, pred = folders
    points = SHARES.copy()
    points[HIDDEN] = np.nan
    save(truth / "v.npz", points=points, occluded=np.zeros((3, 5), bool))
    assert evaluate_points(truth, pred).summary == expected()


def test_csv_is_scored_as_npz_is(folders):
    truth, pred = folders
    visible = np.ones((3, 5), bool)
    visible[1, 4] = False
    save(pred / "v.npz", points=SHARES + OFF, occluded=~visible)
    from_npz = evaluate_points(truth, pred).summary
    (pred / "v.npz").unlink()
    (pred / "v.csv").write_text(table(SHARES + OFF, visible))
    from_csv = evaluate_points(truth, pred).summary
    assert from_csv.jaccard == pytest.approx(from_npz.jaccard)
    assert from_csv.occlusion_accuracy == from_npz.occlusion_accuracy
    (truth / "v.npz").unlink()
    (truth / "v.csv").write_text(table(SHARES, ~HIDDEN, ids=(0, 1, 2)) + "v,2,0,,,0\n")
    with pytest.raises(UserError, match=r"video v: pixels of frames of which size\? .--frame-size"):
        evaluate_points(truth, pred)
    both_csv = evaluate_points(truth, pred, frame_size_wh=(200, 120)).summary
    assert both_csv.jaccard == pytest.approx(from_csv.jaccard)


def test_the_place_of_a_hidden_point_counts_for_the_position_from_csv_too(folders):
    truth, pred = folders
    save(pred / "v.npz", points=SHARES, occluded=np.ones((3, 5), bool))
    from_npz = evaluate_points(truth, pred).summary
    (pred / "v.npz").unlink()
    pixels = SHARES * SIZE_HW[::-1] - 0.5
    rows = [
        f"v,{n},{t},{pixels[n, t, 0]},{pixels[n, t, 1]},0\n" for n in range(3) for t in range(5)
    ]
    (pred / "v.csv").write_text(HEADER + "".join(rows))
    from_csv = evaluate_points(truth, pred).summary
    assert from_csv == from_npz
    assert from_csv.average_position_accuracy == 1
    assert from_csv.average_jaccard == 0


def test_a_table_of_several_videos_is_scored_as_their_files_are(folders):
    truth, pred = folders
    save(truth / "w.npz", points=SHARES, occluded=HIDDEN, size_hw=SIZE_HW)
    visible = np.ones((3, 5), bool)
    save(pred / "v.npz", points=SHARES + OFF, occluded=~visible)
    save(pred / "w.npz", points=SHARES, occluded=~visible)
    table_of_both = table(SHARES + OFF, visible) + table(SHARES, visible).replace("v,", "w,")
    (pred / "all.csv").write_text(
        HEADER + table_of_both.replace(HEADER, "").replace("w,id", "v,id")
    )
    from_files = evaluate_points(truth, pred)
    from_table = evaluate_points(truth, pred / "all.csv")
    assert [video.scores for video in from_table.videos] == [v.scores for v in from_files.videos]


def test_rows_of_csv_at_the_end_may_be_left_out(folders):
    truth, pred = folders
    (pred / "v.npz").unlink()
    visible = np.ones((3, 5), bool)
    visible[:, 4] = False
    (pred / "v.csv").write_text(table(SHARES, visible))
    scores = evaluate_points(truth, pred).summary
    # eight frames count, seven of them visible; in two of these nothing was predicted
    assert scores.jaccard == pytest.approx([4 / 7] * 5)


def test_json(folders):
    evaluation = evaluate_points(*folders)
    numbers = json.loads(json.dumps(evaluation.to_json(), allow_nan=False))
    assert numbers["metric"] == "TAP-Vid, query mode first"
    assert numbers["global"] == numbers["per_sequence"]["v"]
    assert numbers["global"]["average_jaccard"] == pytest.approx(expected().average_jaccard)
    assert numbers["global"]["pts_within_16"] == expected().position_accuracy[-1]
    assert numbers["per_frame"]["v"]["position_accuracy"][0] is None


@pytest.mark.parametrize(
    ("fields", "cause"),
    [
        ({"points": SHARES}, "no occluded"),
        ({"occluded": HIDDEN}, "holds no points"),
        ({"points": SHARES[0], "occluded": HIDDEN}, r"must be floats \[N, T, 2\]"),
        ({"points": SHARES[:2], "occluded": HIDDEN[:2]}, "point 2 is not in it"),
        ({"points": SHARES[:, :4], "occluded": HIDDEN[:, :4]}, "4 frames, the truth has 5"),
        (
            {"points": SHARES, "occluded": HIDDEN, "ids": np.array([0, 1, 1])},
            "ids has a number twice",
        ),
        ({"points": SHARES, "occluded": HIDDEN, "frames": np.arange(1, 6)}, "from 0 on"),
        (
            {"points": SHARES, "occluded": HIDDEN, "size_hw": np.array([0, 9])},
            "the height must be 1 to",
        ),
        ({"points": SHARES, "occluded": HIDDEN, "size_hw": np.array([9])}, "size_hw must be"),
        ({"points": SHARES, "occluded": HIDDEN, "query_points": HIDDEN}, "query_points are"),
        ({"points": np.array([{}]), "occluded": HIDDEN}, "not a readable npz file"),
    ],
)
def test_fields_that_do_not_fit_are_named(folders, fields, cause):
    save(folders[1] / "v.npz", **fields)
    with pytest.raises(UserError, match=rf"pred(/v\.npz:|, video v:) .*{cause}"):
        evaluate_points(*folders)


@pytest.mark.parametrize(
    ("rows", "cause"),
    [
        ("", "must hold the video v"),
        ("v,0,0,1,1\n", "needs 6 values"),
        ("v,x,0,1,1,1\n", "point_id must be a whole number"),
        ("w,0,0,1,1,1\n", "must hold the video v and no other"),
        ("v,0,-1,1,1,1\n", "the frame must be 0"),
        ("v,0,99999999,1,1,1\n", "the frame must be 0"),
        ("v,0,1,1,1,1\nv,0,1,1,1,1\n", "point 0 is in the frame twice"),
    ],
)
def test_rows_that_do_not_fit_are_named(folders, rows, cause):
    truth, pred = folders
    (pred / "v.npz").unlink()
    (pred / "v.csv").write_text(HEADER + rows)
    with pytest.raises(UserError, match=rf"pred/v\.csv.*{cause}"):
        evaluate_points(truth, pred)


def test_what_does_not_fit_is_refused(folders, tmp_path):
    truth, pred = folders
    with pytest.raises(UserError, match="truth: query mode strided needs query_points for v"):
        evaluate_points(truth, pred, "strided")
    with pytest.raises(UserError, match="must be positive"):
        evaluate_points(truth, pred, frame_size_wh=(0, 9))
    with pytest.raises(UserError, match="no points for sequence 'w'"):
        evaluate_points(truth, pred, sequences=["w"])
    (pred / "v.npz").write_bytes((pred / "v.npz").read_bytes()[:-30])
    with pytest.raises(UserError, match=r"v\.npz: not a readable npz file"):
        evaluate_points(truth, pred)
    (pred / "v.csv").write_text(HEADER)
    with pytest.raises(UserError, match="the same video as"):
        evaluate_points(truth, pred)
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=r"understood are VIDEO\.npz and VIDEO\.csv"):
        evaluate_points(tmp_path / "empty", pred)
    save(truth / "v.npz", points=SHARES, occluded=np.ones((3, 5), bool))
    (pred / "v.csv").unlink()
    save(pred / "v.npz", points=SHARES, occluded=HIDDEN)
    with pytest.raises(UserError, match="no point of the truth is ever visible"):
        evaluate_points(truth, pred)
