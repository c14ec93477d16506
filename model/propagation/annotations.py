"""What may be known of a frame: one record for each kind of label that is carried.

Coordinates: x to the right, y down. Places (keypoints, points) are in pixel indices, so the centre of
the first pixel is (0, 0). Boxes are in pixel edges, so the first pixel is x = y = 0, width = height = 1.

Shape suffixes: H W rows and columns of pixels, N instances, K joints, 2 (x, y), 4 (x, y, width, height).
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class MaskAnnotation:
    """Which object, or which class of a part map, every pixel belongs to."""

    ids_HW: NDArray[Any]
    """Integers [H, W]: 0 is background; the others need not be contiguous and may exceed 255."""
    complete: bool = True
    """Whether 0 means that no object is there. Else it says nothing (a frame where only the objects
    that are new were annotated, as in YouTube-VOS), and what was predicted there stays."""


@dataclass(frozen=True)
class KeypointAnnotation:
    """The joints of one or more instances; all have the same joints."""

    ids: tuple[int, ...]
    """An id for each instance."""
    xy_px_NK2: NDArray[Any]
    """Floats [N, K, 2]; NaN for a joint that is not annotated or not seen."""


@dataclass(frozen=True)
class BoxAnnotation:
    """Axis-aligned boxes."""

    ids: tuple[int, ...]
    xywh_px_N4: NDArray[Any]
    """Floats [N, 4]; NaN for a box that is not seen."""


@dataclass(frozen=True)
class PointAnnotation:
    """Single points, each with an identity of its own."""

    ids: tuple[int, ...]
    xy_px_N2: NDArray[Any]
    """Floats [N, 2]; NaN where the place is not known."""
    hidden_N: NDArray[np.bool_] | None = None
    """Which points are hidden: their places may be known all the same, and are not followed. None: those
    without a place."""

    @property
    def occluded(self) -> NDArray[np.bool_]:
        """Whether each point is hidden, bool [N]."""
        unknown_N: NDArray[np.bool_] = np.isnan(self.xy_px_N2).any(axis=-1)
        return unknown_N if self.hidden_N is None else unknown_N | self.hidden_N

    @property
    def seen_px(self) -> NDArray[Any]:
        """Places of the points that are seen, floats [N, 2]; NaN for the others."""
        return np.where(self.occluded[:, None], np.nan, self.xy_px_N2)


@dataclass(frozen=True)
class ColourAnnotation:
    """Colours to be carried; the same record holds those that arrive."""

    ab_HW2: NDArray[Any]
    """Floats [H, W, 2]: CIE Lab's a and b of every pixel, in Lab units."""


Annotation = (
    MaskAnnotation | KeypointAnnotation | BoxAnnotation | PointAnnotation | ColourAnnotation
)
