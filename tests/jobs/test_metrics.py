"""Our figures as Prometheus would read them from a node's metrics port, and who sets them."""

import contextlib
import re
import time
import urllib.request
from pathlib import Path

import numpy as np
import pytest
import ray

from jobs import propagate
from jobs.cli import run
from jobs.metrics import FIGURES, TRAINER_WAIT, TrainingFigures, WorkFigures
from model.fit import TrainRecord
from pipelines.labels.davis import write_mask
from pipelines.progress import Remark, Throughput
from tests.conftest import MakeVideo

pytestmark = pytest.mark.usefixtures("ray_session")


def figures(output: str, kinds: int) -> dict[str, float]:
    """What the node exports of a run, as soon as that are so many: Ray collects every few seconds."""
    (node,) = (node for node in ray.nodes() if node["Alive"])  # others were of other tests
    url = f"http://{node['NodeManagerAddress']}:{node['MetricsExportPort']}/metrics"
    deadline_s = time.monotonic() + 200
    while True:
        text = ""
        with (
            contextlib.suppress(OSError),  # a node that is busy answers another time
            urllib.request.urlopen(url, timeout=60) as answer,
        ):
            text = answer.read().decode()
        found = {}
        for name, labels, value in re.findall(r"^(ray_huetrack_\w+)\{(.*)\} (\S+)$", text, re.M):
            kind = re.search(r'kind="(\w+)"', labels)
            if f'output="{output}"' in labels:
                found[f"{name} {kind[1]}" if kind else name] = float(value)
        if len(found) >= kinds:
            return found
        assert time.monotonic() < deadline_s, found
        time.sleep(0.5)


def test_every_figure_is_exported_under_its_name() -> None:
    work, training = WorkFigures("figures"), TrainingFigures("figures")
    work("propagate", 0, 3, Throughput())
    work("propagate", 1, 3, Throughput(1, 1, 0, kinds={"unusable": 1}, seconds=1.0))
    done = Throughput(3, 2, 50, kinds={"unusable": 1, "storage": 1}, seconds=2.0)
    work("propagate", 3, 3, done)
    work("propagate", 3, 3, done)
    work("manifest", 3, 3, "3 videos")
    training(TrainRecord(7, 0, 1.0, 0.5, 0.5, 1e-3, 120.0, 0.25))
    found = figures("figures", len(FIGURES) + 1)
    assert {name.split()[0] for name in found} == {figure.exported for figure in FIGURES}
    assert found == {
        "ray_huetrack_videos_total": 3.0,
        "ray_huetrack_frames_total": 50.0,
        "ray_huetrack_errors_total unusable": 1.0,
        "ray_huetrack_errors_total storage": 1.0,
        "ray_huetrack_propagation_fps": 25.0,
        TRAINER_WAIT.exported: 0.25,
        "ray_huetrack_train_images_per_s": 120.0,
        "ray_huetrack_train_step": 7.0,
    }


def test_propagation_counts_its_videos(
    tmp_path: Path, make_video: MakeVideo, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[Remark] = []

    class Recorder:
        def __init__(self, output: str) -> None:
            assert output == "out"

        def __call__(self, stage: str, done: int, total: int, remark: Remark = "") -> None:
            told.append(remark)

    monkeypatch.setattr(propagate, "WorkFigures", Recorder)
    make_video(tmp_path / "videos" / "a.mp4", frames=4)
    (tmp_path / "videos" / "b.mp4").write_bytes(b"no video")
    for name in ("a", "b"):
        write_mask(tmp_path / "masks" / name / "00000.png", np.ones((48, 64), np.uint8))
    command = ["propagate", str(tmp_path / "videos"), "--labels", str(tmp_path / "masks")]
    command += ["--out", str(tmp_path / "out"), "--model", "identity", "--workers", "1"]
    assert run([*command, "--no-overlays", "--max-error-rate", "1"]) == 0
    last = told[-1]
    assert isinstance(last, Throughput)
    assert (last.videos, last.errors, last.frames) == (2, 1, 4)
    assert sum(last.kinds.values()) == 1
