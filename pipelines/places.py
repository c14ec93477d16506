"""Which options name a folder or a file, so that whoever sends a command elsewhere knows what it touches.

A `Path` or an `S3Path` tells so by itself. A text that may name a place is marked where it is declared:
`PlaceText`, or `Annotated[str, NamesPlace(...)]` where only part of the text does.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import Annotated, Any, get_args, get_type_hints

from pipelines.s3_path import S3Path
from pipelines.storage import Location, location


@dataclass(frozen=True)
class NamesPlace:
    """Marks a text option. `place` takes the place out of the text; None where it names none."""

    place: Callable[[str], str | None] = lambda text: text


PlaceText = Annotated[str, NamesPlace()]


def named_places(options: Any, prefix: str = "") -> Iterator[tuple[str, Location]]:
    """Option (`decode.weights`, say) and place, for every place in a dataclass of options.

    Raises `UserError` for an address of a kind that is not known.
    """
    hints = get_type_hints(type(options), include_extras=True)
    for field in fields(options):
        name, value = f"{prefix}{field.name}", getattr(options, field.name)
        if is_dataclass(value) and not isinstance(value, S3Path):
            yield from named_places(value, f"{name}.")
            continue
        marks = list(_marks(hints[field.name]))
        for item in value if isinstance(value, tuple | list) else (value,):
            if isinstance(item, Path | S3Path):
                yield name, item
            elif isinstance(item, str):
                texts = (mark.place(item) for mark in marks)
                yield from ((name, location(text)) for text in texts if text)


def _marks(hint: Any) -> Iterator[NamesPlace]:
    """Marks anywhere in a type such as `Annotated[tuple[PlaceText, ...], Parameter(...)]`."""
    for part in get_args(hint):
        if isinstance(part, NamesPlace):
            yield part
        else:
            yield from _marks(part)
