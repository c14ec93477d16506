"""Looks at a training: what they leave, and that nothing that fails in one reaches the training."""

import logging
from pathlib import Path

import cv2
import numpy as np
import pytest
import ray.train
import yaml
from mlflow import MlflowClient

from jobs.probe_options import ProbeConfig
from jobs.tracking import TrackedRun
from jobs.train import train
from jobs.train_probe import ProbeSpec, probing
from model.errors import UserError
from pipelines.labels.davis import write_mask
from pipelines.run_folder import CONFIG_FILE, read_history
from tests.trainings import Training


@pytest.fixture(scope="module")
def sequences(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One annotated video of a square that moves."""
    folder = tmp_path_factory.mktemp("annotated")
    for index in range(4):
        mask = np.zeros((32, 48), np.uint8)
        mask[8:24, 8 + 2 * index : 24 + 2 * index] = 1
        write_mask(folder / "square" / "masks" / f"{index:05d}.png", mask)
        frame = np.full((32, 48, 3), 90, np.uint8)
        frame[mask > 0] = (200, 60, 40)
        frames = folder / "square" / "frames"
        frames.mkdir(exist_ok=True)
        cv2.imwrite(str(frames / f"{index:05d}.png"), frame)
    return folder


def test_a_training_leaves_pictures_and_scores(
    training: Training, sequences: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    options = training(
        run,
        steps=20,
        workers=1,
        fit={"checkpoint_every": 20, "validate_every": 20},
        probe=ProbeConfig(every=1000, clips=2, sequences=sequences),
    )
    train(options)
    made = sorted(path.name for path in (run / "pictures").iterdir())
    kinds = ("-clips.png", "-sequences.png", ".json")
    assert made == [f"step-000020{kind}" for kind in kinds]
    history = read_history(run)
    assert len([record for record in history if record["kind"] == "train"]) == 20
    looked = [record for record in history if record["kind"] == "probe"]
    held_out = [record for record in history if record["kind"] == "validation"]
    assert [record["step"] for record in held_out] == [20]
    (probe,) = looked
    assert probe["step"] == 20  # the last one is looked at, whatever `every` says
    assert probe["jf_mean"] == pytest.approx((probe["j_mean"] + probe["f_mean"]) / 2)
    assert probe["jf_by_sequence"] == {"square": pytest.approx(probe["jf_mean"])}
    client = MlflowClient(options.tracking_uri.secret)
    run_id = yaml.safe_load((run / CONFIG_FILE).read_text())["mlflow_run_id"]
    logged = client.get_metric_history(run_id, "probe/jf_mean")
    assert [(m.step, m.value) for m in logged] == [(20, probe["jf_mean"])]
    images = [Path(image.path).name for image in client.list_artifacts(run_id, "images")]
    for kind in ("clips", "sequences"):
        assert any(i.startswith(f"{kind}+step+20+") and i.endswith(".png") for i in images)


def test_a_look_that_fails_is_a_warning(
    training: Training, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    options = training(tmp_path / "run")
    tracked = TrackedRun(options.tracking_uri, "")
    spec = ProbeSpec([], options.run, options.model, ProbeConfig(), tracked)
    (tmp_path / "empty").mkdir()
    checkpoint = ray.train.Checkpoint.from_directory(tmp_path / "empty")
    with caplog.at_level(logging.WARNING, logger="huetrack.probe"):
        assert probing(spec).fn(checkpoint) == {}
    assert "no look at" in caplog.text
    assert "FileNotFoundError" in caplog.text


@pytest.mark.parametrize(
    ("every", "before", "step", "last", "due"),
    [
        (500, 0, 499, False, False),
        (500, 0, 500, False, True),
        (500, 500, 750, False, False),
        (500, 250, 1250, False, True),
        (500, 500, 750, True, True),
        (0, 0, 500, True, False),
    ],
)
def test_a_checkpoint_is_looked_at_once_in_so_many_steps(
    every: int, before: int, step: int, last: bool, due: bool
) -> None:
    assert ProbeConfig(every=every).is_due(before, step, last=last) is due


def test_annotated_videos_that_are_not_there_are_refused_at_the_start(
    training: Training, tmp_path: Path
) -> None:
    probe = ProbeConfig(sequences=tmp_path / "gone")
    with pytest.raises(UserError, match="gone: no such file or folder"):
        train(training(tmp_path / "run", probe=probe))
    assert not (tmp_path / "run").exists()
