"""A film of a video beside itself recoloured from its first frame, over the curve of the colour error.

Shape suffixes: 2 (a, b) of CIE Lab, H, W pixels, h, w cells.
"""

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np
import torch
from torch import Tensor

from model.errors import UserError
from model.propagation.colours import ColourPropagator
from pipelines.error_curve import CurveStrip
from pipelines.pictures import painted
from pipelines.progress import Progress
from pipelines.shown_video import ShownVideo
from pipelines.video import write_h264


@dataclass(frozen=True)
class Recolouring:
    """How far carried colours are from the true ones: distances in the ab plane, Lab units, means
    over the cells of each frame. The first frame has its own colours: 0."""

    errors: tuple[float, ...]
    """Of the carried colours."""
    still_errors: tuple[float, ...]
    """Of the first frame's colours left in place: what no tracking at all comes to."""

    @property
    def mean_error(self) -> float:
        """Over the frames after the first; 0 for a single frame."""
        return _mean(self.errors[1:])

    @property
    def mean_still_error(self) -> float:
        return _mean(self.still_errors[1:])


def recolour(
    video: ShownVideo, propagator: ColourPropagator, film: Path, progress: Progress
) -> Recolouring:
    """Write the film, H.264: left the video, right its lightness with the carried colours.

    The colours wait in a temporary file, so that memory does not grow with the video. Raises
    `UserError` for a video that cannot be read or has no frame, and where the propagator does.
    """
    with tempfile.TemporaryFile() as spool:
        result = _carry(video, propagator, spool, progress)
        spool.seek(0)
        fps_hz = video.footage.fps_hz()
        pictures = _pictures(video, propagator, spool, result, fps_hz, progress)
        write_h264(film, pictures, fps_hz)
    return result


def _carry(
    video: ShownVideo, propagator: ColourPropagator, spool: IO[bytes], progress: Progress
) -> Recolouring:
    errors: list[float] = []
    still_errors: list[float] = []
    first: Tensor | None = None
    expected = video.about_frames()
    for frame in video.frames():
        if first is None:
            first = carried = true = propagator.start(frame)
        else:
            try:
                carried, true = propagator.step(frame)
            except UserError as error:
                raise UserError(f"{video.footage.path}: {error}") from error
        np.save(spool, carried.cpu().numpy().astype(np.float16))
        errors.append(_distance(carried, true))
        still_errors.append(_distance(first, true))
        progress("colours", len(errors), max(expected, len(errors)), "")
    if first is None:
        raise UserError(f"{video.footage.path}: holds no frame")
    return Recolouring(tuple(errors), tuple(still_errors))


def _pictures(
    video: ShownVideo,
    propagator: ColourPropagator,
    spool: IO[bytes],
    result: Recolouring,
    fps_hz: float,
    progress: Progress,
) -> Iterator[np.ndarray]:
    curves = {"recoloured": result.errors, "first colours left in place": result.still_errors}
    strip: CurveStrip | None = None
    for index, frame in enumerate(video.frames()):
        carried_2hw = torch.from_numpy(np.load(spool, allow_pickle=False).astype(np.float32))
        picture = painted(frame, propagator.to_pixels(carried_2hw))
        both = np.concatenate((frame, picture), axis=1)
        if strip is None:
            strip = CurveStrip(curves, "ab error (Lab)", fps_hz, both.shape[1])
        yield np.concatenate((both, strip.at(index)))
        progress("film", index + 1, len(result.errors), "")


def _distance(first_2hw: Tensor, second_2hw: Tensor) -> float:
    return float((first_2hw - second_2hw).norm(dim=0).mean())


def _mean(values: tuple[float, ...]) -> float:
    return float(np.mean(values)) if values else 0.0
