"""`huetrack mix` and `huetrack temperature` on a small dataset and an untrained network."""

import json
import shutil
from pathlib import Path

import pytest
import torch

from jobs.cli import run
from model.colorizer import Colorizer, ColorizerConfig, save_colorizer
from pipelines.mix import load_mix
from pipelines.models import parse_model


@pytest.fixture
def small_run(train_dataset: Path, tmp_path: Path) -> Path:
    torch.manual_seed(0)
    folder = tmp_path / "run"
    folder.mkdir()
    save_colorizer(Colorizer(ColorizerConfig(width=4)), folder / "model.safetensors")
    shutil.copy(train_dataset / "codebook.json", folder)
    return folder


def test_the_mix_is_found_stored_and_used(
    train_dataset: Path, small_run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["mix", str(train_dataset), "--run", str(small_run), "--clips", "1"]
    assert run(command) == 0
    assert not (small_run / "mix.json").exists()
    assert run([*command, "--store"]) == 0
    found = load_mix(small_run / "model.safetensors")
    printed = capsys.readouterr().out
    assert f"{found.lab_variance:g}" in printed and "(default)" in printed
    assert json.loads((small_run / "mix.json").read_text())["lab_variance"] == found.lab_variance
    spec = parse_model(f"{small_run}+lab", untrained_width=4, seed=0)
    assert spec.mix == found


def test_the_temperature_of_a_protocol_is_found_stored_and_used(
    train_dataset: Path, small_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["temperature", str(train_dataset), "--run", str(small_run), "--clips", "1"]
    command += ["--protocol", "vidcolor"]
    assert run(command) == 0
    (found,) = json.loads((small_run / "temperature.json").read_text()).values()
    assert f"{found:g}" in capsys.readouterr().out
    video = next((train_dataset.parent / "videos").iterdir())
    film = ["colorize", str(video), "--model", str(small_run), "--out", str(tmp_path / "film.mp4")]
    assert run([*film, "--set", "temperature=learned"]) == 0
    assert f"vidcolor(temperature={found})" in capsys.readouterr().out
    assert run([*film, "--protocol", "crw", "--set", "temperature=learned"]) == 2
    assert "no temperature was learned for crw" in capsys.readouterr().err


def test_bad_usage_is_one_line(
    train_dataset: Path, small_run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["mix", str(train_dataset), "--run", str(small_run), "--clips", "0"]) == 2
    assert "--clips" in capsys.readouterr().err
    assert run(["mix", str(train_dataset), "--run", str(small_run), "--register", "name"]) == 2
    assert "--register needs --store" in capsys.readouterr().err
    assert run(["mix", str(train_dataset), "--run", str(small_run / "gone")]) == 2
