"""`huetrack demo`, very small: everything happens, though too little is trained to prove anything."""

import json
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from jobs.cli import run
from jobs.demo import tiles
from pipelines.labels.davis import read_mask
from pipelines.scene_layout import SceneConfig
from pipelines.synthetic import write_annotated, write_corpus

NUMBERS = {"J&F-Mean", "J-Mean", "J-Recall", "J-Decay", "F-Mean", "F-Recall", "F-Decay"}


SCENE = SceneConfig(height_px=64, width_px=96, fps_hz=12, duration_s=2.1)
"""Small; that of the demo itself takes a minute to render and to carry masks through."""


@pytest.fixture(autouse=True)
def one_store_of_mlflow(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Making one takes longer than what these tests train."""
    store = tmp_path_factory.getbasetemp() / "demo-mlflow.db"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{store}")


@pytest.mark.usefixtures("ray_session")
def test_it_renders_trains_scores_and_reports(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for render in (write_corpus, write_annotated):
        monkeypatch.setattr(f"jobs.demo.{render.__name__}", partial(render, scene=SCENE))
    out = tmp_path / "demo"
    assert (
        run(["demo", "--out", str(out), "--videos", "12", "--held-out", "1", "--steps", "2"]) == 0
    )
    summary = json.loads((out / "summary.json").read_text())
    assert summary["protocol"] == "crw"
    for name in ("identity", "untrained", "trained"):
        assert summary[name].keys() >= NUMBERS
        assert summary[name]["global"].keys() >= NUMBERS
        assert summary[name]["global"]["J&F-Mean"] == summary[name]["J&F-Mean"]
        objects = summary[name]["per_object"]
        assert objects
        assert all(key.startswith("scene-00000_") for key in objects)
        assert all(entry.keys() >= {"J-Mean", "F-Mean"} for entry in objects.values())
    page = (out / "trained" / "report" / "summary.html").read_text()
    assert "untrained" in page
    printed = capsys.readouterr().out
    assert "protocol crw" in printed
    assert f"{summary['identity']['J&F-Mean']:.3f}" in printed


@pytest.mark.usefixtures("ray_session")
def test_own_clips_are_trained_on_and_tiles_carried(tmp_path: Path) -> None:
    clips = tmp_path / "clips"
    write_corpus(clips, 12, seed=1, scene=SCENE)
    before = sorted(path.name for path in clips.iterdir())
    out = tmp_path / "demo"
    assert run(["demo", "--out", str(out), "--data", str(clips), "--steps", "2"]) == 0
    assert sorted(path.name for path in clips.iterdir()) == before
    (video,) = (out / "trained" / "masks").iterdir()
    masks = sorted(video.glob("*.png"))
    assert len(masks) == 25
    assert (read_mask(masks[0]) == tiles(64, 96)).all()
    assert (out / "trained" / "report" / "index.html").is_file()


def test_another_folder_is_not_removed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "mine.txt").write_text("keep")
    assert run(["demo", "--out", str(tmp_path)]) == 2
    assert "holds no earlier demo" in capsys.readouterr().err
    assert (tmp_path / "mine.txt").read_text() == "keep"


def test_tiles_are_numbered_and_apart() -> None:
    mask = tiles(90, 160)
    assert np.unique(mask).tolist() == list(range(13))
    inside = np.pad(mask, 1)
    for dy, dx in ((0, 1), (1, 0)):
        here, there = inside[: inside.shape[0] - dy, : inside.shape[1] - dx], inside[dy:, dx:]
        assert not ((here > 0) & (there > 0) & (here != there)).any()
