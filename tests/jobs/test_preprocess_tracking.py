"""What MLflow holds of a preprocessing job."""

import json
from pathlib import Path

import pytest
from mlflow import MlflowClient

from jobs.cli import run
from jobs.preprocess_tracking import TrackedPreprocess
from jobs.tracking_uri import TrackingUri
from pipelines.progress import Throughput
from pipelines.validate import validate_dataset
from tests.conftest import MakeVideo


@pytest.fixture
def videos(tmp_path: Path, make_video: MakeVideo) -> Path:
    """Three good videos and a corrupt one."""
    for seed in range(3):
        make_video(tmp_path / "videos" / f"{seed}.mp4", frames=20, seed=seed)
    (tmp_path / "videos" / "corrupt.mp4").write_bytes(b"no video" * 20)
    return tmp_path / "videos"


def arguments(videos: Path, out: Path) -> list[str]:
    quick = ["--decode.size-px", "64", "--codebook.pixels", "1000", "--workers", "1"]
    return ["preprocess", str(videos), "--out", str(out), "--max-error-rate", "0.9", *quick]


@pytest.mark.usefixtures("ray_session")
def test_a_job_is_one_run_with_settings_pace_totals_and_files(
    tmp_path: Path, videos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, uri = tmp_path / "dataset", f"sqlite:///{tmp_path / 'tracking.db'}"
    command = [*arguments(videos, out), "--tracking-uri", uri, "--shards.videos-per-shard", "2"]
    assert run(command) == 0
    assert "tracking" in capsys.readouterr().out
    client = MlflowClient(uri)
    experiment = client.get_experiment_by_name("huetrack-preprocess")
    assert experiment is not None
    (tracked,) = client.search_runs([experiment.experiment_id])
    assert (tracked.info.run_name, tracked.info.status) == ("dataset", "FINISHED")
    assert tracked.data.params["decode.size_px"] == "64"
    summary = json.loads((out / "summary.json").read_text())
    metrics = tracked.data.metrics
    for name in ("videos", "videos_failed", "shards", "clips", "frames", "bytes"):
        assert metrics[f"dataset/{name}"] == summary[name]
    assert metrics["dataset/errors/unreadable"] == 1
    assert (metrics["shards/videos_done"], metrics["shards/errors"]) == (4, 1)
    assert metrics["shards/bytes"] == summary["bytes"]
    pace = client.get_metric_history(tracked.info.run_id, "shards/frames_per_s")
    assert (pace[0].step, pace[-1].step) == (0, 2)
    assert pace[-1].value > 0
    for name in ("codebook.json", "summary.json"):
        local = client.download_artifacts(tracked.info.run_id, name, str(tmp_path))
        assert Path(local).read_bytes() == (out / name).read_bytes()
    assert validate_dataset(out).problems == []

    assert run([*command, "--decode.fps-hz", "3"]) == 2
    statuses = {r.info.status for r in client.search_runs([experiment.experiment_id])}
    assert statuses == {"FINISHED", "FAILED"}


@pytest.mark.usefixtures("ray_session")
def test_a_dead_server_stops_nothing(
    tmp_path: Path, videos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    assert run(arguments(videos, tmp_path / "dataset")) == 0
    assert validate_dataset(tmp_path / "dataset").problems == []


def test_the_pace_is_logged_every_five_seconds(tmp_path: Path) -> None:
    uri, now_s = TrackingUri(f"sqlite:///{tmp_path / 'tracking.db'}"), [0.0]
    with TrackedPreprocess(uri, "e", tmp_path, {}, clock=lambda: now_s[0]) as tracked:
        for shard in range(1, 13):
            now_s[0] = 2.0 * shard
            tracked("codebook", shard, 12, "videos sampled")
            tracked("shards", shard, 12, Throughput(videos=shard, seconds=2.0 * shard))
    client = MlflowClient(uri.secret)
    experiment = client.get_experiment_by_name("e")
    assert experiment is not None
    (logged,) = client.search_runs([experiment.experiment_id])
    history = client.get_metric_history(logged.info.run_id, "shards/videos_done")
    assert [m.step for m in history] == [1, 4, 7, 10, 12]


def test_nothing_is_tracked_unless_a_server_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.chdir(tmp_path)
    with TrackedPreprocess(None, "e", tmp_path, {"a": 1}) as tracked:
        tracked("shards", 1, 1, Throughput(videos=1, seconds=1.0))
        assert tracked.describe() == ""
    assert list(tmp_path.iterdir()) == []
