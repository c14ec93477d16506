"""What trainings leave in an MLflow store that they share, or that is away when they go on."""

from pathlib import Path

import pytest
import yaml
from mlflow import MlflowClient

from jobs import tracking
from jobs.tracking import TrackedRun, Tracker
from jobs.train import train
from jobs.train_options import TrainOptions
from model.errors import UserError
from tests.trainings import Training


@pytest.fixture
def begun(monkeypatch: pytest.MonkeyPatch) -> list[TrackedRun]:
    """The tracked runs of trainings that end when their workers would start, after one metric."""
    seen: list[TrackedRun] = []

    def ended(_: TrainOptions, __: object, tracked: TrackedRun, ___: object) -> None:
        monkeypatch.setattr(tracking, "open_client", OPEN_CLIENT)
        seen.append(tracked)
        Tracker(tracked).metrics({"loss": 1.0}, step=len(seen))
        raise UserError("the end")

    monkeypatch.setattr("jobs.train.run_training", ended)
    return seen


OPEN_CLIENT = tracking.open_client


def begin(options: TrainOptions) -> str:
    """Begin a training; returns the id of its run in MLflow that is stored with it."""
    with pytest.raises(UserError, match="the end"):
        train(options)
    config = yaml.safe_load((options.run / "config.yaml").read_text(encoding="utf-8"))
    return str(config["mlflow_run_id"])


@pytest.mark.usefixtures("begun")
def test_a_run_that_is_removed_takes_nothing_of_others_in_the_same_store(
    training: Training, tmp_path: Path
) -> None:
    first, second = (training(tmp_path / name, experiment="shared") for name in ("a", "b"))
    begin(first)
    run_id = begin(second)
    begin(training(tmp_path / "a", experiment="shared", overwrite=True))
    client = MlflowClient(str(second.tracking_uri))
    names = {artifact.path for artifact in client.list_artifacts(run_id)}
    assert names == {"config.yaml", "codebook.json"}
    local = client.download_artifacts(run_id, "codebook.json", str(tmp_path))
    assert Path(local).read_bytes() == (tmp_path / "b" / "codebook.json").read_bytes()


def test_a_run_is_gone_on_with_though_its_store_was_away_once(
    training: Training,
    tmp_path: Path,
    begun: list[TrackedRun],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    options = training(tmp_path / "run", experiment="away", resume=True)
    run_id = begin(options)

    def away(_: object) -> None:
        raise OSError("it does not answer")

    monkeypatch.setattr(tracking, "open_client", away)  # until the workers start
    assert begin(options) == run_id
    assert "until it answers again: it does not answer" in caplog.text
    assert begin(options) == run_id
    assert [tracked.run_id for tracked in begun] == [run_id] * 3
    client = MlflowClient(str(options.tracking_uri))
    assert [m.step for m in client.get_metric_history(run_id, "loss")] == [1, 2, 3]


def test_the_id_of_a_run_outlives_a_resume_without_tracking(
    training: Training, tmp_path: Path, begun: list[TrackedRun], monkeypatch: pytest.MonkeyPatch
) -> None:
    """`MLFLOW_TRACKING_URI` was forgotten where the run has no store of its own."""
    options = training(tmp_path / "run", experiment="forgotten", resume=True)
    run_id = begin(options)
    with monkeypatch.context() as without:
        without.setattr("jobs.train.default_uri", lambda _: tracking.TrackingUri(""))
        assert begin(training(tmp_path / "run", tracking_uri=None, resume=True)) == run_id
    assert begin(options) == run_id
    assert [tracked.run_id for tracked in begun] == [run_id, "", run_id]
