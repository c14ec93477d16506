"""`huetrack export`: one file that is used as the run is."""

import json
from pathlib import Path

import pytest
import torch
import yaml
from safetensors import safe_open

from jobs.cli import run
from model.colorizer import Colorizer, ColorizerConfig, load_colorizer, save_colorizer
from model.propagation.encoders import Mix
from pipelines.codebook import Codebook, save_codebook
from pipelines.learned_temperature import save_temperature, settings_with_learned
from pipelines.mix import save_mix
from pipelines.models import parse_model
from pipelines.storage import fingerprint

SPACE, CENTROIDS = "CIE Lab, D65", ((1.0, 2.0), (3.0, -4.0))
FINGERPRINT = fingerprint({"space": SPACE, "centroids": CENTROIDS})
CODEBOOK = Codebook(SPACE, CENTROIDS, 10, 2, 0, 0.5, FINGERPRINT)
FIT = {"steps": 30, "learning_rate": 0.01}


@pytest.fixture
def trained(tmp_path: Path) -> Path:
    folder = tmp_path / "run"
    folder.mkdir()
    for seed, name in enumerate(("model", "best")):
        torch.manual_seed(seed)
        network = Colorizer(ColorizerConfig(width=2, embedding_channels=3, head="linear"))
        save_colorizer(network, folder / f"{name}.safetensors", {"step": str(30 - 10 * seed)})
    save_codebook(CODEBOOK, folder / "codebook.json")
    record = {"dataset": "/home/somebody/set", "run": str(folder), "seed": 7, "fit": FIT}
    (folder / "config.yaml").write_text(yaml.safe_dump(record))
    return folder


@pytest.mark.parametrize(("which", "step"), [("last", "30"), ("best", "20")])
def test_a_file_is_used_as_the_run_is(
    trained: Path, tmp_path: Path, which: str, step: str, capsys: pytest.CaptureFixture[str]
) -> None:
    save_mix(trained, Mix(0.4, 160.0))
    save_temperature(trained, "crw", 0.03)
    out = tmp_path / "elsewhere" / "tracker.safetensors"
    assert run(["export", str(trained), "--out", str(out), "--weights", which]) == 0
    assert f"{which}, step {step}" in capsys.readouterr().out
    source = trained / ("model.safetensors" if which == "last" else "best.safetensors")
    expected, found = load_colorizer(source), load_colorizer(out)
    assert found.config == expected.config
    for name, tensor in expected.state_dict().items():
        assert torch.equal(found.state_dict()[name], tensor)
    spec = parse_model(f"{out}+lab", untrained_width=4, seed=0)
    assert spec.mix == Mix(0.4, 160.0)
    asked = settings_with_learned(["temperature=learned"], "crw", spec.run_weights)
    assert asked == ["temperature=0.03"]
    with safe_open(out, framework="pt") as file:
        notes = file.metadata()
    assert notes["codebook_fingerprint"] == FINGERPRINT
    assert json.loads(notes["codebook"])["centroids"] == [[1.0, 2.0], [3.0, -4.0]]
    assert json.loads(notes["config"]) == {"seed": 7, "fit": FIT}
    assert "somebody" not in str(notes)


def test_what_cannot_be_exported_is_told(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out.safetensors"
    assert run(["export", str(trained), "--out", str(tmp_path / "out.pt")]) == 2
    assert "must end with .safetensors" in capsys.readouterr().err
    (trained / "best.safetensors").unlink()
    assert run(["export", str(trained), "--out", str(out), "--weights", "best"]) == 2
    assert "use --weights last" in capsys.readouterr().err
    assert run(["export", str(trained), "--out", str(out)]) == 0
    assert run(["export", str(trained), "--out", str(out)]) == 2
    assert "use --overwrite" in capsys.readouterr().err
    (trained / "model.safetensors").unlink()
    assert run(["export", str(trained), "--out", str(out), "--overwrite"]) == 2
    assert "is the training finished?" in capsys.readouterr().err
