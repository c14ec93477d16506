"""`mix.json`: how colours join a run's features."""

from pathlib import Path

import pytest

from model.colorizer import Colorizer, ColorizerConfig, save_colorizer
from model.errors import UserError
from model.propagation.encoders import LAB_VARIANCE, Mix
from pipelines.mix import load_mix, save_mix


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    return write_weights(tmp_path / "model.safetensors")


def write_weights(path: Path, **notes: str) -> Path:
    save_colorizer(Colorizer(ColorizerConfig(width=1, embedding_channels=1)), path, notes)
    return path


def test_a_run_without_one_has_todays_numbers(weights: Path) -> None:
    assert load_mix(weights) == Mix(temperature_scale=1.0, lab_variance=LAB_VARIANCE)
    assert LAB_VARIANCE == 40.0


def test_what_is_stored_comes_back(weights: Path) -> None:
    save_mix(weights.parent, Mix(1.75, 62.5))
    assert load_mix(weights) == Mix(1.75, 62.5)


def test_an_exported_file_has_its_own_and_looks_at_none_beside_it(tmp_path: Path) -> None:
    save_mix(tmp_path, Mix(3.0, 5.0))
    own = '{"temperature_scale": 1.75, "lab_variance": 62.5}'
    assert load_mix(write_weights(tmp_path / "a.safetensors", mix=own)) == Mix(1.75, 62.5)
    for damaged in ("{", '{"lab_variance": 0}', "[]"):
        with pytest.raises(UserError, match=r"b\.safetensors"):
            load_mix(write_weights(tmp_path / "b.safetensors", mix=damaged))


@pytest.mark.parametrize(
    "content", ["{", "[]", '{"lab_variance": -1}', '{"lab_variance": "40"}', '{"sigma": 2}']
)
def test_a_damaged_one_is_named(weights: Path, content: str) -> None:
    (weights.parent / "mix.json").write_text(content)
    with pytest.raises(UserError, match=r"mix\.json"):
        load_mix(weights)
