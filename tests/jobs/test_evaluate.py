import json

import numpy as np
import pytest

from jobs.evaluate import EvaluateMasksOptions, evaluate_masks_command
from model.errors import UserError
from pipelines.evaluation import evaluate_masks
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


def test_prints_every_object_and_the_global_numbers(folders, capsys):
    evaluate_masks_command(EvaluateMasksOptions(*folders))
    lines = capsys.readouterr().out.splitlines()
    rows = [[cell.strip() for cell in line.split("│")[1:-1]] for line in lines if "│" in line]
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
