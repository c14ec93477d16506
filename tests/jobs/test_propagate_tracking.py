"""`huetrack propagate` as a command: its options, and what MLflow holds of it."""

import json
import re
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from mlflow import MlflowClient

from jobs.cli import run
from model.confidence.scorer import ConfidenceModel
from pipelines.labels.davis import write_mask
from tests.conftest import MakeVideo


@pytest.fixture
def command(tmp_path: Path, make_video: MakeVideo) -> list[str]:
    """A good video and a corrupt one."""
    mask = np.zeros((48, 64), np.uint8)
    mask[10:30, 10:30] = 1
    make_video(tmp_path / "videos" / "a.mp4", frames=4)
    (tmp_path / "videos" / "corrupt.mp4").write_bytes(b"no video" * 20)
    for name in ("a", "corrupt"):
        write_mask(tmp_path / "masks" / name / "00000.png", mask)
    places = [str(tmp_path / name) for name in ("videos", "masks", "out")]
    common = ["--model", "lab", "--workers", "1", "--max-error-rate", "0.9", "--no-overlays"]
    return ["propagate", places[0], "--labels", places[1], "--out", places[2], *common]


@pytest.mark.usefixtures("ray_session")
def test_a_job_is_one_run_with_options_pace_totals_and_the_summary(
    tmp_path: Path, command: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    uri = f"sqlite:///{tmp_path / 'tracking.db'}"
    assert run([*command, "--tracking-uri", uri]) == 0
    shown = capsys.readouterr().out
    assert "mean confidence" in shown and "unreadable 1" in shown and "tracking" in shown
    client = MlflowClient(uri)
    experiment = client.get_experiment_by_name("huetrack-propagate")
    assert experiment is not None
    (tracked,) = client.search_runs([experiment.experiment_id])
    assert (tracked.info.run_name, tracked.info.status) == ("out", "FINISHED")
    assert (tracked.data.params["model"], tracked.data.params["protocol"]) == ("lab", "crw")
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    metrics = tracked.data.metrics
    for name in ("videos", "videos_failed", "frames_made", "mean_confidence", "share_flagged"):
        assert metrics[f"archive/{name}"] == pytest.approx(summary[name])
    assert metrics["archive/errors/unreadable"] == 1
    assert (metrics["propagate/videos_done"], metrics["propagate/errors"]) == (2, 1)
    local = client.download_artifacts(tracked.info.run_id, "summary.json", str(tmp_path))
    assert json.loads(Path(local).read_text()) == summary
    rows = pq.read_table(tmp_path / "out" / "predictions" / "a.parquet").to_pylist()
    predicted = [row["confidence"] for row in rows if not row["anchor"]]
    assert summary["mean_confidence"] == pytest.approx(np.mean(predicted))

    # Nothing is left to be done, and a server that is away is no reason to fail.
    assert run([*command, "--tracking-uri", f"sqlite:///{tmp_path}/no/such/tracking.db"]) == 0
    again = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert (again["videos_made"], again["videos_failed"]) == (0, 1)
    assert again["mean_confidence"] == summary["mean_confidence"]
    assert run([*command, "--no-confidence"]) == 2
    assert re.search(r"made with another confidence \(model \w+ -> None\)", capsys.readouterr().err)
    own = tmp_path / "own.json"
    own.write_text(ConfidenceModel((), intercept=0.0, absent=0.25).to_json())
    assert run([*command, "--confidence-model", str(own)]) == 2
    assert "made with another confidence (model " in capsys.readouterr().err
    assert run([*command, "--confidence-model", str(own), "--overwrite"]) == 0
    rows = pq.read_table(tmp_path / "out" / "predictions" / "a.parquet").to_pylist()
    assert {row["confidence"] for row in rows if not row["anchor"]} <= {0.5, 0.25}


def test_flags_that_do_not_go_together(
    command: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run([*command, "--corrections-format", "cvat"]) == 2
    assert "--corrections-format needs --corrections" in capsys.readouterr().err
    assert run([*command, "--no-confidence", "--confidence-model", "own.json"]) == 2
    assert "exclude each other" in capsys.readouterr().err
