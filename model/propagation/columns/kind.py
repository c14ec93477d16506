"""What all kinds of labels have in common: columns of numbers on the cell grid.

Shape suffixes: L columns, h w rows and columns of cells.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, Generic, Literal, Self, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from model.errors import UserError
from model.propagation.annotations import Annotation
from model.propagation.grid import CellGrid
from model.propagation.matching_protocol import MatchingProtocol

ColumnName = int | tuple[int, int] | str
"""An object's id (0: background), (id, joint) for keypoints, `a` or `b` for colours."""

A = TypeVar("A", bound=Annotation)


@dataclass(frozen=True)
class Drawing:
    """Where and how labels are drawn on the grid: what the video and its protocol decide."""

    grid: CellGrid
    device: torch.device
    label_resize: str = "bilinear"
    rescale_output: bool = False
    """Whether the maps of masks are rescaled before the likeliest label is taken."""
    keypoint_mode: Literal["reference", "strict"] = "reference"
    keypoint_cells: int = 3

    @classmethod
    def of(
        cls,
        protocol: MatchingProtocol,
        stride_px: int,
        size_px: tuple[int, int],
        device: torch.device,
    ) -> Self:
        """In a video of that frame size. Raises UserError where the protocol's does not fit the stride."""
        return cls(
            grid=CellGrid(size_px, stride_px, protocol.frame_size_px),
            device=device,
            label_resize=protocol.label_resize,
            rescale_output=protocol.rescale == "output",
            keypoint_mode=protocol.keypoint_mode,
            keypoint_cells=protocol.keypoint_cells,
        )


@dataclass(frozen=True)
class LabelColumns(ABC, Generic[A]):
    """The columns of one kind of label; they only ever grow, at the end.

    Each subclass is one kind: its annotation, its columns and the way between them.
    """

    drawing: Drawing
    ids: tuple[int, ...] = ()
    """Ids of the instances in the order in which they became known."""

    @property
    @abstractmethod
    def names(self) -> tuple[ColumnName, ...]:
        """What each column stands for."""

    @abstractmethod
    def extended(self, annotation: A) -> Self:
        """With columns for what `annotation` names for the first time.

        Raises UserError for an annotation that cannot be one of this video.
        """

    @abstractmethod
    def encode(self, annotation: A) -> Tensor:
        """Float32 [L,h,w] of an annotation whose ids are all known; columns of other ids are 0."""

    @abstractmethod
    def decode(self, soft_LHW: Tensor) -> A:
        """The annotation that columns stand for, with all ids."""

    @abstractmethod
    def confidence(self, soft_LHW: Tensor) -> Tensor:
        """How sure columns are, to weigh two predictions of one frame: [L,h,w] or broadcast to it."""

    @abstractmethod
    def names_something(self, annotation: A) -> bool:
        """Whether there is anything in it to be carried."""

    def completed(self, annotation: A, predicted_LHW: Tensor) -> A:
        """The annotation together with what was predicted where it says nothing."""
        return annotation

    @property
    def plain_values(self) -> bool:
        """Whether columns are values rather than shares, which no protocol rescales or decides."""
        return False


def checked_ids(
    known: tuple[int, ...], ids: tuple[int, ...], count: int, kind: str
) -> tuple[int, ...]:
    """The known ids and the new ones. UserError for ids that repeat or are not `count`."""
    if len(ids) != count:
        raise UserError(f"{kind}: {len(ids)} ids for {count} places")
    if len(set(ids)) != len(ids):
        raise UserError(f"{kind}: id {max(ids, key=ids.count)} is there more than once")
    return (*known, *(label for label in ids if label not in known))


def checked_array(array: NDArray[Any], shape: tuple[int | None, ...], kind: str) -> NDArray[Any]:
    """As float64. UserError for another shape (None: any length), another type or infinite values."""
    fits = array.ndim == len(shape) and all(
        want is None or want == have for want, have in zip(shape, array.shape, strict=True)
    )
    if not fits or array.dtype.kind not in "fiu":
        expected = ", ".join("any" if side is None else str(side) for side in shape)
        raise UserError(
            f"{kind}: an array of shape {array.shape} and type {array.dtype}, "
            f"expected numbers [{expected}]"
        )
    if np.isinf(array).any():
        raise UserError(f"{kind}: a place is infinite")
    return array.astype(np.float64)
