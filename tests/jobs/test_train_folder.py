"""A run's folder: one training at a time in it, and only one that it belongs to."""

import os
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from jobs.train import train
from jobs.train_options import TrainOptions
from model.errors import UserError
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


def test_a_run_needs_a_folder(training: Training, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    for place in (tmp_path / "file", tmp_path / "file" / "run"):
        for how in ({}, {"resume": True}, {"overwrite": True}):
            with pytest.raises(
                UserError, match=rf"^{re.escape(str(tmp_path))}/file: is not a folder$"
            ):
                train(training(place, **how))
    assert (tmp_path / "file").read_text() == "mine"
