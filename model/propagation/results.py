"""What becomes of the labels in one frame.

Shape suffixes: C channels, L columns, H W pixels, h w cells; features are on cells.
"""

from dataclasses import dataclass
from typing import Any, Generic

import numpy as np
from torch import Tensor

from model.propagation.annotations import MaskAnnotation
from model.propagation.columns.kind import A, ColumnName
from model.propagation.diagnostics import CellDiagnostics


@dataclass(frozen=True)
class Carried(Generic[A]):
    """One kind of label in one frame."""

    record: A
    """The annotation where the frame has one, else what was predicted, with every id known so far."""
    soft_Lhw: Tensor
    """Float32 columns on the cell grid."""
    names: tuple[ColumnName, ...]
    """What each column stands for."""


@dataclass(frozen=True)
class PropagationResult:
    """The labels of one frame: at most one entry of a kind, in the order in which they became known."""

    carried: tuple[Carried[Any], ...]
    diagnostics: CellDiagnostics | None = None
    """How the labels came about, where the propagation is diagnosed."""
    features_CHW: Tensor | None = None
    """Base features of the frame, where the propagation is diagnosed and went through it forwards."""

    def of(self, kind: type[A]) -> Carried[A] | None:
        """The labels of that kind, as `of(KeypointAnnotation)`; None where the video has none."""
        for each in self.carried:
            if isinstance(each.record, kind):
                return each
        return None

    @property
    def _masks(self) -> Carried[MaskAnnotation]:
        masks = self.of(MaskAnnotation)
        if masks is None:
            raise LookupError("no masks were given, so there are none")
        return masks

    @property
    def mask_HW(self) -> np.ndarray:  # noqa: N802  # a shape
        """The mask of the frame, uint8, or int32 with ids above 255. LookupError without masks."""
        return self._masks.record.ids_HW

    @property
    def probabilities_LHW(self) -> Tensor:  # noqa: N802  # a shape
        """The columns of the masks [L,h,w] in the order of `object_ids`."""
        return self._masks.soft_Lhw

    @property
    def object_ids(self) -> tuple[int, ...]:
        """0 for background, then the objects: those of a frame in ascending order, later ones behind."""
        return tuple(name for name in self._masks.names if isinstance(name, int))
