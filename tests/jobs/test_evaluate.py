import json

import numpy as np
import pytest
from scipy.io import savemat

from jobs.cli import EVALUATIONS, run
from jobs.evaluate import EvaluateMasksOptions, evaluate_masks_command
from model.errors import UserError
from pipelines.evaluation import evaluate_masks
from pipelines.evaluation_keypoints import evaluate_keypoints
from pipelines.labels.davis import write_mask


@pytest.fixture
def folders(tmp_path):
    for name in ("[red]dog_1", "cat"):
        for t in range(4):
            mask = np.zeros((20, 30), np.uint8)
            mask[5:15, 5:15] = 1
            write_mask(tmp_path / "truth" / name / f"{t}.png", mask)
            write_mask(tmp_path / "pred" / name / f"{t}.png", np.roll(mask, t, axis=1))
    return tmp_path / "truth", tmp_path / "pred"


def table_rows(text):
    """The cells of every row of every table, headers left out."""
    lines = [line for line in text.splitlines() if "│" in line]
    return [[cell.strip() for cell in line.split("│")[1:-1]] for line in lines]


def test_prints_every_object_and_the_global_numbers(folders, capsys):
    evaluate_masks_command(EvaluateMasksOptions(*folders))
    rows = table_rows(capsys.readouterr().out)
    scores = evaluate_masks(*folders).summary
    # columns shifted by 1 and 2 of 10: 9/11 and 8/12
    assert rows[0][:4] == ["[red]dog_1", "1", "2", "0.742"]
    assert rows[1][:4] == ["cat", "1", "2", "0.742"]
    assert rows[2] == [
        f"{number:.3f}"
        for number in (
            scores.jf_mean,
            scores.j.mean,
            scores.j.recall,
            scores.j.decay,
            scores.f.mean,
            scores.f.recall,
            scores.f.decay,
        )
    ]


def test_writes_the_numbers_as_json(folders, tmp_path, capsys):
    path = tmp_path / "results" / "scores.json"
    evaluate_masks_command(EvaluateMasksOptions(*folders, json=path, sequences=("cat",)))
    assert json.loads(path.read_text()) == evaluate_masks(*folders, sequences=["cat"]).to_json()
    assert f"all numbers: {path}" in capsys.readouterr().out


def test_bad_folders_are_user_errors(folders, tmp_path):
    with pytest.raises(UserError, match="nowhere"):
        evaluate_masks_command(EvaluateMasksOptions(folders[0], tmp_path / "nowhere"))


def test_davis2016_and_curves(folders, tmp_path, capsys):
    truth, pred = map(str, folders)
    arguments = ["--dataset", "davis2016", "--curves", str(tmp_path / "curves")]
    assert run(["evaluate", "masks", "--truth", truth, "--pred", pred, *arguments]) == 0
    printed = capsys.readouterr().out
    assert "DAVIS-2016" in printed
    assert f"curves: 2 pictures in {tmp_path / 'curves'}" in printed
    assert (tmp_path / "curves" / "[red]dog_1.png").is_file()


@pytest.fixture
def joints(tmp_path):
    """Two people of which one joint is lost in one of two scored frames, and one is 10 px off."""
    truth = np.random.default_rng(0).uniform(50, 150, (2, 15, 3))
    pred = truth.copy()
    pred[:, 0, 1] = np.nan
    pred[0, 1, 2] += 10
    for name, xy in (("truth", truth), ("pred", pred)):
        (tmp_path / name / "wave").mkdir(parents=True)
        savemat(tmp_path / name / "wave" / "joint_positions.mat", {"pos_img": xy})
    return tmp_path / "truth", tmp_path / "pred"


def test_keypoints_print_both_modes(joints, capsys):
    truth, pred = joints
    arguments = ["evaluate", "keypoints", "--truth", str(truth), "--pred", str(pred)]
    assert run([*arguments, "--mode", "strict"]) == 0
    strict = table_rows(capsys.readouterr().out)
    assert run(arguments) == 0
    reference = table_rows(capsys.readouterr().out)
    evaluation = evaluate_keypoints(truth, pred)
    rows = {
        mode: [mode, counted, *(f"{v:.3f}" for v in evaluation.scores(mode).mean)]
        for mode, counted in (("reference", "29"), ("strict", "30"))
    }
    assert strict[-2:] == reference[-2:] == [rows["reference"], rows["strict"]]
    assert ["wave", "2", *rows["strict"][2:]] in strict
    assert ["wave", "2", *rows["reference"][2:]] in reference
    assert ["neck", "2", *["0.500"] * 5] in strict
    assert ["neck", "1", *["1.000"] * 5] in reference


def test_parts_print_their_classes(folders, capsys):
    truth, pred = map(str, folders)
    arguments = ["evaluate", "parts", "--truth", truth, "--pred", pred]
    assert run([*arguments, "--classes", "2"]) == 0
    rows = table_rows(capsys.readouterr().out)
    # 100 pixels, four frames, 0 to 3 columns of 10 px off: 60 of them a sequence on either side
    inside = (400 - 60) / (400 + 60)
    outside = (2000 - 60) / (2000 + 60)
    assert rows[0] == ["[red]dog_1", "4", f"{(inside + outside) / 2:.3f}"]
    assert rows[2:4] == [["0", "4000", f"{outside:.3f}"], ["1", "800", f"{inside:.3f}"]]
    assert rows[4] == ["2", rows[0][2]]
    assert run(arguments) == 0
    rows = table_rows(capsys.readouterr().out)
    assert ["hat", "800", f"{inside:.3f}"] in rows
    assert ["face", "0", "-"] in rows


def test_boxes_print_both_numbers(tmp_path, capsys):
    for name, text in (("truth", "0 0 10 10\n0 0 10 10\n"), ("pred", "0 0 10 10\n30 0 10 10\n")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "Car.txt").write_text(text)
    folders = ["--truth", str(tmp_path / "truth"), "--pred", str(tmp_path / "pred")]
    out = tmp_path / "scores.json"
    assert run(["evaluate", "boxes", *folders, "--json", str(out)]) == 0
    rows = table_rows(capsys.readouterr().out)
    assert rows == [["Car", "2", f"{10 / 21:.3f}", "0.500"], [f"{10 / 21:.3f}", "0.500"]]
    assert json.loads(out.read_text())["global"]["precision@20px"] == 0.5


def test_points_print_three_averages(tmp_path, capsys):
    (tmp_path / "truth").mkdir()
    (tmp_path / "pred").mkdir()
    hidden = np.zeros((1, 5), bool)
    np.savez(tmp_path / "truth" / "v.npz", points=np.full((1, 5, 2), 0.5), occluded=hidden)
    rows = "".join(f"v,0,{t},{99.5 + 3 * (t == 2)},49.5,1\n" for t in range(5))
    (tmp_path / "pred" / "v.csv").write_text("video_id,point_id,frame,x_px,y_px,visible\n" + rows)
    folders = ["--truth", str(tmp_path / "truth"), "--pred", str(tmp_path / "pred")]
    assert run(["evaluate", "points", *folders, "--frame-size", "200", "100"]) == 0
    # 3 px of 200 are 3.84 of 256: within 4, 8 and 16, not within 1 and 2
    jaccard = f"{(2 * 3 / 5 + 3) / 5:.3f}"
    accuracy = f"{(2 * 3 / 4 + 3) / 5:.3f}"
    averages = [jaccard, accuracy, "1.000"]
    assert table_rows(capsys.readouterr().out) == [["v", "1", *averages], averages]


@pytest.mark.parametrize("kind", [kind for kind, _ in EVALUATIONS])
def test_help_teaches_with_an_example(kind, capsys):
    assert run(["evaluate", kind, "--help"]) == 0
    text = " ".join(capsys.readouterr().out.split())
    assert f"Example: huetrack evaluate {kind} --truth" in text
    assert run(["evaluate", "--help"]) == 0
    assert kind in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (
            ["keypoints", "--truth", "nowhere", "--pred", "nowhere"],
            "nowhere: no such file or folder",
        ),
        (["keypoints", "--truth", ".", "--pred", ".", "--mode", "kind"], "kind"),
        (["boxes", "--truth", "nowhere"], "--pred"),
        (["points", "--truth", ".", "--pred", ".", "--frame-size", "9"], "--frame-size"),
        (["parts", "--truth", "nowhere", "--pred", "nowhere", "--classes", "1"], "two classes"),
    ],
)
def test_bad_usage_is_one_line(arguments, named, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert run(["evaluate", *arguments]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert named in line
