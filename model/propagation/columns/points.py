"""Points with an identity of their own: a column each, drawn as `places` says.

Shape suffixes: N points, L = N columns, h w cells.
"""

from dataclasses import dataclass, replace

import numpy as np
from torch import Tensor

from model.propagation.annotations import PointAnnotation
from model.propagation.columns.kind import (
    ColumnName,
    LabelColumns,
    checked_array,
    checked_ids,
)
from model.propagation.columns.places import draw_places, find_places, sureness


@dataclass(frozen=True)
class PointColumns(LabelColumns[PointAnnotation]):
    """No background: every point is looked for in its own column."""

    @property
    def names(self) -> tuple[ColumnName, ...]:
        return self.ids

    def extended(self, annotation: PointAnnotation) -> "PointColumns":
        places = checked_array(annotation.xy_px_N2, (None, 2), "points")
        return replace(self, ids=checked_ids(self.ids, annotation.ids, len(places), "points"))

    def encode(self, annotation: PointAnnotation) -> Tensor:
        xy_px_L2 = np.full((len(self.ids), 2), np.nan)
        for label, place in zip(annotation.ids, annotation.seen_px, strict=True):
            xy_px_L2[self.ids.index(label)] = place
        return draw_places(xy_px_L2, self.drawing)

    def decode(self, soft_LHW: Tensor) -> PointAnnotation:
        return PointAnnotation(self.ids, find_places(soft_LHW, self.drawing))

    def confidence(self, soft_LHW: Tensor) -> Tensor:
        return sureness(soft_LHW)

    def names_something(self, annotation: PointAnnotation) -> bool:
        return not annotation.occluded.all()
