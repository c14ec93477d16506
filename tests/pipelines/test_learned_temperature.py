"""`temperature.json`, and how a setting asks for it."""

from pathlib import Path

import pytest

from model.errors import UserError
from model.propagation.protocols import get_protocol
from pipelines.learned_temperature import save_temperature, settings_with_learned

ASKED = ["top_k=15", "temperature=learned"]


def test_it_is_used_where_it_is_asked_for_and_named_in_the_protocol(tmp_path: Path) -> None:
    save_temperature(tmp_path, "vidcolor", 0.05)
    save_temperature(tmp_path, "crw", 0.035)
    settings = settings_with_learned(ASKED, "crw", tmp_path / "model.safetensors")
    assert settings == ["top_k=15", "temperature=0.035"]
    assert get_protocol("crw", settings).name == "crw(temperature=0.035, top_k=15)"
    assert settings_with_learned(["temperature=1"], "crw", None) == ["temperature=1"]


def test_one_that_was_not_learned_is_told_with_the_command(tmp_path: Path) -> None:
    save_temperature(tmp_path, "vidcolor", 0.05)
    with pytest.raises(UserError, match=r"no temperature was learned for crw \(huetrack temperat"):
        settings_with_learned(ASKED, "crw", tmp_path / "model.safetensors")
    with pytest.raises(UserError, match="only runs have a learned temperature"):
        settings_with_learned(ASKED, "crw", None)


@pytest.mark.parametrize("content", ["{", "[]", '{"crw": -1}', '{"crw": "1"}', '{"crw": true}'])
def test_a_damaged_file_is_named(tmp_path: Path, content: str) -> None:
    (tmp_path / "temperature.json").write_text(content)
    with pytest.raises(UserError, match=r"temperature\.json"):
        settings_with_learned(ASKED, "crw", tmp_path / "model.safetensors")
