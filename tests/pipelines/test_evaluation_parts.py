import json

import numpy as np
import pytest

from model.errors import UserError
from model.metrics.parts import confusion, mean_iou
from pipelines.evaluation_parts import evaluate_parts
from pipelines.labels.davis import write_mask


def maps(seed, frames=3):
    return np.random.default_rng(seed).integers(0, 4, (frames, 12, 16)).astype(np.uint8)


def save(folder, masks):
    for t, mask in enumerate(masks):
        write_mask(folder / f"{t:03d}.png", mask)


@pytest.fixture
def folders(tmp_path):
    save(tmp_path / "truth" / "a", maps(1))
    save(tmp_path / "truth" / "b", maps(2, frames=1))
    save(tmp_path / "pred" / "masks" / "a", np.where(maps(3) > 1, maps(1), 0))
    save(tmp_path / "pred" / "masks" / "b", maps(2, frames=1))
    return tmp_path / "truth", tmp_path / "pred"


def test_folder_scores_are_the_metric_of_the_arrays(folders):
    evaluation = evaluate_parts(*folders, classes=4)
    pred = np.where(maps(3) > 1, maps(1), 0)
    tables = [confusion(t, p, 4) for t, p in zip(maps(1), pred, strict=True)]
    last = confusion(maps(2, 1)[0], maps(2, 1)[0], 4)
    first, second = evaluation.videos
    assert first.mean_iou_by_frame == pytest.approx([mean_iou(table) for table in tables])
    assert (first.confusion_CC == sum(tables)).all()
    assert second.mean_iou_by_frame == (1,)
    assert (evaluation.total_confusion == sum(tables) + last).all()


def test_json(folders):
    numbers = json.loads(json.dumps(evaluate_parts(*folders).to_json(), allow_nan=False))
    assert numbers["per_class"]["hat"] > 0
    assert numbers["per_class"]["face"] is None
    there = [iou for iou in numbers["per_class"].values() if iou is not None]
    assert numbers["global"]["mIoU"] == pytest.approx(np.mean(there))
    assert numbers["per_frame"]["a"]["frames"] == ["000", "001", "002"]
    assert list(evaluate_parts(*folders, classes=4).to_json()["per_class"]) == ["0", "1", "2", "3"]


def test_what_does_not_fit_is_refused(folders):
    truth, pred = folders
    save(truth / "c", np.zeros((1, 4, 4), np.uint8))
    save(pred / "masks" / "c", np.full((1, 4, 4), 4, np.uint8))
    with pytest.raises(UserError, match=r"c/000\.png: index 4 is predicted, but .* are 0 to 3"):
        evaluate_parts(truth, pred, classes=4)
    with pytest.raises(UserError, match="at least two classes"):
        evaluate_parts(truth, pred, classes=1)
    (pred / "masks" / "a" / "001.png").unlink()
    with pytest.raises(UserError, match="no part map for frame of sequence 'a': '001'"):
        evaluate_parts(truth, pred)
    with pytest.raises(UserError, match="no part maps for sequence 'd'"):
        evaluate_parts(truth, pred, sequences=["d"])


def test_true_indices_that_are_no_class_are_refused_and_void_is_not(folders):
    truth, pred = folders
    save(truth / "c", np.array([[[0, 2]], [[0, 254]]], np.uint8))
    save(pred / "masks" / "c", np.array([[[0, 2]], [[0, 2]]], np.uint8))
    with pytest.raises(UserError, match=r"sequence 'c' has indices .* 0 to 3; --classes 255 has"):
        evaluate_parts(truth, pred, classes=4)
    evaluate_parts(truth, pred, classes=255)
    save(truth / "c", np.array([[[0, 2]], [[0, 255]]], np.uint8))
    (video,) = evaluate_parts(truth, pred, classes=4, sequences=["c"]).videos
    assert video.confusion_CC.sum() == 3
