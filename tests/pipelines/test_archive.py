import shutil
from collections import Counter

import cv2
import numpy as np
import pyarrow.parquet as pq
import pytest

from model.colorizer import ColorizerConfig
from model.confidence.scorer import ConfidenceModel, Feature
from model.errors import UserError
from model.propagation.annotations import (
    BoxAnnotation,
    KeypointAnnotation,
    MaskAnnotation,
    PointAnnotation,
)
from model.propagation.protocols import get_protocol
from pipelines.archive import ArchiveConfig, propagate_archive
from pipelines.confidence_samples import signals_of
from pipelines.evaluation_keypoints import evaluate_keypoints
from pipelines.labels.codec import VideoInfo
from pipelines.labels.davis import read_mask, write_mask
from pipelines.labels.formats import open_labels, write_labels
from pipelines.models import ModelSpec, parse_model
from pipelines.video import write_h264

LAB = ModelSpec("lab", False, None, ColorizerConfig(), 0)


def moving_square(index, side=64):
    """A red square on green that moves one cell a frame, and its mask."""
    frame = np.zeros((side, side, 3), np.uint8)
    frame[:] = (20, 120, 30)
    mask = np.zeros((side, side), np.uint8)
    left = 8 * (index + 1)
    frame[24:40, left : left + 16] = (220, 30, 30)
    mask[24:40, left : left + 16] = 3
    return frame, mask


def picture_folder(folder, frames=6):
    folder.mkdir(parents=True)
    for index in range(frames):
        frame, _ = moving_square(index)
        cv2.imwrite(str(folder / f"{index:05d}.png"), frame[..., ::-1])


@pytest.fixture
def place(tmp_path):
    picture_folder(tmp_path / "archive" / "-first")
    write_h264(
        tmp_path / "archive" / "_film.mp4", (moving_square(i)[0] for i in range(6)), 12, crf=5
    )
    for name in ("-first", "_film"):
        write_mask(tmp_path / "labels" / name / "00000.png", moving_square(0)[1])
    return tmp_path


def test_masks_follow_the_square_in_pictures_and_in_a_film(place, ray_session):
    config = ArchiveConfig(LAB, get_protocol("crw"), overlays=True)
    summary = propagate_archive(
        place / "archive", place / "labels", place / "out", config, workers=2
    )
    assert (summary.videos, summary.videos_failed, summary.frames_made) == (2, 0, 12)
    for name in ("-first", "_film"):
        for index in range(6):
            mask = read_mask(place / "out" / "masks" / name / f"{index:05d}.png")
            truth = moving_square(index)[1]
            overlap = ((mask == 3) & (truth == 3)).sum() / ((mask == 3) | (truth == 3)).sum()
            assert overlap > 0.6
            assert set(np.unique(mask)) <= {0, 3}
        assert (place / "out" / "overlays" / f"{name}.mp4").is_file()


def test_what_cannot_be_labelled_is_an_error_row_and_the_rest_goes_on(place, in_this_process):
    (place / "archive" / "broken.mp4").write_bytes(b"nothing")
    write_mask(place / "labels" / "broken" / "00000.png", moving_square(0)[1])
    write_mask(place / "labels" / "gone" / "00000.png", moving_square(0)[1])
    picture_folder(place / "archive" / "unlabelled")
    picture_folder(place / "archive" / "late")
    write_mask(place / "labels" / "late" / "00002.png", moving_square(2)[1])
    picture_folder(place / "archive" / "empty")
    write_mask(place / "labels" / "empty" / "00000.png", np.zeros((64, 64), np.uint8))
    picture_folder(place / "archive" / "torn")
    (place / "archive" / "torn" / "00003.png").write_bytes(b"\x89PNG torn")
    write_mask(place / "labels" / "torn" / "00000.png", moving_square(0)[1])
    shutil.copy(place / "archive" / "_film.mp4", place / "archive" / "beyond.mp4")
    write_mask(place / "labels" / "beyond" / "00000.png", moving_square(0)[1])
    write_mask(place / "labels" / "beyond" / "00009.png", moving_square(0)[1])
    picture_folder(place / "archive" / "small")
    write_mask(place / "labels" / "small" / "00000.png", np.ones((32, 64), np.uint8))
    summary, rows = propagated(place, anchors="all", overlays=False)
    assert {row["video_id"]: row["kind"] for row in rows} == {
        "broken": "unreadable",
        "beyond": "no_frame",
        "empty": "unusable",
        "gone": "no_video",
        "late": "no_first_mask",
        "small": "unusable",
        "torn": "unreadable",
        "unlabelled": "no_labels",
    }
    by_id = {row["video_id"]: row["message"] for row in rows}
    assert "64x32 px" in by_id["small"]
    assert by_id["beyond"] == "frame 9 is annotated, it has 6 frames"
    assert (summary.videos, summary.videos_made, summary.videos_failed) == (10, 2, 8)
    assert summary.errors == Counter(row["kind"] for row in rows)
    for folder in ("masks", "predictions"):
        assert {p.stem for p in (place / "out" / folder).iterdir()} == {"-first", "_film"}
    assert not [p for p in (place / "out").iterdir() if p.name.startswith(".")]

    # What failed stays on record and is not tried again, until somebody asks for it.
    shutil.rmtree(place / "archive" / "torn")
    picture_folder(place / "archive" / "torn")
    summary, again = propagated(place, anchors="all", overlays=False)
    assert (summary.videos_made, again) == (0, rows)
    summary, again = propagated(place, anchors="all", overlays=False, retry_errors=True)
    assert summary.videos_made == 1
    assert again == [row for row in rows if row["video_id"] != "torn"]


def test_a_run_that_ended_before_its_summary_is_counted_by_the_next(
    place, in_this_process, monkeypatch
):
    shutil.move(place / "archive" / "_film.mp4", place / "later.mp4")
    first, _ = propagated(place, overlays=False, confidence=False)
    (place / "out" / "report").mkdir()
    (place / "out" / "report" / "index.html").touch()
    shutil.move(place / "later.mp4", place / "archive" / "_film.mp4")
    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr("pipelines.archive_summary.prediction_totals", lambda _: killed())
        propagated(place, overlays=False, confidence=False)
    # Nobody takes the page of the first run for one of both videos.
    assert not (place / "out" / "report" / "index.html").exists()
    summary, _ = propagated(place, overlays=False, confidence=False)
    assert (summary.videos_made, summary.predictions) == (0, 2 * first.predictions)


def killed():
    raise KeyboardInterrupt


def test_a_folder_with_other_things_in_it_is_refused(place):
    (place / "out").mkdir()
    (place / "out" / "thesis.tex").touch()
    config = ArchiveConfig(LAB, get_protocol("crw"), overlays=False)
    with pytest.raises(UserError, match="holds no propagation"):
        propagate_archive(place / "archive", place / "labels", place / "out", config, workers=1)


def propagated(place, **settings):
    """Summary and error rows of a run over everything in the place."""
    calls = {key: settings.pop(key) for key in ("retry_errors", "corrections") if key in settings}
    # With a window on the first frame too: what jumps farther is lost.
    protocol = get_protocol("crw", ["window_on_anchor=true"])
    config = ArchiveConfig(settings.pop("model", LAB), protocol, **settings)
    folders = (place / name for name in ("archive", "labels", "out"))
    summary = propagate_archive(*folders, config, workers=1, **calls)
    return summary, pq.read_table(place / "out" / "errors.parquet").to_pylist()


def place_of(index):
    """The middle of the square of `moving_square`, (x, y) in px."""
    return np.array([8 * (index + 1) + 7.5, 31.5])


def labelled(place, annotation, format_name, frames=(0,)):
    video = VideoInfo("square", size_hw=(64, 64), frame_count=6)
    shown = [(frame, annotation(frame)) for frame in frames]
    write_labels(format_name, place / "labels", video, shown)


def carried(place, model=LAB, **settings):
    """The labels of every frame of a folder of pictures, as the output's own format reads them."""
    picture_folder(place / "archive" / "square")
    settings = {"overlays": True} | settings
    config = ArchiveConfig(model, get_protocol("crw"), **settings)
    summary = propagate_archive(
        place / "archive", place / "labels", place / "out", config, workers=1
    )
    rows = pq.read_table(place / "out" / "errors.parquet").to_pylist()
    assert ([row["message"] for row in rows], summary.videos_made) == ([], 1)
    assert (place / "out" / "overlays" / "square.mp4").is_file()
    folder = "masks" if (place / "out" / "masks").is_dir() else "labels"
    reader = open_labels(place / "out" / folder)
    return [reader.read("square", frame) for frame in reader.frames("square")]


@pytest.mark.parametrize("model", ["lab", "flow"])
def test_points_joints_and_boxes_follow_the_square(tmp_path, in_this_process, model):
    spec = ModelSpec(model, False, None, ColorizerConfig(), 0)
    labelled(tmp_path / "p", lambda i: PointAnnotation((4,), place_of(i)[None]), "tracks-npz")
    points = carried(tmp_path / "p", spec)
    assert [p.ids for p in points] == [(4,)] * 6
    errors_px = [np.linalg.norm(p.xy_px_N2[0] - place_of(i)) for i, p in enumerate(points)]
    assert max(errors_px) < 8  # a cell

    joints = np.stack([np.array([dx, dy]) for dx in (-4, 0, 4) for dy in (-4, -2, 0, 2, 4)])
    labelled(
        tmp_path / "k",
        lambda i: KeypointAnnotation((1,), (place_of(i) + joints)[None]),
        "jhmdb",
        range(6),
    )
    found = carried(tmp_path / "k", spec)
    assert (tmp_path / "k" / "out" / "labels" / "square" / "joint_positions.mat").is_file()
    errors_px = [
        np.linalg.norm(k.xy_px_NK2[0] - place_of(i) - joints, axis=1).mean()
        for i, k in enumerate(found)
    ]
    assert len(found) == 6 and max(errors_px) < 8

    labelled(tmp_path / "b", lambda i: BoxAnnotation((1,), np.array([[8.0, 24, 16, 16]])), "otb")
    boxes = carried(tmp_path / "b", spec)
    for index, box in enumerate(boxes):
        np.testing.assert_allclose(box.xywh_px_N4[0], [8 * (index + 1), 24, 16, 16], atol=6)


def test_a_label_in_the_middle_goes_both_ways(tmp_path, in_this_process):
    labelled(tmp_path, lambda i: MaskAnnotation(moving_square(i)[1]), "davis", (3,))
    masks = carried(tmp_path, direction="both", out_format="coco-video")
    assert (tmp_path / "out" / "labels" / "square.json").is_file()
    for index, found in enumerate(masks):
        truth = moving_square(index)[1] > 0
        seen = found.ids_HW > 0
        assert (seen & truth).sum() / (seen | truth).sum() > 0.6


def test_every_annotated_frame_corrects_what_was_carried(tmp_path, in_this_process):
    """The second annotation names an object that the first does not, and is kept as it was given."""

    def annotation(index):
        ids = moving_square(index)[1].copy()
        if index == 3:
            ids[:8] = 9
        return MaskAnnotation(ids)

    labelled(tmp_path, annotation, "davis", (0, 3))
    masks = [found.ids_HW for found in carried(tmp_path, anchors="all")]
    np.testing.assert_array_equal(masks[3], annotation(3).ids_HW)
    assert [9 in mask for mask in masks[:4]] == [False, False, False, True]
    assert all((mask == 3).any() for mask in masks)


def test_what_goes_forwards_only_is_refused_before_anything_starts():
    flow = ModelSpec("flow", False, None, ColorizerConfig(), 0)
    with pytest.raises(UserError, match="forwards only"):
        ArchiveConfig(flow, get_protocol("crw"), overlays=False, direction="both")
    with pytest.raises(UserError, match="'nope' is not a format"):
        ArchiveConfig(LAB, get_protocol("crw"), overlays=False, out_format="nope")


@pytest.mark.parametrize("name", ["identity+lab", "lab+lab", "no/such/run", "runs+lab"])
def test_models_that_make_no_sense_are_refused(name):
    with pytest.raises(UserError, match="--model"):
        parse_model(name, untrained_width=4, seed=0)


def test_an_output_of_joints_is_scored_as_it_is(tmp_path, in_this_process):
    joints = np.array([[dx, dy] for dx in (-4, 0, 4) for dy in (-4, -2, 0, 2, 4)])
    labelled(
        tmp_path,
        lambda i: KeypointAnnotation((1,), (place_of(i) + joints)[None]),
        "jhmdb",
        range(6),
    )
    carried(tmp_path, ModelSpec("flow", False, None, ColorizerConfig(), 0))
    evaluation = evaluate_keypoints(tmp_path / "labels", tmp_path / "out")
    assert [video.name for video in evaluation.videos] == ["square"]
    assert 0 < evaluation.scores("strict").mean[-1] <= 1


def test_predictions_are_carried_back_where_that_is_wanted_or_needed(tmp_path, in_this_process):
    picture_folder(tmp_path / "archive" / "square")
    write_mask(tmp_path / "labels" / "square" / "00000.png", moving_square(0)[1])
    needs = ConfidenceModel((Feature("return_overlap", "identity", 0.5, 0.1, 1.0),), 0.0)
    for number, (wanted, model, gone) in enumerate(
        [(False, None, False), (True, None, True), (False, needs, True)]
    ):
        place = tmp_path / str(number)
        place.mkdir()
        for name in ("archive", "labels"):
            (place / name).symlink_to(tmp_path / name)
        propagated(place, overlays=False, return_check=wanted, confidence_model=model)
        rows = pq.read_table(place / "out" / "predictions" / "square.parquet").to_pylist()
        back = np.array([row["signals"]["return_overlap"] for row in rows])
        assert np.isnan(back[0])
        assert (np.isfinite(back[1:]) & (back[1:] > 0.3)).all() if gone else np.isnan(back).all()
        if model is not None:
            scores = [needs.probability(signals_of(row["signals"])) for row in rows[1:]]
            assert [row["confidence"] for row in rows[1:]] == pytest.approx(scores)
    with pytest.raises(UserError, match="--return-check and --no-confidence"):
        propagated(tmp_path, return_check=True, confidence=False, overlays=False)
    with pytest.raises(UserError, match=r"another return_check \(False -> True\)"):
        propagated(tmp_path / "0", overlays=False, return_check=True)
