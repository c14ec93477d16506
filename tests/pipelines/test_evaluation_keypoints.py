import json
import math

import numpy as np
import pytest
from scipy.io import loadmat, savemat

from model.errors import UserError
from model.metrics.keypoints import joint_errors, pck
from pipelines.evaluation_keypoints import evaluate_keypoints

ALPHAS = ("PCK@0.1", "PCK@0.2", "PCK@0.3", "PCK@0.4", "PCK@0.5")


def people(frames=4, joints=15, seed=0):
    return np.random.default_rng(seed).uniform(20, 200, (frames, joints, 2))


def save(folder, xy_TK2):
    """As J-HMDB does: [2, K, T], from 1 on."""
    folder.mkdir(parents=True)
    savemat(folder / "joint_positions.mat", {"pos_img": xy_TK2.transpose(2, 1, 0) + 1})


@pytest.fixture
def folders(tmp_path):
    """Two videos, one in a folder for its class; the predictions are a few pixels off, one joint failed."""
    for name, seed in (("walk", 1), ("jump/high", 2)):
        save(tmp_path / "truth" / name, people(seed=seed))
        off = np.random.default_rng(9).uniform(-25, 25, (4, 15, 2))
        pred = people(seed=seed) + off
        pred[2, 3] = math.nan if name == "walk" else -1
        save(tmp_path / "pred" / name, pred)
    return tmp_path / "truth", tmp_path / "pred"


def test_folder_scores_are_the_metric_of_the_arrays(folders):
    evaluation = evaluate_keypoints(*folders)
    assert [video.name for video in evaluation.videos] == ["high", "walk"]
    for mode in ("reference", "strict"):
        errors = []
        for folder in ("jump/high", "walk"):
            truth, pred = (
                loadmat(root / folder / "joint_positions.mat")["pos_img"].transpose(2, 1, 0) - 1
                for root in folders
            )
            errors.append(joint_errors(truth, pred, mode))
        expected = pck(errors)
        assert evaluation.scores(mode).by_joint_AK.tolist() == expected.by_joint_AK.tolist()
        assert 0 < expected.mean[0] < 1
    assert evaluation.scores("strict").counted_K.tolist() == [6] * 15
    assert evaluation.scores("reference").counted_K.tolist() == [6] * 3 + [4] + [6] * 11


def test_json_has_both_modes_and_can_be_written(folders):
    evaluation = evaluate_keypoints(*folders)
    numbers = json.loads(json.dumps(evaluation.to_json(), allow_nan=False))
    assert list(numbers) == ["metric", "reference", "strict"]
    strict = numbers["strict"]
    assert tuple(strict["global"]) == ALPHAS
    assert strict["global"]["PCK@0.2"] == pytest.approx(evaluation.scores("strict").mean[1])
    assert strict["per_joint"]["right_shoulder"]["counted"] == 6
    assert list(strict["per_sequence"]) == ["high", "walk"]
    # every frame counts 15 joints, so that their mean is the mean over joints
    frames = strict["per_frame"]["walk"]["PCK@0.5"]
    assert len(frames) == 3
    assert strict["per_sequence"]["walk"]["PCK@0.5"] == pytest.approx(np.mean(frames))


def test_a_frame_without_joints_is_null(tmp_path):
    truth, pred = people(3), people(3)
    truth[1] = math.nan
    save(tmp_path / "truth" / "a", truth)
    save(tmp_path / "pred" / "a", pred)
    numbers = evaluate_keypoints(tmp_path / "truth", tmp_path / "pred").to_json()
    assert numbers["reference"]["per_frame"]["a"]["PCK@0.1"] == [None, 1.0]


def test_json_files_of_joints(tmp_path):
    xy = people(3, 2)
    (tmp_path / "truth" / "a").mkdir(parents=True)
    record = {"joints": ["head", "tail"], "keypoints": (xy + 1).tolist()}
    (tmp_path / "truth" / "a" / "keypoints.json").write_text(json.dumps(record))
    save(tmp_path / "pred" / "a", xy)
    evaluation = evaluate_keypoints(tmp_path / "truth", tmp_path / "pred")
    assert evaluation.joints == ("head", "tail")
    assert evaluation.scores("strict").mean.tolist() == [1] * 5


def test_truth_may_end_before_the_prediction(tmp_path):
    save(tmp_path / "truth" / "a", people(4)[:3])
    save(tmp_path / "pred" / "a", people(4))
    evaluation = evaluate_keypoints(tmp_path / "truth", tmp_path / "pred")
    assert evaluation.scores("strict").counted_K.tolist() == [2] * 15


def test_what_does_not_fit_is_refused(folders, tmp_path):
    truth, pred = folders
    save(tmp_path / "short" / "walk", people(2))
    with pytest.raises(
        UserError, match=r"short: sequence 'walk' has 15 joints in 2 frames; .* in 4"
    ):
        evaluate_keypoints(truth, tmp_path / "short", ["walk"])
    with pytest.raises(UserError, match="no joints for sequence 'high'"):
        evaluate_keypoints(truth, tmp_path / "short")
    with pytest.raises(UserError, match="no joints for sequence 'run'"):
        evaluate_keypoints(truth, pred, ["run"])
    with pytest.raises(UserError, match="no such file or folder"):
        evaluate_keypoints(truth, tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(
        UserError, match=r"no labels of the format jhmdb \(joints: VIDEO/joint_positions.mat"
    ):
        evaluate_keypoints(truth, tmp_path / "empty")
    save(tmp_path / "still" / "a", people(1)[[0, 0]][:, :, :])
    save(tmp_path / "other" / "a", people(2))
    save(tmp_path / "other" / "b", people(2, 3))
    with pytest.raises(UserError, match="sequence 'b' has other joints than 'a'"):
        evaluate_keypoints(tmp_path / "other", tmp_path / "other")


def test_a_damaged_file_is_named(folders):
    path = folders[1] / "walk" / "joint_positions.mat"
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(UserError, match=r"walk/joint_positions\.mat: "):
        evaluate_keypoints(*folders)


def test_the_shared_joints_score_one(shared_data):
    folders = sorted((shared_data / "eval").glob("*/joint_positions.mat"))
    if not folders:
        pytest.skip("no joints among the shared data")
    evaluation = evaluate_keypoints(shared_data / "eval", shared_data / "eval")
    assert len(evaluation.videos) == len(folders)
    assert evaluation.scores("reference").mean.tolist() == [1] * 5
