"""From signals to a probability: logistic regression on transformed signals, then a calibration.

The file of a model is JSON and small enough to read: signals, weights, thresholds of the flags, and what it
was fitted on.
"""

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from importlib.resources import files
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, get_args

from model.confidence.flags import Thresholds
from model.confidence.signals import SIGNAL_NAMES, ObjectSignals
from model.errors import UserError

FORMAT = "huetrack confidence 1"
DEFAULT = "default_model.json"
LOG_FLOOR = 1e-3
MOST_DEVIATIONS = 3.0
"""A signal further from its mean counts as so many standard deviations: one that was nearly constant where
the model was fitted would outvote all others elsewhere."""

Transform = Literal["identity", "log", "abs_log"]
TRANSFORMS: Mapping[str, Callable[[float], float]] = MappingProxyType(
    {
        "identity": lambda value: value,
        "log": lambda value: math.log(max(value, 0.0) + LOG_FLOOR),
        "abs_log": lambda value: abs(math.log(max(value, 0.0) + LOG_FLOOR)),
    }
)
"""`abs_log` is for ratios: as far from 1 downwards as upwards."""


@dataclass(frozen=True)
class Feature:
    """One signal as the regression sees it: (transformed - mean) / std, at most 3 either way; 0 where it
    is not known."""

    signal: str
    transform: Transform
    mean: float
    std: float
    weight: float

    def __post_init__(self) -> None:
        if self.signal not in SIGNAL_NAMES:
            raise ValueError(f"unknown signal {self.signal!r}")
        if self.transform not in get_args(Transform):
            raise ValueError(f"unknown transform {self.transform!r}")
        if not (math.isfinite(self.mean) and math.isfinite(self.weight) and self.std > 0):
            raise ValueError(f"{self.signal}: mean, std and weight must be numbers, std positive")

    def value(self, signals: ObjectSignals) -> float:
        """0, the mean, for a signal that is not known."""
        value = transformed(getattr(signals, self.signal), self.transform)
        if math.isnan(value):
            return 0.0
        deviations = (value - self.mean) / self.std
        return min(max(deviations, -MOST_DEVIATIONS), MOST_DEVIATIONS)


@dataclass(frozen=True)
class ConfidenceModel:
    """P(J >= 0.5) of an object in a frame.

    p = sigmoid(slope * z + offset) with z = intercept + sum of weight x value over the features: Platt
    scaling (Platt 1999) of a logistic regression. Where the object is predicted not to be there at all
    its signals say little, and p is `absent`.
    """

    features: tuple[Feature, ...]
    intercept: float
    slope: float = 1.0
    offset: float = 0.0
    absent: float = 0.5
    """P(J >= 0.5) where nothing is predicted, that is, that the object is really not in the image."""
    thresholds: Thresholds = field(default_factory=Thresholds)
    fitted_on: Mapping[str, Any] = field(default_factory=dict)
    """What the numbers come from: model, protocol, sequences, frames. For people."""

    def probability(self, signals: ObjectSignals) -> float:
        """Between 0 and 1."""
        if signals.cells == 0:
            return self.absent
        return sigmoid(self.slope * self.z(signals) + self.offset)

    def z(self, signals: ObjectSignals) -> float:
        """The logit before calibration, of an object that is there."""
        return self.intercept + sum(f.weight * f.value(signals) for f in self.features)

    def uses(self, signal: str) -> bool:
        """Whether that signal is looked at."""
        return any(feature.signal == signal for feature in self.features)

    def to_json(self) -> str:
        """What `load_confidence_model` reads."""
        record = {"format": FORMAT, **asdict(self)}
        return json.dumps(record, indent=1) + "\n"


def transformed(value: float, transform: Transform) -> float:
    """NaN for NaN."""
    return value if math.isnan(value) else TRANSFORMS[transform](value)


def sigmoid(x: float) -> float:
    """1 / (1 + exp(-x)), for any x."""
    if x < 0:
        return math.exp(x) / (1 + math.exp(x))
    return 1 / (1 + math.exp(-x))


def load_confidence_model(path: Path | None = None) -> ConfidenceModel:
    """The model of a JSON file; None: the one that comes with the package.

    Raises UserError naming the file for one that is missing, no JSON, or no such model.
    """
    file = files("model.confidence") / DEFAULT if path is None else path
    try:
        return _parse(json.loads(file.read_text("utf-8")))
    except OSError as error:
        raise UserError(f"{file}: cannot be read: {error.strerror or error}") from None
    except (ValueError, TypeError, KeyError) as error:
        raise UserError(f"{file} is no confidence model: {error}") from None


def _parse(record: Any) -> ConfidenceModel:
    """Raises ValueError, TypeError or KeyError for anything that `to_json` does not write."""
    if not isinstance(record, dict) or record.get("format") != FORMAT:
        raise ValueError(f"its format is not {FORMAT!r}")
    numbers = {key: float(record[key]) for key in ("intercept", "slope", "offset", "absent")}
    if not all(math.isfinite(number) for number in numbers.values()):
        raise ValueError("a number is not finite")
    if not 0 <= numbers["absent"] <= 1:
        raise ValueError("absent is no probability")
    thresholds = {key: float(value) for key, value in record["thresholds"].items()}
    return ConfidenceModel(
        features=tuple(Feature(**feature) for feature in record["features"]),
        thresholds=Thresholds(**thresholds),
        fitted_on=dict(record["fitted_on"]),
        **numbers,
    )
