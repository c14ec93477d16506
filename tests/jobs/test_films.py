"""`huetrack colorize` and `huetrack embed`, as they are called."""

from pathlib import Path

import pytest
import torch

from jobs.cli import run
from model.colorizer import Colorizer, ColorizerConfig, save_colorizer
from pipelines.video import read_frames
from tests.conftest import MakeVideo

COMMANDS = ("colorize", "embed")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, make_video: MakeVideo) -> Path:
    """A video of six frames and a run."""
    folder = tmp_path_factory.mktemp("films")
    make_video(folder / "v.mp4", frames=6, size_hw=(48, 80))
    (folder / "run").mkdir()
    torch.manual_seed(0)
    colorizer = Colorizer(ColorizerConfig(width=4, embedding_channels=8))
    save_colorizer(colorizer, folder / "run" / "model.safetensors")
    return folder


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize(
    ("model", "protocol"),
    [("{}/run", "vidcolor"), ("{}/run+lab", "vidcolor"), ("lab", "crw"), ("timm:test_vit", "crw")],
)
def test_every_kind_of_model_makes_a_film(
    place: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    command: str,
    model: str,
    protocol: str,
) -> None:
    out = tmp_path / "film.mp4"
    arguments = [command, str(place / "v.mp4"), "--model", model.format(place), "--out", str(out)]
    arguments += ["--weights", "random"] if model.startswith("timm") else []
    assert run(arguments) == 0
    assert protocol in capsys.readouterr().out
    frames = [frame for _, frame in read_frames(out)]
    assert len(frames) == 6
    assert frames[0].shape[1] == 160


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"--model": "identity"}, "identity has no features"),
        ({"--model": "timm:nothing_like_it"}, "no such model"),
        ({"--model": "lab", "--weights": "random"}, "--weights random belongs to"),
        ({"--model": "torchvision:resnet18", "--weights": "gone.pth"}, "gone.pth"),
        ({"--protocol": "nothing"}, "Choose from"),
        ({"--out": "film.avi"}, "ends in .mp4"),
        ({"--height-px": "0"}, "0 px"),
        (
            {"--model": "timm:test_vit", "--weights": "random", "--set": "frame_size_px=50x50"},
            "50x50",
        ),
    ],
)
def test_bad_usage_is_one_line(
    place: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    command: str,
    changed: dict[str, str],
    named: str,
) -> None:
    options = {"--model": "lab", "--out": str(tmp_path / "film.mp4")} | changed
    flags = [part for pair in options.items() for part in pair]
    assert run([command, str(place / "v.mp4"), *flags]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert named in line
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("command", COMMANDS)
def test_help_has_an_example(capsys: pytest.CaptureFixture[str], command: str) -> None:
    assert run([command, "--help"]) == 0
    text = capsys.readouterr().out
    assert f"huetrack {command} clip.mp4" in text
    assert "--height-px" in text
