"""A run's folder: one training at a time in it, and only one that it belongs to."""

import os
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from jobs.cli import parse, run
from jobs.submit_checks import remote_command
from jobs.train import train
from jobs.train_options import TrainOptions
from model.errors import UserError
from pipelines.clip_rows import BatchConfig
from tests.trainings import Training

WhileTraining = Callable[[TrainOptions, Callable[[], None]], None]
"""(options, body) -> the body is called when the workers of a training would start, then it ends."""


@pytest.fixture
def while_training(monkeypatch: pytest.MonkeyPatch) -> WhileTraining:
    def begin(options: TrainOptions, body: Callable[[], None]) -> None:
        def run_training(*_: object) -> None:
            body()
            raise UserError("the end")

        monkeypatch.setattr("jobs.train.run_training", run_training)
        with pytest.raises(UserError, match="the end"):
            train(options)

    return begin


@pytest.mark.usefixtures("ray_session")
def test_a_second_training_in_the_folder_of_a_living_one_is_refused_and_touches_nothing(
    training: Training, tmp_path: Path, while_training: WhileTraining
) -> None:
    folder = tmp_path / "run"

    def second() -> None:
        in_flight = folder / "checkpoint_00000010" / "checkpoint.pt"
        in_flight.parent.mkdir()
        in_flight.write_bytes(b"being written")
        for how in ("resume", "overwrite"):
            refusal = rf"run: another process \({os.getpid()} on .+\) is making this run$"
            with pytest.raises(UserError, match=refusal):
                train(training(folder, **{how: True}))
        assert in_flight.read_bytes() == b"being written"

    while_training(training(folder), second)
    assert not (folder / ".lock").exists()
    while_training(training(folder, resume=True), lambda: None)
    assert (folder / "checkpoint_00000010").is_dir()
    while_training(training(folder, overwrite=True), lambda: None)
    assert {path.name for path in folder.iterdir()} == {"config.yaml", "codebook.json"}


FLAGS = ["--model.width", "4", "--model.head", "linear"]
FLAGS += ["--batches.batch-size", "4", "--batches.resolution-px", "64", "--fit.steps", "9"]


@pytest.mark.usefixtures("ray_session")
def test_a_run_is_resumed_with_its_own_settings_and_no_others(
    train_dataset: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Also when a default has changed since, or there are settings that were not there then."""
    folder, seen = tmp_path / "run", list[TrainOptions]()
    command = ["train", str(train_dataset), "--run", str(folder), "--resume"]
    command += ["--register", "", "--probe.every", "0"]
    command += ["--tracking-uri", f"sqlite:///{train_dataset.parent / 'mlflow.db'}"]

    def run_training(options: TrainOptions, *_: object) -> None:
        seen.append(options)
        raise UserError("the end")

    monkeypatch.setattr("jobs.train.run_training", run_training)

    def last_line(*flags: str) -> str:
        assert run([*command, *flags]) == 2
        return capsys.readouterr().err.splitlines()[-1]

    begun = last_line(*FLAGS, "--batches.clips-per-epoch", "8192", "--seed", "5")
    assert begun == "huetrack: the end"
    config = yaml.safe_load((folder / "config.yaml").read_text())
    del config["batches"]["augment"], config["fit"]["compile"]
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    assert last_line() == last_line(*FLAGS) == "huetrack: the end"
    assert seen[0].batches.clips_per_epoch != BatchConfig().clips_per_epoch
    assert seen[1] == seen[0] == seen[2]

    assert last_line("--fit.steps", "20") == "huetrack: the end"
    assert seen[3].fit == replace(seen[0].fit, steps=20)
    refusal = f"huetrack: {folder}/config.yaml: the run to resume has other settings: "
    flip = "--batches.augment.flip 0.5 (the run has 0.0)"
    assert last_line("--batches.augment.flip", "0.5") == refusal + flip
    wider = "--model.width 8 (the run has 4), --seed 0 (the run has 5)"
    assert last_line("--model.width", "8", "--seed", "0") == refusal + wider
    given = f"--init {folder} (the run has none)"
    assert last_line("--init", str(folder)) == refusal + given
    config["batches"]["hue"] = 0.25
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    assert last_line() == refusal + "no --batches.hue (the run has 0.25)"
    assert len(seen) == 4


def test_a_command_that_is_sent_elsewhere_reads_no_run(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("seed: 5")
    words = ["train", "s3://bucket/set", "--run", str(tmp_path), "--resume"]
    assert [options.seed for options in parse(words).options] == [5]
    assert [options.seed for options in remote_command(words).parsed.options] == [0]


def test_a_run_needs_a_folder(training: Training, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    for place in (tmp_path / "file", tmp_path / "file" / "run"):
        for how in ({}, {"resume": True}, {"overwrite": True}):
            with pytest.raises(
                UserError, match=rf"^{re.escape(str(tmp_path))}/file: is not a folder$"
            ):
                train(training(place, **how))
    assert (tmp_path / "file").read_text() == "mine"
