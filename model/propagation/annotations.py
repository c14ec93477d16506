"""What may be known of a frame: one record for each kind of label that is carried.

Coordinates: x to the right, y down. Places (keypoints, points) are in pixel indices, so the centre of
the first pixel is (0, 0). Boxes are in pixel edges, so the first pixel is x = y = 0, width = height = 1.

Shape suffixes: H W rows and columns of pixels, N instances, K joints, 2 (x, y), 4 (x, y, width, height).
"""

from dataclasses import dataclass
from typing import Any

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
    """Floats [N, 2]; NaN for a point that is hidden."""


@dataclass(frozen=True)
class ColourAnnotation:
    """Colours to be carried; the same record holds those that arrive."""

    ab_HW2: NDArray[Any]
    """Floats [H, W, 2]: CIE Lab's a and b of every pixel, in Lab units."""


Annotation = (
    MaskAnnotation | KeypointAnnotation | BoxAnnotation | PointAnnotation | ColourAnnotation
)
