"""A confidence model as numbers and as a file."""

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest

from model.confidence.flags import Thresholds
from model.confidence.scorer import ConfidenceModel, Feature, load_confidence_model
from model.confidence.signals import ObjectSignals
from model.errors import UserError

MODEL = ConfidenceModel(
    features=(
        Feature("margin", "identity", mean=0.5, std=0.25, weight=2.0),
        Feature("anchor_area_ratio", "abs_log", mean=0.1, std=0.5, weight=-1.0),
    ),
    intercept=0.3,
    slope=0.8,
    offset=-0.1,
    absent=0.07,
    thresholds=Thresholds(merged_overlap=0.2),
    fitted_on={"videos": 3},
)


def test_the_probability_is_the_formula_of_the_docstring() -> None:
    signals = ObjectSignals(cells=9, margin=0.9, anchor_area_ratio=0.5)
    size = abs(math.log(0.5 + 1e-3))
    z = 0.3 + 2.0 * (0.9 - 0.5) / 0.25 - (size - 0.1) / 0.5
    assert MODEL.probability(signals) == pytest.approx(1 / (1 + math.exp(0.1 - 0.8 * z)))


def test_a_signal_that_is_not_known_counts_as_its_mean() -> None:
    unknown = MODEL.probability(ObjectSignals(cells=9, margin=0.9))
    mean = ObjectSignals(cells=9, margin=0.9, anchor_area_ratio=math.exp(0.1) - 1e-3)
    assert unknown == pytest.approx(MODEL.probability(mean))


def test_a_signal_far_from_its_mean_counts_as_three_deviations() -> None:
    at_three = MODEL.z(ObjectSignals(cells=9, margin=0.5 - 3 * 0.25))
    assert MODEL.z(ObjectSignals(cells=9, margin=-40.0)) == pytest.approx(at_three)
    assert MODEL.z(ObjectSignals(cells=9, margin=0.5 - 2.9 * 0.25)) > at_three


def test_an_object_that_is_not_there_has_its_own_probability() -> None:
    assert MODEL.probability(ObjectSignals(cells=0)) == 0.07


def test_extreme_values_stay_probabilities() -> None:
    steep = replace(MODEL, slope=1e4)
    assert steep.probability(ObjectSignals(cells=1, margin=-1.0)) == 0.0
    assert steep.probability(ObjectSignals(cells=1, margin=1.0)) == 1.0


def test_it_says_which_signals_it_uses() -> None:
    assert MODEL.uses("margin") and not MODEL.uses("return_overlap")


def test_the_file_gives_the_model_back(tmp_path: Path) -> None:
    file = tmp_path / "model.json"
    file.write_text(MODEL.to_json())
    assert load_confidence_model(file) == MODEL


def test_the_package_brings_a_model_that_says_what_it_was_fitted_on() -> None:
    model = load_confidence_model()
    assert {"model", "protocol", "samples"} <= set(model.fitted_on)
    clear = ObjectSignals(cells=50, margin=0.9, anchor_area_ratio=1.0, recent_area_ratio=1.0,
                          centroid_jump=0.01, largest_part=1.0)  # fmt: skip
    torn = ObjectSignals(cells=5, margin=0.1, anchor_area_ratio=0.1, recent_area_ratio=0.3,
                         centroid_jump=0.8, largest_part=0.5)  # fmt: skip
    assert model.probability(clear) > 0.9
    assert model.probability(torn) < 0.1


@pytest.mark.parametrize(
    ("change", "cause"),
    [
        ({"format": "huetrack confidence 9"}, "format"),
        ({"intercept": "NaN"}, "not finite"),
        ({"absent": 1.5}, "no probability"),
        ({"features": [{"signal": "mood"}]}, "missing"),
        (
            {
                "features": [
                    {"signal": "mood", "transform": "log", "mean": 0, "std": 1, "weight": 1}
                ]
            },
            "unknown signal 'mood'",
        ),
        ({"thresholds": {"luck": 1}}, "luck"),
        ({"features": None}, "NoneType"),
    ],
)
def test_a_damaged_file_is_named(tmp_path: Path, change: dict[str, object], cause: str) -> None:
    file = tmp_path / "model.json"
    file.write_text(json.dumps(json.loads(MODEL.to_json()) | change))
    with pytest.raises(UserError, match=cause) as caught:
        load_confidence_model(file)
    assert str(file) in str(caught.value)


@pytest.mark.parametrize("content", [None, "{", "[]", "\x00"])
def test_what_is_no_model_is_refused(tmp_path: Path, content: str | None) -> None:
    file = tmp_path / "model.json"
    if content is not None:
        file.write_text(content)
    with pytest.raises(UserError, match=r"model\.json"):
        load_confidence_model(file)
