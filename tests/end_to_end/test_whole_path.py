"""The commands one after the other, as a user types them, on small real H.264 files.

Each of them runs in a process of its own once. Where only its result matters it runs in this process,
which has imported everything and is connected to Ray.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import torch
import yaml
from mlflow import MlflowClient

from jobs import cli
from pipelines.labels.davis import read_mask, write_mask
from pipelines.scene_layout import SceneConfig
from pipelines.synthetic import write_annotated, write_corpus

SCENE = SceneConfig(height_px=96, width_px=128, duration_s=1.4)
SMALL = [
    *("--model.width", "4", "--model.embedding-channels", "8"),
    *("--batches.batch-size", "4", "--batches.resolution-px", "64", "--probe.every", "0"),
]


def huetrack(*arguments, **environment):
    """Run a command line in its own process; returns its standard output."""
    done = subprocess.run(
        [sys.executable, "-m", "jobs.cli", *map(str, arguments)],
        capture_output=True,
        text=True,
        env={**os.environ, **environment},
        timeout=400,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    return done.stdout


def here(*arguments, expect=0):
    """Run a command line in this process."""
    assert cli.run([*map(str, arguments)]) == expect


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with a corpus, annotated held-out videos, a dataset and a trained run."""
    folder = tmp_path_factory.mktemp("whole")
    write_corpus(folder / "corpus", 10, seed=0, scene=SCENE)
    (folder / "corpus" / "_broken.mp4").write_bytes(b"this is no video")
    write_annotated(folder / "held-out", 2, seed=0, scene=SCENE)
    huetrack(
        "preprocess", folder / "corpus", "--out", folder / "dataset",
        "--shards.videos-per-shard", 4, "--corpus.val-share", 0.2, "--max-error-rate", 0.2,
    )  # fmt: skip
    huetrack(
        "train", folder / "dataset", "--run", folder / "run", *SMALL,
        "--fit.steps", 12, "--fit.log-every", 4, "--fit.validate-every", 6,
        "--fit.checkpoint-every", 6, MLFLOW_SYSTEM_METRICS_SAMPLING_INTERVAL="0.1",
    )  # fmt: skip
    return folder


def test_the_dataset_is_sound_and_names_the_bad_video(place):
    assert "sound (11 videos, 20 clips in 3 shards, 1 failed videos)" in huetrack(
        "validate", place / "dataset"
    )
    errors = pd.read_parquet(place / "dataset" / "errors.parquet")
    assert errors["video_id"].tolist() == ["_broken"]
    assert errors["kind"].tolist() == ["unreadable"]


def test_the_run_holds_what_is_promised(place):
    run = place / "run"
    config = yaml.safe_load((run / "config.yaml").read_text())
    assert config["model"] == {"width": 4, "embedding_channels": 8, "head": "temporal"}
    assert (run / "codebook.json").read_bytes() == (place / "dataset/codebook.json").read_bytes()
    checkpoints = sorted(run.glob("checkpoint_*/checkpoint.pt"))
    state = torch.load(checkpoints[-1], weights_only=True)
    assert state["step"] == 12
    records = [json.loads(line) for line in (run / "history.jsonl").read_text().splitlines()]
    assert [r["step"] for r in records if r["kind"] == "train"] == [4, 8, 12]
    assert [r["step"] for r in records if r["kind"] == "validation"] == [6, 12]


def test_mlflow_has_one_run_with_everything(place):
    client = MlflowClient(f"sqlite:///{place / 'run' / 'mlflow.db'}")
    (experiment,) = [e for e in client.search_experiments() if e.name == "huetrack"]
    (run,) = client.search_runs([experiment.experiment_id])
    assert run.info.status == "FINISHED"
    assert run.data.params["fit.steps"] == "12"
    wanted = {"train/loss", "train/accuracy", "train/images_per_s", "train/learning_rate"}
    wanted |= {"validation/accuracy", "system/cpu_utilization_percentage"}
    assert wanted <= run.data.metrics.keys()
    summary = json.loads((place / "dataset" / "summary.json").read_text())
    assert [i.dataset.digest for i in run.inputs.dataset_inputs] == [summary["manifest"]]
    names = {artifact.path for artifact in client.list_artifacts(run.info.run_id)}
    assert {"config.yaml", "codebook.json", "model.safetensors", "checkpoint"} <= names
    (version,) = client.search_model_versions("name = 'huetrack'")
    assert (version.run_id, version.status) == (run.info.run_id, "READY")


@pytest.mark.parametrize(("protocol", "call"), [("vidcolor", here), ("crw", huetrack)])
def test_masks_are_propagated_scored_and_reported(place, tmp_path, ray_session, protocol, call):
    held_out = place / "held-out"
    outs = {name: tmp_path / name for name in ("identity", "joined")}
    common = ("propagate", held_out / "videos", "--labels", held_out, "--protocol", protocol)
    here(*common, "--model", "identity", "--out", outs["identity"], "--workers", 1)
    call(*common, "--model", f"{place / 'run'}+lab", "--out", outs["joined"])
    for video in ("scene-00000", "scene-00001"):
        truth = sorted((held_out / "masks" / video).glob("*.png"))
        written = sorted((outs["joined"] / "masks" / video).glob("*.png"))
        assert [p.name for p in written] == [p.name for p in truth]
        assert written[0].read_bytes() == truth[0].read_bytes()
        ids = set(np.unique(read_mask(truth[0])))
        assert all(set(np.unique(read_mask(p))) <= ids for p in written)
        assert (outs["joined"] / "overlays" / f"{video}.mp4").stat().st_size > 1000
    scores = tmp_path / "scores.json"
    call("evaluate", "masks", "--truth", held_out, "--pred", outs["joined"], "--json", scores)
    numbers = json.loads(scores.read_text())
    assert 0.2 < numbers["global"]["J&F-Mean"] <= 1
    call(
        "report", outs["joined"], "--truth", held_out, "--run", place / "run",
        "--compare", outs["identity"], "--pictures", 1,
    )  # fmt: skip
    page = (outs["joined"] / "report" / "summary.html").read_text()
    assert "scene-00001" in page
    gallery = (outs["joined"] / "report" / "index.html").read_text()
    assert "summary.html" in gallery
    assert f"{numbers['global']['J&F-Mean']:.3f}" in page


def test_a_rerun_of_a_propagation_labels_only_what_is_missing(place, tmp_path, ray_session, capsys):
    held_out = place / "held-out"
    command = (
        "propagate", held_out / "videos", "--labels", held_out, "--model", "lab",
        "--out", tmp_path / "out", "--workers", 1,
    )  # fmt: skip
    here(*command)
    masks = tmp_path / "out" / "masks"
    before = {p: p.read_bytes() for p in masks.rglob("*.png")}
    kept = (masks / "scene-00000" / "00003.png").stat().st_mtime_ns
    for file in (masks / "scene-00001").iterdir():
        file.unlink()
    (masks / "scene-00001").rmdir()
    here(*command)
    assert json.loads((tmp_path / "out" / "summary.json").read_text())["videos_made"] == 1
    assert {p: p.read_bytes() for p in masks.rglob("*.png")} == before
    assert (masks / "scene-00000" / "00003.png").stat().st_mtime_ns == kept
    here(*command, "--protocol", "vidcolor", expect=2)
    assert "made with another protocol" in capsys.readouterr().err


def test_a_mask_of_another_size_is_named(place, tmp_path, ray_session, capsys):
    mask = read_mask(place / "held-out" / "masks" / "scene-00000" / "00000.png")
    write_mask(tmp_path / "labels" / "masks" / "scene-00000" / "00000.png", mask[:-8])
    here(
        "propagate", place / "held-out" / "videos", "--labels", tmp_path / "labels",
        "--model", "lab", "--out", tmp_path / "out", expect=1,
    )  # fmt: skip
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("huetrack:")]
    assert len(lines) == 2  # the other video has no label
    assert "scene-00000/00000.png: the mask is 128x88 px, its frame 128x96 px" in lines[0]


def history_of(run: Path):
    path = run / "history.jsonl"
    lines = path.read_text().split("\n")[:-1] if path.exists() else []
    return [json.loads(line) for line in lines]


def test_validation_videos_are_not_trained_on(place):
    manifest = pq.read_table(place / "dataset" / "manifest.parquet").to_pandas()
    assert set(manifest["split"]) == {"train", "val"}
    history = [r for r in history_of(place / "run") if r["kind"] == "validation"]
    held_out = set(manifest.query("split == 'val'")["video_id"])
    clips = pd.concat(
        pd.read_parquet(p, columns=["video_id"])
        for p in (place / "dataset" / "clips").glob("*.parquet")
    )
    assert history[-1]["clips"] == clips["video_id"].isin(held_out).sum()
