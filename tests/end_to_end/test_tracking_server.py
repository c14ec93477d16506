"""Training against a real `mlflow server`: what is there afterwards, who can use it, and its death."""

import os
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from mlflow import MlflowClient

from benchmarks.ports import free_ports
from jobs.cli import run
from jobs.registry import register_again
from model.propagation.encoders import Mix
from pipelines.footage import find_footage
from pipelines.labels.davis import read_mask, write_mask
from pipelines.mix import save_mix
from pipelines.run_folder import read_history
from pipelines.storage import read_json
from tests.conftest import MakeVideo

pytestmark = pytest.mark.usefixtures("ray_session")
PASSWORD = "a-pass-word"
STRANGER = """
import sys
import mlflow, numpy as np

uri, given, out = sys.argv[1:]
mlflow.set_tracking_uri(uri)
tracker = mlflow.pyfunc.load_model("models:/huetrack/2")
video = dict(np.load(given))
plain = tracker.predict(video)
joined = tracker.predict(video, params={"lab": True, "settings": "top_k=5"})
np.savez(out, plain=plain["masks"], joined=joined["masks"], confidence=joined["confidence"])
print(sorted({name.partition(".")[0] for name in sys.modules} & {"jobs", "pipelines", "ray"}))
print(sys.modules["model"].__file__)
"""


@dataclass
class Server:
    """A tracking server in its own process group."""

    process: subprocess.Popen[bytes]
    port: int

    @property
    def uri(self) -> str:
        """With credentials, which this server does not look at."""
        return f"http://somebody:{PASSWORD}@127.0.0.1:{self.port}"

    def kill(self) -> None:
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("server")
    (port,) = free_ports(1)
    command = [sys.executable, "-m", "mlflow", "server", "--workers", "1"]
    command += ["--host", "127.0.0.1", "--port", str(port)]
    command += ["--backend-store-uri", f"sqlite:///{folder}/store.db"]
    command += ["--artifacts-destination", str(folder / "artifacts")]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
    started = Server(process, port)
    deadline_s = time.monotonic() + 300
    while True:
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=30).close()
            break
        except OSError:
            assert process.poll() is None, (folder / "log").read_text()
            assert time.monotonic() < deadline_s, (folder / "log").read_text()
            time.sleep(0.2)
    yield started
    started.kill()


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory, make_video: MakeVideo) -> Path:
    folder = tmp_path_factory.mktemp("corpus")
    for seed in range(3):
        make_video(folder / "videos" / f"{seed}.mp4", frames=24, seed=seed)
    size = ["--decode.size-px", "64", "--codebook.pixels", "1000", "--workers", "1"]
    assert run(["preprocess", str(folder / "videos"), "--out", str(folder / "set"), *size]) == 0
    return folder / "set"


def training(dataset: Path, folder: Path, server: Server, steps: int) -> list[str]:
    command = ["train", str(dataset), "--run", str(folder), "--tracking-uri", server.uri]
    command += ["--model.width", "4", "--model.embedding-channels", "8", "--model.head", "linear"]
    command += ["--batches.batch-size", "2", "--batches.resolution-px", "64"]
    command += ["--fit.log-every", "1", "--fit.checkpoint-every", "100", "--fit.validate-every"]
    return [*command, "100", "--fit.steps", str(steps), "--probe.every", "0"]


def files_with(text: str, folder: Path) -> list[Path]:
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert files
    return [path for path in files if text.encode() in path.read_bytes()]


def test_a_stranger_tracks_with_the_registered_model_as_propagate_does(
    server: Server,
    dataset: Path,
    tmp_path: Path,
    tmp_path_factory: pytest.TempPathFactory,
    make_video: MakeVideo,
    capfd: pytest.CaptureFixture[str],
) -> None:
    folder = tmp_path / "run"
    assert run(training(dataset, folder, server, steps=4)) == 0
    printed = capfd.readouterr()
    assert "models:/huetrack/1" in printed.out
    assert PASSWORD not in printed.out + printed.err
    assert files_with(PASSWORD, tmp_path) == []
    assert files_with(PASSWORD, tmp_path_factory.getbasetemp() / "server0") == []

    client = MlflowClient(server.uri)
    experiment = client.get_experiment_by_name("huetrack")
    assert experiment is not None
    (tracked,) = client.search_runs([experiment.experiment_id])
    assert tracked.info.status == "FINISHED"
    assert tracked.data.params["tracking_uri"] == f"http://127.0.0.1:{server.port}"
    steps = [m.step for m in client.get_metric_history(tracked.info.run_id, "train/loss")]
    assert steps == [1, 2, 3, 4]
    (given,) = tracked.inputs.dataset_inputs
    assert given.dataset.digest == read_json(dataset / "summary.json")["manifest"]
    names = {artifact.path for artifact in client.list_artifacts(tracked.info.run_id)}
    assert {"config.yaml", "codebook.json", "model.safetensors", "checkpoint"} <= names

    save_mix(folder, Mix(0.4, 160.0))
    assert register_again(folder, "huetrack") == "models:/huetrack/2"
    make_video(tmp_path / "videos" / "v.mp4", frames=5)
    frames = np.stack([frame for _, frame in find_footage(tmp_path / "videos")[0].frames()])
    mask = np.zeros((48, 64), np.uint8)
    mask[8:32, 8:32], mask[8:40, 40:56] = 1, 7
    write_mask(tmp_path / "labels" / "masks" / "v" / "00000.png", mask)
    np.savez(tmp_path / "given.npz", frames=frames, first_mask=mask)
    # A process that is not in the repository. `model` is installed for these tests, but what is asked
    # below is that the copy beside the weights was used.
    stranger = subprocess.run(
        [sys.executable, "-c", STRANGER, server.uri, "given.npz", "out.npz"],
        cwd=tmp_path,
        env={name: value for name, value in os.environ.items() if name != "PYTHONPATH"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert stranger.returncode == 0, stranger.stderr
    assert "Warning" not in stranger.stderr
    loaded, model_file = stranger.stdout.splitlines()[-2:]
    assert loaded == "[]"
    assert model_file.endswith("/code/model/__init__.py")
    found = np.load(tmp_path / "out.npz")
    for name, model in [
        ("plain", [str(folder)]),
        ("joined", [f"{folder}+lab", "--set", "top_k=5"]),
    ]:
        out = tmp_path / name
        command = ["propagate", str(tmp_path / "videos"), "--labels", str(tmp_path / "labels")]
        command += ["--out", str(out), "--workers", "1", "--no-overlays", "--model", *model]
        assert run(command) == 0
        written = [read_mask(path) for path in sorted((out / "masks" / "v").glob("*.png"))]
        assert (np.stack(written) == found[name]).all()
    assert set(np.unique(found["joined"][-1])) == {0, 1, 7}
    assert found["confidence"].shape == (5, 3)


def test_training_outlives_the_server(
    server: Server,
    dataset: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The last of this file: nobody starts the server again."""
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    folder, steps = tmp_path / "run", 150

    def kill_in_the_middle() -> None:
        while len(read_history(folder)) < 3:
            time.sleep(0.05)
        server.kill()
        killed_at.append(len(read_history(folder)))

    killed_at: list[int] = []
    killer = threading.Thread(target=kill_in_the_middle, daemon=True)
    killer.start()
    assert run(training(dataset, folder, server, steps)) == 0
    killer.join()
    assert killed_at[0] < steps
    trained = [r["step"] for r in read_history(folder) if r["kind"] == "train"]
    assert trained == list(range(1, steps + 1))
    assert (folder / "model.safetensors").stat().st_size > 0
    warnings = [r.getMessage() for r in caplog.records if r.name == "huetrack.tracking"]
    assert len(warnings) == 1
    assert "failed, going on without" in warnings[0]
    printed = capfd.readouterr()
    assert "models:/" not in printed.out
    assert PASSWORD not in printed.out + printed.err + caplog.text
    assert files_with(PASSWORD, tmp_path) == []
