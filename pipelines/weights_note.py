"""What an exported file of weights says of itself beside the network, in its metadata."""

import json
from typing import Any

from model.colorizer import read_notes
from model.errors import UserError
from pipelines.storage import Location, local_file


def read_note(weights: Location, name: str) -> Any:
    """The note of that name, from JSON; None where there is none. Raises `UserError` naming the file."""
    with local_file(weights) as file:
        text = read_notes(file).get(name)
    if text is None:
        return None
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{weights}: its {name} is not JSON ({error})") from error
