"""`mix.json`: how colours join a run's features."""

from pathlib import Path

import pytest

from model.errors import UserError
from model.propagation.encoders import LAB_VARIANCE, Mix
from pipelines.mix import load_mix, save_mix


def test_a_run_without_one_has_todays_numbers(tmp_path: Path) -> None:
    assert load_mix(tmp_path) == Mix(temperature_scale=1.0, lab_variance=LAB_VARIANCE)
    assert LAB_VARIANCE == 40.0


def test_what_is_stored_comes_back(tmp_path: Path) -> None:
    save_mix(tmp_path, Mix(1.75, 62.5))
    assert load_mix(tmp_path) == Mix(1.75, 62.5)


@pytest.mark.parametrize(
    "content", ["{", "[]", '{"lab_variance": -1}', '{"lab_variance": "40"}', '{"sigma": 2}']
)
def test_a_damaged_one_is_named(tmp_path: Path, content: str) -> None:
    (tmp_path / "mix.json").write_text(content)
    with pytest.raises(UserError, match=r"mix\.json"):
        load_mix(tmp_path)
