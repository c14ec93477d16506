import json
import math

import numpy as np
import pytest

from model.errors import UserError
from model.metrics.davis import evaluate_sequence, summarise
from pipelines.evaluation import evaluate_masks
from pipelines.labels.davis import read_mask, write_mask
from pipelines.labels.layout import mask_files

SIZE = (40, 60)


def moving_boxes(frames, objects, step_px):
    """Index masks [T, 40, 60] with boxes side by side that move to the right."""
    masks = np.zeros((frames, *SIZE), np.uint8)
    for t in range(frames):
        for index in range(1, objects + 1):
            left = 15 * (index - 1) + step_px * t
            masks[t, 5:25, left : left + 12] = index
    return masks


def save(folder, masks, stems=None):
    for t, mask in enumerate(masks):
        write_mask(folder / f"{stems[t] if stems else f'{t:05d}'}.png", mask)


@pytest.fixture
def folders(tmp_path):
    """Two sequences, two objects and one, in two layouts; the prediction lags behind."""
    truth, pred = tmp_path / "truth", tmp_path / "pred"
    save(truth / "Annotations" / "480p" / "b_1", moving_boxes(6, 2, 3))
    save(truth / "Annotations" / "480p" / "-a", moving_boxes(4, 1, 2), ["000", "005", "010", "015"])
    save(pred / "masks" / "b_1", moving_boxes(6, 2, 2))
    save(pred / "masks" / "-a", moving_boxes(4, 1, 1), ["000", "005", "010", "015"])
    return truth, pred


def test_folder_scores_are_the_metric_of_the_arrays(folders):
    evaluation = evaluate_masks(*folders, workers=1)
    expected = {
        "-a": evaluate_sequence(moving_boxes(4, 1, 2), moving_boxes(4, 1, 1)),
        "b_1": evaluate_sequence(moving_boxes(6, 2, 3), moving_boxes(6, 2, 2)),
    }
    assert {s.name: s.objects for s in evaluation.sequences} == expected
    assert [s.frames for s in evaluation.sequences] == [
        ("005", "010"),
        ("00001", "00002", "00003", "00004"),
    ]
    assert evaluation.summary == summarise(
        scores for objects in expected.values() for scores in objects.values()
    )


def test_json_has_the_official_names_and_can_be_written(folders):
    evaluation = evaluate_masks(*folders, workers=1)
    numbers = json.loads(json.dumps(evaluation.to_json(), allow_nan=False))
    assert list(numbers) == ["metric", "global", "per_object", "per_frame"]
    assert list(numbers["global"]) == [
        "J&F-Mean",
        "J-Mean",
        "J-Recall",
        "J-Decay",
        "F-Mean",
        "F-Recall",
        "F-Decay",
    ]
    assert list(numbers["per_object"]) == ["-a_1", "b_1_1", "b_1_2"]
    assert set(numbers["per_object"]["-a_1"]) == {"J-Mean", "F-Mean"}
    assert list(numbers["per_frame"]) == ["-a", "b_1"]
    assert list(numbers["per_frame"]["b_1"]) == ["1", "2"]

    frames = numbers["per_frame"]["-a"]["1"]
    assert frames["frames"] == ["005", "010"]
    # the box of 12 columns lags 1 and 2 columns behind
    assert frames["J"] == pytest.approx([11 / 13, 10 / 14])
    assert frames["F"] == [1, pytest.approx(frames["F"][1])]
    assert numbers["per_object"]["-a_1"]["J-Mean"] == pytest.approx(np.mean(frames["J"]))
    means = [scores["J-Mean"] for scores in numbers["per_object"].values()]
    assert numbers["global"]["J-Mean"] == pytest.approx(np.mean(means))
    assert numbers["global"]["J&F-Mean"] == pytest.approx(
        (numbers["global"]["J-Mean"] + numbers["global"]["F-Mean"]) / 2
    )


@pytest.fixture
def long_folders(tmp_path):
    """Three sequences of 40 frames: several parts each."""
    for name in ("a", "b", "c"):
        masks = np.zeros((40, 8, 8), np.uint8)
        masks[:, 2:5, 2:5] = 1
        save(tmp_path / "truth" / name, masks)
        masks[: 20 + 15 * (name == "b"), 2] = 0
        save(tmp_path / "pred" / name, masks)
    return tmp_path / "truth", tmp_path / "pred"


def test_workers_give_the_same_scores(long_folders):
    parallel = evaluate_masks(*long_folders, workers=2)
    assert parallel == evaluate_masks(*long_folders, workers=1)
    assert [sequence.name for sequence in parallel.sequences] == ["a", "b", "c"]


def test_an_error_in_a_worker_names_the_file(long_folders):
    truth, pred = long_folders
    (pred / "b" / "00003.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    with pytest.raises(UserError, match=r"b/00003\.png: damaged"):
        evaluate_masks(truth, pred, workers=2)


def test_truth_against_itself_is_perfect(folders):
    numbers = evaluate_masks(folders[0], folders[0], workers=1).to_json()["global"]
    assert numbers.pop("J-Decay") == numbers.pop("F-Decay") == 0
    assert set(numbers.values()) == {1}


def test_sequences_can_be_chosen(folders):
    truth, pred = folders
    (pred / "masks" / "b_1" / "00002.png").unlink()
    evaluation = evaluate_masks(truth, pred, workers=1, sequences=["-a"])
    assert [sequence.name for sequence in evaluation.sequences] == ["-a"]
    with pytest.raises(UserError, match=r"truth: no mask for sequence 'c' \(nor for 1 more\)"):
        evaluate_masks(truth, pred, workers=1, sequences=["d", "-a", "c"])
    with pytest.raises(UserError, match="no sequence"):
        evaluate_masks(truth, pred, workers=1, sequences=[])


def test_a_missing_sequence_is_named(folders):
    truth, pred = folders
    for path in (pred / "masks" / "-a").iterdir():
        path.unlink()
    (pred / "masks" / "-a").rmdir()
    with pytest.raises(UserError, match="pred: no mask for sequence '-a'"):
        evaluate_masks(truth, pred, workers=1)


def test_a_missing_frame_is_named(folders):
    truth, pred = folders
    (pred / "masks" / "b_1" / "00002.png").unlink()
    with pytest.raises(UserError, match="pred: no mask for frame of sequence 'b_1': '00002'"):
        evaluate_masks(truth, pred, workers=1)


def test_first_and_last_frame_and_extra_frames_need_no_prediction(folders):
    truth, pred = folders
    before = evaluate_masks(truth, pred, workers=1)
    (pred / "masks" / "b_1" / "00000.png").unlink()
    (pred / "masks" / "b_1" / "00005.png").unlink()
    save(pred / "masks" / "-a", np.full((1, *SIZE), 9, np.uint8), ["007"])
    save(pred / "masks" / "other", np.full((1, *SIZE), 9, np.uint8))
    assert evaluate_masks(truth, pred, workers=1) == before


@pytest.mark.parametrize("frames", [1, 2])
def test_sequences_with_nothing_left_to_score_are_refused(tmp_path, frames):
    save(tmp_path / "v", moving_boxes(frames, 1, 1))
    with pytest.raises(UserError, match=f"sequence 'v': {frames} truth frame"):
        evaluate_masks(tmp_path, tmp_path, workers=1)


def test_a_true_sequence_without_frames_is_refused(folders):
    truth, pred = folders
    (truth / "Annotations" / "480p" / "void").mkdir()
    (pred / "masks" / "void").mkdir()
    with pytest.raises(UserError, match="sequence 'void': 0 truth frame"):
        evaluate_masks(truth, pred, workers=1)


def test_bad_frames_are_named(folders):
    truth, pred = folders
    bad = pred / "masks" / "-a" / "010.png"
    write_mask(bad, np.ones((30, 30), np.uint8))
    with pytest.raises(UserError, match=r"-a/010\.png: the prediction is 30x30 pixels"):
        evaluate_masks(truth, pred, workers=1)
    write_mask(bad, np.full(SIZE, 2, np.uint8))
    with pytest.raises(UserError, match=r"-a/010\.png: index 2 is predicted"):
        evaluate_masks(truth, pred, workers=1)


def test_an_empty_first_frame_is_named(folders):
    truth, pred = folders
    write_mask(truth / "Annotations" / "480p" / "-a" / "000.png", np.full(SIZE, 255, np.uint8))
    with pytest.raises(UserError, match=r"-a/000\.png: the first truth frame holds no object"):
        evaluate_masks(truth, pred, workers=1)


def test_a_nan_decay_is_null(tmp_path):
    save(tmp_path / "long", moving_boxes(3, 1, 1)[[0] * 302])
    evaluation = evaluate_masks(tmp_path, tmp_path, workers=1)
    assert math.isnan(evaluation.summary.j.decay)
    assert evaluation.to_json()["global"]["J-Decay"] is None
    json.dumps(evaluation.to_json(), allow_nan=False)


def test_no_workers_are_refused(folders):
    with pytest.raises(UserError, match="1 worker"):
        evaluate_masks(*folders, workers=0)


def test_annotated_sequence_shifted_by_the_tolerance(shared_data, tmp_path):
    """A rollerblader moved by the tolerance of 8 pixels: every boundary pixel still matches."""
    name = "davis2016_rollerblade"
    truth = shared_data / "eval"
    if not (truth / name).is_dir():
        pytest.skip(f"no {name}")
    for stem, path in mask_files(truth)[name].items():
        mask = read_mask(path)
        shifted = np.zeros_like(mask)
        shifted[:, 8:] = mask[:, :-8]
        write_mask(tmp_path / name / f"{stem}.png", shifted)
    numbers = evaluate_masks(truth, tmp_path, 1, [name]).to_json()["global"]
    assert numbers["F-Mean"] == pytest.approx(1, abs=1e-3)
    assert 0.3 < numbers["J-Mean"] < 0.9


def test_davis2016_scores_all_objects_as_one(tmp_path):
    truth, pred = moving_boxes(4, 2, 3), moving_boxes(4, 2, 2)
    truth[1, 0, 0] = 255  # the object in DAVIS-2016, void in DAVIS-2017
    pred[2][pred[2] == 1] = 9  # an id the truth does not have
    save(tmp_path / "truth" / "a", truth)
    save(tmp_path / "pred" / "a", pred)
    evaluation = evaluate_masks(
        tmp_path / "truth", tmp_path / "pred", workers=1, dataset="davis2016"
    )
    (sequence,) = evaluation.sequences
    merged = evaluate_sequence((truth > 0).astype(np.uint8), (pred > 0).astype(np.uint8))
    assert sequence.objects == merged
    inside = [(truth[t] > 0, pred[t] > 0) for t in (1, 2)]
    expected = [np.sum(a & b) / np.sum(a | b) for a, b in inside]
    assert sequence.objects[1].j_by_frame == pytest.approx(expected)
    assert evaluation.to_json()["metric"] == "DAVIS-2016, single foreground"
    with pytest.raises(UserError, match="index 9 is predicted"):
        evaluate_masks(tmp_path / "truth", tmp_path / "pred", workers=1)
