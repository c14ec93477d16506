"""What reaches an MLflow store, and what happens when the store does not answer."""

import logging
import re
from pathlib import Path

import mlflow.data
import pytest
from mlflow import MlflowClient

from jobs.tracking import PAUSE_S, TrackedRun, Tracker, start_run
from jobs.tracking_uri import TrackingUri

DEAD_URI = TrackingUri("http://user:pass-word@127.0.0.1:9")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("run")


@pytest.fixture(scope="module")
def store(folder: Path) -> TrackingUri:
    """One for all tests, since making its tables takes seconds."""
    return TrackingUri(f"sqlite:///{folder}/mlflow.db")


def test_a_dead_server_warns_once_stops_nothing_and_tells_no_password(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with caplog.at_level(logging.DEBUG):
        run = start_run(DEAD_URI, "huetrack", "r", "")
        assert run.run_id == ""
        Tracker(run).metrics({"loss": 1.0}, 1)
        tracker = Tracker(TrackedRun(DEAD_URI, "abc"))
        for step in range(3):
            tracker.metrics({"loss": 1.0}, step)
        tracker.finish("FINISHED")
    assert "pass-word" not in caplog.text
    ours = [record.getMessage() for record in caplog.records if record.name == "huetrack.tracking"]
    assert len(ours) == 2
    assert all(re.search(r"http://127\.0\.0\.1:9\b.*refused", line) for line in ours)


def test_a_sqlite_store_holds_what_was_logged(
    tmp_path: Path, folder: Path, store: TrackingUri
) -> None:
    run = start_run(store, "huetrack", "first", "")
    tracker = Tracker(run)
    tracker.params({"fit.steps": 5, **{f"p{i}": i for i in range(150)}})
    tracker.metrics({"train/loss": 2.0}, 1)
    tracker.metrics({"train/loss": 1.5}, 2)
    (tmp_path / "note.txt").write_text("hello")
    tracker.artifact(tmp_path / "note.txt")
    tracker.finish("FINISHED")
    client = MlflowClient(store.secret)
    stored = client.get_run(run.run_id)
    history = client.get_metric_history(run.run_id, "train/loss")
    assert stored.data.params["fit.steps"] == "5"
    assert len(stored.data.params) == 151
    assert [(m.step, m.value) for m in history] == [(1, 2.0), (2, 1.5)]
    assert stored.info.status == "FINISHED"
    files = {p.name: p.read_text() for p in (folder / "mlartifacts").rglob("*") if p.is_file()}
    assert files == {"note.txt": "hello"}


def test_a_dataset_is_an_input_that_mlflow_finds_again(
    tmp_path: Path, folder: Path, store: TrackingUri
) -> None:
    run = start_run(store, "huetrack", "first", "")
    tracker = Tracker(run)
    tracker.dataset("here", str(tmp_path), "0123456789abcdef")
    tracker.dataset("there", "s3://bucket/set", "fedcba9876543210")
    inputs = MlflowClient(store.secret).get_run(run.run_id).inputs.dataset_inputs
    found = {i.dataset.name: (i.dataset.digest, i.dataset.source_type) for i in inputs}
    assert found == {
        "here": ("0123456789abcdef", "local"),
        "there": ("fedcba9876543210", "s3"),
    }
    sources = {i.dataset.name: mlflow.data.get_source(i).to_dict()["uri"] for i in inputs}
    assert sources == {"here": str(tmp_path), "there": "s3://bucket/set"}


def test_metrics_of_a_pause_arrive_after_it(
    folder: Path, store: TrackingUri, caplog: pytest.LogCaptureFixture
) -> None:
    run, now_s = start_run(store, "huetrack", "first", ""), [100.0]
    tracker = Tracker(run, clock=lambda: now_s[0])
    client = MlflowClient(store.secret)

    def steps() -> list[int]:
        return [m.step for m in client.get_metric_history(run.run_id, "loss")]

    def slow_failure(_: object) -> None:
        now_s[0] += 10.0
        raise OSError("no answer")

    tracker.metrics({"loss": 1.0}, 1)
    with caplog.at_level(logging.WARNING, logger="huetrack.tracking"):
        tracker.attempt(slow_failure)
        for step in (2, 3):
            now_s[0] += PAUSE_S
            tracker.metrics({"loss": 1.0}, step)
        assert steps() == [1]  # ten seconds of waiting are not risked again so soon
        now_s[0] += 200.0
        tracker.metrics({"loss": 1.0}, 4)
    assert steps() == [1, 2, 3, 4]
    assert [r.getMessage().split(" at ")[1].split(" ", 1)[1] for r in caplog.records] == [
        "failed, going on without: no answer",
        "works again",
    ]


def test_a_run_is_taken_up_again_by_its_id(folder: Path, store: TrackingUri) -> None:
    first = start_run(store, "huetrack", "first", "")
    Tracker(first).finish("KILLED")
    again = start_run(store, "huetrack", "first", first.run_id)
    assert again.run_id == first.run_id
    assert MlflowClient(store.secret).get_run(first.run_id).info.status == "RUNNING"


def test_a_run_that_the_store_does_not_know_is_made_anew(folder: Path, store: TrackingUri) -> None:
    made = start_run(store, "huetrack", "first", "f" * 32)
    assert made.run_id not in ("", "f" * 32)
    assert MlflowClient(store.secret).get_run(made.run_id).info.run_name == "first"
