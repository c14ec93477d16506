"""`temperature.json`, and how a setting asks for it."""

from pathlib import Path

import pytest

from model.colorizer import Colorizer, ColorizerConfig, save_colorizer
from model.errors import UserError
from model.propagation.protocols import get_protocol
from pipelines.learned_temperature import save_temperature, settings_with_learned

ASKED = ["top_k=15", "temperature=learned"]


def write_weights(path: Path, **notes: str) -> Path:
    save_colorizer(Colorizer(ColorizerConfig(width=1, embedding_channels=1)), path, notes)
    return path


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    return write_weights(tmp_path / "model.safetensors")


def test_it_is_used_where_it_is_asked_for_and_named_in_the_protocol(weights: Path) -> None:
    save_temperature(weights.parent, "vidcolor", 0.05)
    save_temperature(weights.parent, "crw", 0.035)
    settings = settings_with_learned(ASKED, "crw", weights)
    assert settings == ["top_k=15", "temperature=0.035"]
    assert get_protocol("crw", settings).name == "crw(temperature=0.035, top_k=15)"
    assert settings_with_learned(["temperature=1"], "crw", None) == ["temperature=1"]


def test_an_exported_file_has_its_own(weights: Path) -> None:
    save_temperature(weights.parent, "crw", 0.2)
    exported = write_weights(weights.with_name("exported.safetensors"), temperature='{"crw": 0.1}')
    assert settings_with_learned(["temperature=learned"], "crw", exported) == ["temperature=0.1"]


def test_one_that_was_not_learned_is_told_with_the_command(weights: Path) -> None:
    save_temperature(weights.parent, "vidcolor", 0.05)
    with pytest.raises(UserError, match=r"no temperature was learned for crw \(huetrack temperat"):
        settings_with_learned(ASKED, "crw", weights)
    with pytest.raises(UserError, match="only runs have a learned temperature"):
        settings_with_learned(ASKED, "crw", None)


@pytest.mark.parametrize("content", ["{", "[]", '{"crw": -1}', '{"crw": "1"}', '{"crw": true}'])
def test_a_damaged_file_is_named(weights: Path, content: str) -> None:
    (weights.parent / "temperature.json").write_text(content)
    with pytest.raises(UserError, match=r"temperature\.json"):
        settings_with_learned(ASKED, "crw", weights)
