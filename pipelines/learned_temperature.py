"""`temperature.json` beside a run's weights: the temperature that was learned for each protocol."""

import math
from collections.abc import Sequence
from typing import Any

from model.errors import UserError
from pipelines.storage import Location, read_json, write_json
from pipelines.weights_note import read_note

TEMPERATURE_FILE = "temperature.json"
TEMPERATURE_NOTE = "temperature"
"""Their name in the metadata of an exported file of weights."""
_KEY, _ASKED = "temperature", "learned"


def save_temperature(folder: Location, protocol: str, temperature: float) -> None:
    """Store it beside those of other protocols."""
    path = folder / TEMPERATURE_FILE
    known = _read(path) if path.exists() else {}
    write_json(path, {**known, protocol: temperature})


def load_temperatures(weights: Location) -> dict[str, float]:
    """The temperature of each protocol: of an exported file its own, else those beside the weights.

    Raises `UserError` naming a damaged file.
    """
    note = read_note(weights, TEMPERATURE_NOTE)
    if note is not None:
        return _checked(note, weights)
    path = weights.parent / TEMPERATURE_FILE
    return _read(path) if path.exists() else {}


def settings_with_learned(
    settings: Sequence[str], protocol: str, weights: Location | None
) -> list[str]:
    """The settings of a protocol (`key=value`), `temperature=learned` replaced by the stored number.

    `weights` are those of the run, None for a model that is none. Raises `UserError` when nothing was
    learned, or naming a damaged file.
    """
    return [
        f"{_KEY}={_learned(protocol, weights)!r}" if _asks(setting) else setting
        for setting in settings
    ]


def _asks(setting: str) -> bool:
    return [part.strip() for part in setting.split("=")] == [_KEY, _ASKED]


def _learned(protocol: str, weights: Location | None) -> float:
    if weights is None:
        raise UserError(f"--set {_KEY}={_ASKED}: only runs have a learned temperature")
    path = weights.parent / TEMPERATURE_FILE
    known = load_temperatures(weights)
    if protocol not in known:
        raise UserError(
            f"{path}: no temperature was learned for {protocol} "
            f"(huetrack temperature DATASET --run {weights.parent} --protocol {protocol})"
        )
    return known[protocol]


def _read(path: Location) -> dict[str, float]:
    return _checked(read_json(path), path)


def _checked(record: Any, source: Location) -> dict[str, float]:
    if not isinstance(record, dict) or not all(map(_is_temperature, record.values())):
        raise UserError(f"{source}: holds no temperatures")
    return record


def _is_temperature(value: Any) -> bool:
    return type(value) in (int, float) and math.isfinite(value) and value > 0
