import json

import numpy as np
import pytest

from model.errors import UserError
from model.metrics.boxes import box_scores, centre_error_px, overlap
from pipelines.evaluation_boxes import evaluate_boxes

TRUTH = np.array([[10, 20, 30, 40], [12, 20, 30, 40], [14, 21, 30, 40]], float)
PRED = TRUTH + np.array([[0, 0, 0, 0], [5, 0, 0, 0], [40, 9, 3, 1]])


def text(boxes, separator=","):
    return "".join(separator.join(f"{number:g}" for number in box) + "\n" for box in boxes)


@pytest.fixture
def folders(tmp_path):
    truth, pred = tmp_path / "truth", tmp_path / "pred"
    for name in ("Car", "Dog"):
        (truth / name).mkdir(parents=True)
    (truth / "Car" / "groundtruth.txt").write_text(text(TRUTH, "\t"))
    (truth / "Dog" / "groundtruth_rect.txt").write_text(text(TRUTH[:2]))
    (pred / "Car").mkdir(parents=True)
    (pred / "Car" / "groundtruth.txt").write_text(text(PRED, " "))
    (pred / "Dog.txt").write_text(text(TRUTH[:2], ", "))
    return truth, pred


def test_folder_scores_are_the_metric_of_the_arrays(folders):
    evaluation = evaluate_boxes(*folders)
    car, dog = evaluation.sequences
    assert (car.name, dog.name) == ("Car", "Dog")
    assert car.iou_T.tolist() == overlap(TRUTH, PRED).tolist()
    assert car.scores == box_scores(overlap(TRUTH, PRED), centre_error_px(TRUTH, PRED))
    assert 0 < car.scores.success_auc < dog.scores.success_auc == pytest.approx(20 / 21)
    assert car.scores.precision_at_20_px == pytest.approx(2 / 3)
    assert evaluation.summary.precision_at_20_px == pytest.approx(5 / 6)


def test_json(folders, tmp_path):
    (folders[1] / "Dog.txt").write_text("12 20 30 40\nnan nan nan nan\n")
    evaluation = evaluate_boxes(*folders)
    numbers = json.loads(json.dumps(evaluation.to_json(), allow_nan=False))
    assert numbers["global"]["success AUC"] == pytest.approx(evaluation.summary.success_auc)
    assert len(numbers["global"]["success"]) == len(numbers["thresholds"]["iou"]) == 21
    assert numbers["per_sequence"]["Dog"]["precision@20px"] == 0.5
    assert numbers["per_frame"]["Dog"] == {
        "iou": [pytest.approx(28 / 32), 0],
        "centre_error_px": [2, None],
    }


def test_a_damaged_file_is_named(folders):
    path = folders[1] / "Dog.txt"
    for content, cause in (
        (b"", "0 boxes for sequence 'Dog', the truth has 2"),
        (b"1,2,3,4\n1,2,3\n", r"Dog\.txt, line 2: needs x, y, width, height"),
        (b"1,2,3,4,5\n", r"Dog\.txt, line 1: needs x, y, width, height"),
        (b"1,2,3,4\n\n5,6,7,8\n", r"Dog\.txt, line 2: needs x, y, width, height"),
        (b"x,y,w,h\n", r"Dog\.txt, line 1: x must be a finite number"),
        (b"\xff\xfe1", r"Dog\.txt: not a text"),
    ):
        path.write_bytes(content)
        with pytest.raises(UserError, match=cause):
            evaluate_boxes(*folders)


def test_what_does_not_fit_is_refused(folders, tmp_path):
    truth, pred = folders
    with pytest.raises(UserError, match="no boxes for sequence 'Cat'"):
        evaluate_boxes(truth, pred, ["Cat"])
    (pred / "Dog.txt").write_text(text(TRUTH))
    with pytest.raises(UserError, match="pred: 3 boxes for sequence 'Dog', the truth has 2"):
        evaluate_boxes(truth, pred)
    (truth / "Dog" / "groundtruth_rect.txt").write_text("nan nan nan nan\n" * 3)
    with pytest.raises(UserError, match="truth, sequence 'Dog': no frame has a true box"):
        evaluate_boxes(truth, pred)
    (pred / "Car.txt").write_text(text(PRED))
    with pytest.raises(UserError, match=r"Car\.txt: the same video as"):
        evaluate_boxes(truth, pred)
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=r"no labels of the format otb \(a box: VIDEO/groundtruth"):
        evaluate_boxes(tmp_path / "empty", pred)


def test_the_shared_boxes_against_a_box_that_stays(shared_data, tmp_path):
    file = shared_data / "boxes" / "otb_Crossing" / "groundtruth.txt"
    if not file.is_file():
        pytest.skip("no boxes among the shared data")
    truth = np.loadtxt(file)
    (tmp_path / "otb_Crossing.txt").write_text(text([truth[0]] * len(truth)))
    scores = evaluate_boxes(shared_data / "boxes", tmp_path).summary
    moved_px = np.hypot(*(truth[:, :2] + truth[:, 2:] / 2 - truth[0, :2] - truth[0, 2:] / 2).T)
    assert scores.precision_at_20_px == pytest.approx(np.mean(moved_px <= 20))
    assert 0 < scores.success_auc < 0.5
