"""What MLflow hears of the machine."""

import time
from pathlib import Path

import pytest
from mlflow import MlflowClient

from jobs.system_metrics import system_metrics
from jobs.tracking import TrackedRun, start_run
from jobs.tracking_uri import TrackingUri


@pytest.fixture(autouse=True)
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_SYSTEM_METRICS_SAMPLING_INTERVAL", "0.1")


def wait_for_steps(client: MlflowClient, run_id: str, name: str, count: int) -> list[int]:
    deadline_s = time.monotonic() + 200
    while len(found := client.get_metric_history(run_id, name)) < count:
        assert time.monotonic() < deadline_s, f"{len(found)} of {count} values"
        time.sleep(0.1)
    return [metric.step for metric in found]


def test_the_load_of_the_machine_is_logged_and_goes_on_where_it_stopped(tmp_path: Path) -> None:
    uri = TrackingUri(f"sqlite:///{tmp_path / 'mlflow.db'}")
    run = start_run(uri, "huetrack", "first", "")
    client = MlflowClient(uri.secret)
    name = "system/cpu_utilization_percentage"
    for count in (2, 4):
        with system_metrics(run):
            wait_for_steps(client, run.run_id, name, count)
    steps = [metric.step for metric in client.get_metric_history(run.run_id, name)]
    assert steps == list(range(len(steps)))
    with system_metrics(run, "node-1"):
        wait_for_steps(client, run.run_id, "system/node-1/cpu_utilization_percentage", 1)
    logged = client.get_run(run.run_id).data.metrics
    assert 0 <= logged[name] <= 100
    assert logged["system/system_memory_usage_megabytes"] > 0


def test_a_dead_server_or_no_run_stops_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    reached = []
    for run_id in ("abc", ""):
        with system_metrics(TrackedRun(TrackingUri("http://127.0.0.1:9"), run_id)):
            reached.append(run_id)
    assert reached == ["abc", ""]
