"""Histories of trainings as a table and a picture."""

import io
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from jobs.cli import run as huetrack
from model.errors import UserError
from pipelines.learning_curves import picture, read_curve


def write_history(run: Path, jf_by_step: dict[int, float], validated: bool = True) -> Path:
    run.mkdir()
    records = []
    for step in range(100, 600, 100):
        accuracy = 0.8 + step / 10_000
        held_out = {"loss": 1 / step, "accuracy": accuracy, "copy_accuracy": 0.85, "clips": 8}
        records.append({"kind": "train", "step": step, "loss": 2 / step, "accuracy": accuracy})
        if validated:
            records.append({"kind": "validation", "step": step, **held_out})
    records += [
        {"kind": "probe", "step": step, "protocol": "crw", "jf_mean": jf}
        for step, jf in jf_by_step.items()
    ]
    (run / "history.jsonl").write_text("".join(json.dumps(r) + "\n" for r in records))
    return run


def test_scores_stand_beside_the_validation_of_their_step(tmp_path: Path) -> None:
    jf = {100: 0.4, 200: 0.5, 300: 0.45, 400: 0.6, 450: 0.9}
    curve = read_curve(write_history(tmp_path / "run", jf))
    assert [look.step for look in curve.looks] == list(jf)
    accuracies = [look.accuracy for look in curve.looks]
    assert accuracies == [pytest.approx(0.8 + step / 10_000) for step in (100, 200, 300, 400)] + [
        None
    ]
    # Ranks 1 2 3 4 against 1 3 2 4: 1 - 6 * 2 / (4 * 15).
    assert curve.rank_correlation("crw") == pytest.approx(0.8)
    unvalidated = read_curve(write_history(tmp_path / "other", jf, validated=False))
    assert unvalidated.rank_correlation("crw") is None


def test_the_picture_shows_every_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first = write_history(tmp_path / "first", {100: 0.4, 500: 0.45})
    second = write_history(tmp_path / "second", {}, validated=False)
    out = tmp_path / "curves.png"
    assert huetrack(["curves", str(first), str(second), "--out", str(out)]) == 0
    shown = np.asarray(Image.open(out).convert("RGB"))
    assert shown.shape[1] > 1000
    alone = np.asarray(Image.open(io.BytesIO(picture([read_curve(first)]))).convert("RGB"))

    def has(image: np.ndarray, colour: tuple[int, int, int]) -> bool:
        return bool((image == colour).all(axis=2).any())

    blue, orange = (31, 119, 180), (255, 127, 14)  # of the first run's lines, and of the second's
    assert has(shown, blue) and has(alone, blue) and not has(alone, orange)
    printed = capsys.readouterr().out
    assert "0.4500" in printed and "0.8500" in printed


def test_a_folder_without_a_history_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(UserError, match=r"gone: holds no history\.jsonl"):
        read_curve(tmp_path / "gone")
    assert huetrack(["curves", str(tmp_path), "--out", str(tmp_path / "curves.jpg")]) == 2
    assert "must end with .png" in capsys.readouterr().err
