"""Settings without sense, and run folders that are none or damaged: one line, and the exit status 2."""

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import pytest
import yaml

from jobs.cli import run
from model.colorizer import Colorizer, ColorizerConfig, save_colorizer
from pipelines.codebook import Codebook, save_codebook
from pipelines.storage import fingerprint

SPACE, CENTROIDS = "CIE Lab, D65", ((1.0, 2.0), (3.0, -4.0))
SHAPE = ColorizerConfig(width=2, embedding_channels=3, head="linear")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The run folder of a finished training."""
    folder = tmp_path / "run"
    folder.mkdir()
    for name in ("model.safetensors", "best.safetensors"):
        save_colorizer(Colorizer(SHAPE), folder / name)
    digest = fingerprint({"space": SPACE, "centroids": CENTROIDS})
    save_codebook(Codebook(SPACE, CENTROIDS, 10, 2, 0, 0.5, digest), folder / "codebook.json")
    (folder / "config.yaml").write_text(yaml.safe_dump({"model": asdict(SHAPE)}))
    record = {"kind": "train", "step": 1, "loss": 2.5}
    (folder / "history.jsonl").write_text(2 * (json.dumps(record) + "\n"))
    return folder


@pytest.fixture
def complaint(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Of a command that is refused: the one line, with `.` for the folder of the test."""

    def refused(*arguments: object) -> str:
        assert run([str(argument) for argument in arguments]) == 2
        line, end, rest = capsys.readouterr().err.partition("\n")
        assert (end, rest) == ("\n", "")
        return line.replace(str(tmp_path), ".")

    return refused


@pytest.mark.parametrize(
    ("flag", "value", "cause"),
    [
        ("batches.resolution-px", "0", "batches.resolution_px must be a multiple of 8, not 0"),
        ("batches.resolution-px", "-8", "batches.resolution_px must be a multiple of 8, not -8"),
        ("batches.resolution-px", "4", "batches.resolution_px must be a multiple of 8, not 4"),
        ("fit.learning-rate", "-1", "learning_rate must be finite and above 0, not -1.0"),
        ("fit.learning-rate", "nan", "learning_rate must be finite and above 0, not nan"),
        ("fit.learning-rate", "inf", "learning_rate must be finite and above 0, not inf"),
        ("fit.learning-rate", "0", "learning_rate must be finite and above 0, not 0.0"),
        ("fit.clip-grad-norm", "-1", "clip_grad_norm must be above 0, not -1.0"),
        ("fit.clip-grad-norm", "0", "clip_grad_norm must be above 0, not 0.0"),
        ("fit.clip-grad-norm", "nan", "clip_grad_norm must be above 0, not nan"),
        ("fit.lr-drop-factor", "-1", "lr_drop_factor must lie in 0..1, without 0, not -1.0"),
        ("seed", "-1", "--seed must lie in 0..2^63-1, not -1"),
    ],
)
def test_a_setting_without_sense(
    tmp_path: Path, complaint: Callable[..., str], flag: str, value: str, cause: str
) -> None:
    train = ("train", tmp_path / "dataset", "--run", tmp_path / "new")
    assert complaint(*train, f"--{flag}={value}") == f"huetrack: {cause}"


def test_going_on_and_beginning_anew_exclude_each_other(
    tmp_path: Path, folder: Path, complaint: Callable[..., str]
) -> None:
    line = complaint("train", tmp_path / "set", "--run", folder, "--resume", "--overwrite")
    assert line == "huetrack: --resume and --overwrite exclude each other"


@pytest.mark.parametrize(
    ("command", "cause"),
    [
        (
            "export run/best.safetensors --out out.safetensors",
            "is a file, not a run folder (try ./run)",
        ),
        ("mix set --run run/model.safetensors", "is a file, not a run folder (try ./run)"),
        ("temperature set --run run/model.safetensors", "is a file, not a run folder (try ./run)"),
        ("train set --run run/model.safetensors", "is not a folder"),
        ("train set --run run/model.safetensors --resume", "is not a folder"),
        ("mix set --run gone", "holds no codebook.json (is it a run folder?)"),
    ],
)
def test_a_run_that_is_no_folder(
    tmp_path: Path,
    folder: Path,
    complaint: Callable[..., str],
    command: str,
    cause: str,
) -> None:
    places = ("run", "gone", "set", "out")
    words = [f"{tmp_path}/{w}" if w.startswith(places) else w for w in command.split()]
    named = next(w for w in command.split() if w.startswith(("run", "gone")))
    assert complaint(*words) == f"huetrack: ./{named}: {cause}"


@pytest.mark.parametrize(
    ("content", "cause"),
    [
        (b"", "not the configuration of a run"),
        (b"- 1", "not the configuration of a run"),
        (b"a: [1", "not YAML (while parsing a flow sequence"),
        (b"\xff\xfe\x00", "not YAML ('utf-8' codec can't decode"),
    ],
)
def test_a_damaged_configuration(
    tmp_path: Path, folder: Path, complaint: Callable[..., str], content: bytes, cause: str
) -> None:
    (folder / "config.yaml").write_bytes(content)
    resumed = complaint("train", tmp_path / "set", "--run", folder, "--resume")
    exported = complaint("export", folder, "--out", tmp_path / "out.safetensors")
    assert resumed == exported
    assert resumed.startswith(f"huetrack: ./run/config.yaml: {cause}")
    (folder / "config.yaml").unlink()
    line = complaint("export", folder, "--out", tmp_path / "out.safetensors")
    assert line == "huetrack: ./run: holds no config.yaml (is it a run folder?)"


@pytest.mark.parametrize("damage", [b'{"kind": "tr', b"\0\0", b"\xff", b"[]", b"{}", b""])
def test_a_damaged_history(
    tmp_path: Path, folder: Path, complaint: Callable[..., str], damage: bytes
) -> None:
    history = folder / "history.jsonl"
    sound = history.read_bytes()
    history.write_bytes(sound + damage + b"\n" + sound)
    line = complaint("curves", folder, "--out", tmp_path / "curves.png")
    told = "line 3 is damaged (take it out to go on without it)"
    assert line == f"huetrack: ./run/history.jsonl: {told}"
