"""`mix.json` beside a run's weights: how much its features and Lab colours count when they are joined."""

from dataclasses import asdict

from model.errors import UserError
from model.propagation.encoders import Mix
from pipelines.storage import Location, read_json, write_json

MIX_FILE = "mix.json"


def save_mix(folder: Location, mix: Mix) -> None:
    """Store the mix that `RUN+lab` uses from now on."""
    write_json(folder / MIX_FILE, asdict(mix))


def load_mix(folder: Location) -> Mix:
    """The mix of a run, the default one where it has none. Raises `UserError` naming a damaged file."""
    path = folder / MIX_FILE
    if not path.exists():
        return Mix()
    record = read_json(path)
    try:
        return Mix(**record)
    except (TypeError, UserError) as error:
        raise UserError(f"{path}: not a mix of features and colours ({error})") from error
