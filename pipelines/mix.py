"""`mix.json` beside a run's weights: how much its features and Lab colours count when they are joined."""

from dataclasses import asdict
from typing import Any

from model.errors import UserError
from model.propagation.encoders import Mix
from pipelines.storage import Location, read_json, write_json
from pipelines.weights_note import read_note

MIX_FILE = "mix.json"
MIX_NOTE = "mix"
"""Its name in the metadata of an exported file of weights."""


def save_mix(folder: Location, mix: Mix) -> None:
    """Store the mix that `RUN+lab` uses from now on."""
    write_json(folder / MIX_FILE, asdict(mix))


def load_mix(weights: Location) -> Mix:
    """The mix that weights are used with: of an exported file its own, else that beside them, else the
    default one. Raises `UserError` naming a damaged file."""
    note = read_note(weights, MIX_NOTE)
    if note is not None:
        return _mix(note, weights)
    path = weights.parent / MIX_FILE
    return _mix(read_json(path), path) if path.exists() else Mix()


def _mix(record: Any, source: Location) -> Mix:
    try:
        return Mix(**record)
    except (TypeError, UserError) as error:
        raise UserError(f"{source}: not a mix of features and colours ({error})") from error
