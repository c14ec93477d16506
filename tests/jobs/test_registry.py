"""What is registered, and what is refused."""

from importlib.metadata import version
from pathlib import Path

import pytest
import torch
import yaml
from mlflow import MlflowClient
from mlflow.models import Model

from jobs.cli import run as huetrack
from jobs.registry import register_again, register_tracker
from jobs.tracking import TrackedRun, Tracker, start_run
from jobs.tracking_uri import TrackingUri
from model.colorizer import Colorizer, ColorizerConfig, save_colorizer
from model.propagation.encoders import Mix
from pipelines.mix import load_mix, save_mix


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    path = tmp_path / "model.safetensors"
    save_colorizer(Colorizer(ColorizerConfig(width=4, embedding_channels=8)), path)
    return path


def test_every_training_is_a_version_without_pickles(
    tmp_path: Path, weights: Path, recwarn: pytest.WarningsRecorder
) -> None:
    uri = TrackingUri(f"sqlite:///{tmp_path / 'mlflow.db'}")
    run = start_run(uri, "huetrack", "first", "")
    record = {"tracking_uri": str(uri), "mlflow_run_id": run.run_id}
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(record))
    assert register_tracker(Tracker(run), weights, "my tracker") == "models:/my tracker/1"
    save_mix(tmp_path, Mix(0.4, 160.0))
    assert register_again(tmp_path, "my tracker") == "models:/my tracker/2"
    client = MlflowClient(uri.secret)
    versions = client.search_model_versions()
    assert [(v.name, v.run_id, v.status) for v in versions] == [
        ("my tracker", run.run_id, "READY")
    ] * 2
    logged = client.get_run(run.run_id).outputs.model_outputs
    assert len({m.model_id for m in logged}) == 2

    folders = [
        Path(client.get_model_version_download_uri("my tracker", number).removeprefix("file://"))
        for number in ("1", "2")
    ]
    assert [load_mix(folder / "artifacts" / weights.name) for folder in folders] == [
        Mix(),
        Mix(0.4, 160.0),
    ]
    folder = folders[0]
    files = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    assert {"registered_tracker.py", "artifacts/model.safetensors"} <= files
    assert {"code/model/colorizer.py", "input_example.json"} <= files
    kinds = {Path(name).suffix for name in files}
    assert kinds == {"", ".py", ".safetensors", ".json", ".yaml", ".txt"}
    requirements = (folder / "requirements.txt").read_text().split()
    assert f"safetensors=={version('safetensors')}" in requirements
    assert all("+" not in requirement for requirement in requirements)
    model = Model.load(str(folder))
    assert model.run_id == run.run_id
    assert model.model_id in {m.model_id for m in logged}
    assert [spec.name for spec in model.signature.inputs] == ["frames", "first_mask"]
    assert [str(w.message) for w in recwarn if "hint" in str(w.message)] == []


def test_a_dead_server_gives_no_address(weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    tracker = Tracker(TrackedRun(TrackingUri("http://127.0.0.1:9"), "abc"))
    assert register_tracker(tracker, weights, "huetrack") == ""


@pytest.mark.parametrize("name", ["a/b", "a:1", " a"])
def test_names_that_the_registry_refuses_are_refused_at_once(
    name: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    run = ["train", "no-dataset", "--run", str(tmp_path / "run"), "--register", name]
    assert huetrack(run) == 2
    assert "--register" in capsys.readouterr().err
