"""The colour of an object, the same in all frames, films, pages and reruns: its id's in DAVIS's palette."""

from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipelines.labels.davis import davis_palette

_COLOURS = 255
"""Of the palette, without that of the background."""


def palette_index(ids: NDArray[Any]) -> NDArray[np.uint8]:
    """Where the colours of objects stand in the palette: 1 to 255, then from the first on again.

    Where there is no background, 0 is an object too; it has the last colour.
    """
    return ((ids.astype(np.int64) - 1) % _COLOURS + 1).astype(np.uint8)


@cache
def object_rgb(object_id: int) -> tuple[int, int, int]:
    """Red, green and blue of an object."""
    red, green, blue = davis_palette()[palette_index(np.array(object_id))].tolist()
    return red, green, blue


def css_colour(object_id: int) -> str:
    """The same for a page."""
    red, green, blue = object_rgb(object_id)
    return f"rgb({red} {green} {blue})"
