import logging

import pytest
from mlflow import MlflowClient

from jobs.tracking import TrackedRun, Tracker, default_uri, start_run


def test_a_dead_server_warns_once_and_stops_nothing(tmp_path, caplog, monkeypatch):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with caplog.at_level(logging.WARNING, logger="huetrack.tracking"):
        run = start_run("http://127.0.0.1:9", tmp_path, "huetrack", "r", "")
        assert run.run_id == ""
        Tracker(run).metrics({"loss": 1.0}, 1)
        tracker = Tracker(TrackedRun("http://127.0.0.1:9", "abc"))
        for step in range(3):
            tracker.metrics({"loss": 1.0}, step)
        tracker.finish("FINISHED")
    assert len(caplog.records) == 2


def test_a_sqlite_store_holds_what_was_logged(tmp_path):
    uri = default_uri(tmp_path)
    assert uri == f"sqlite:///{tmp_path}/mlflow.db"
    run = start_run(uri, tmp_path, "huetrack", "first", "")
    tracker = Tracker(run)
    tracker.params({"fit.steps": 5})
    tracker.metrics({"train/loss": 2.0}, 1)
    tracker.metrics({"train/loss": 1.5}, 2)
    tracker.dataset("dataset", "/somewhere", "0123456789abcdef")
    (tmp_path / "note.txt").write_text("hello")
    tracker.artifact(tmp_path / "note.txt")
    tracker.finish("FINISHED")
    stored = MlflowClient(uri).get_run(run.run_id)
    history = MlflowClient(uri).get_metric_history(run.run_id, "train/loss")
    assert stored.data.params == {"fit.steps": "5"}
    assert [(m.step, m.value) for m in history] == [(1, 2.0), (2, 1.5)]
    assert stored.info.status == "FINISHED"
    assert stored.inputs.dataset_inputs[0].dataset.digest == "0123456789abcdef"
    assert (tmp_path / "mlartifacts").is_dir()


def test_a_run_is_taken_up_again_by_its_id(tmp_path):
    uri = default_uri(tmp_path)
    first = start_run(uri, tmp_path, "huetrack", "first", "")
    Tracker(first).finish("KILLED")
    again = start_run(uri, tmp_path, "huetrack", "first", first.run_id)
    assert again.run_id == first.run_id
    assert MlflowClient(uri).get_run(first.run_id).info.status == "RUNNING"


@pytest.mark.parametrize("uri", ["http://tracking:5000", "sqlite:////elsewhere/mlflow.db"])
def test_the_environment_names_the_server(tmp_path, monkeypatch, uri):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    assert default_uri(tmp_path) == uri
