"""The strip below a film: J of every object in every scored frame, in the film's own time.

One unit of x is one frame of the film, so frame k lies between x = k and x = k + 1; y is 1 - J.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from model.errors import UserError
from pipelines.object_colours import css_colour
from pipelines.report.records import PropagatedVideo


@dataclass(frozen=True)
class ObjectCurve:
    """J of one object: CSS colour, mean (None if nowhere defined), and polylines without gaps."""

    object_id: str
    colour: str
    mean: float | None
    polylines: tuple[str, ...]


@dataclass(frozen=True)
class Timeline:
    """What is drawn below one film; `data` is what the page's script needs, ready for JSON."""

    frames: int
    first: int
    end: int
    curves: tuple[ObjectCurve, ...]
    data: dict[str, Any]

    @property
    def mean(self) -> float | None:
        """Mean over the objects of their mean J."""
        return _mean([curve.mean for curve in self.curves if curve.mean is not None])


def timeline(video: PropagatedVideo, film_frames: int) -> Timeline | None:
    """The strip of a film of `film_frames` frames; None without ground truth.

    Raises `UserError` naming the overlay if the scores do not fit the film or each other, or the
    frame rate is not positive.
    """
    if not video.j_by_object:
        return None
    if not 0 < video.fps_hz < math.inf:
        raise UserError(f"{video.overlay}: frame rate must be positive, got {video.fps_hz}")
    end = video.first_scored_index + len(video.frames)
    if video.first_scored_index < 0 or end > film_frames:
        raise UserError(
            f"{video.overlay}: scores for frames {video.first_scored_index} to {end - 1}, "
            f"but the film has {film_frames} frames"
        )
    for object_id, values in video.j_by_object.items():
        if len(values) != len(video.frames):
            raise UserError(
                f"{video.overlay}: {len(values)} scores of object {object_id} "
                f"for {len(video.frames)} frames"
            )
    curves = tuple(
        ObjectCurve(
            object_id,
            object_colour(object_id, position),
            _mean([j for j in values if math.isfinite(j)]),
            _polylines(values, video.first_scored_index),
        )
        for position, (object_id, values) in enumerate(video.j_by_object.items())
    )
    data = {
        "fps": float(video.fps_hz),
        "count": film_frames,
        "first": video.first_scored_index,
        "names": list(video.frames),
        "j": [
            [round(j, 3) if math.isfinite(j) else None for j in map(float, values)]
            for values in video.j_by_object.values()
        ],
    }
    return Timeline(film_frames, video.first_scored_index, end, curves, data)


def object_colour(object_id: str, position: int) -> str:
    """The DAVIS palette's colour of an object id; one that is no index goes by its position."""
    is_index = object_id.isascii() and object_id.isdigit()
    return css_colour(int(object_id) if is_index else position + 1)


def _polylines(values: Sequence[float], first: int) -> tuple[str, ...]:
    """SVG points of each stretch of defined values; a lone value becomes one frame wide."""
    stretches: list[list[tuple[float, float]]] = [[]]
    for index, j in enumerate(values):
        if math.isfinite(j):
            stretches[-1].append((first + index + 0.5, 1 - j))
        elif stretches[-1]:
            stretches.append([])
    widened = (
        [(s[0][0] - 0.5, s[0][1]), (s[0][0] + 0.5, s[0][1])] if len(s) == 1 else s
        for s in stretches
        if s
    )
    return tuple(" ".join(f"{x:g},{y:.3f}" for x, y in s) for s in widened)


def _mean(values: Sequence[float]) -> float | None:
    return math.fsum(values) / len(values) if values else None
