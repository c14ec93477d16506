"""The joints of instances: a column for each joint of each, drawn as `places` says.

The public evaluations have a background column as well. No joint is affected by it, because every joint is
looked for in its own column, so there is none here.

Shape suffixes: N instances, K joints, L = N*K columns (instance by instance), h w cells.
"""

from dataclasses import dataclass, replace

import numpy as np
from torch import Tensor

from model.errors import UserError
from model.propagation.annotations import KeypointAnnotation
from model.propagation.columns.kind import (
    ColumnName,
    LabelColumns,
    checked_array,
    checked_ids,
)
from model.propagation.columns.places import draw_places, find_places, sureness


@dataclass(frozen=True)
class KeypointColumns(LabelColumns[KeypointAnnotation]):
    """Instances may come later; the number of joints is that of the first annotation."""

    joints: int = 0

    @property
    def names(self) -> tuple[ColumnName, ...]:
        return tuple((label, joint) for label in self.ids for joint in range(self.joints))

    def extended(self, annotation: KeypointAnnotation) -> "KeypointColumns":
        places = checked_array(annotation.xy_px_NK2, (None, None, 2), "keypoints")
        ids = checked_ids(self.ids, annotation.ids, len(places), "keypoints")
        if self.ids and places.shape[1] != self.joints:
            raise UserError(f"keypoints: {places.shape[1]} joints, before there were {self.joints}")
        return replace(self, ids=ids, joints=places.shape[1])

    def encode(self, annotation: KeypointAnnotation) -> Tensor:
        xy_px_NK2 = np.full((len(self.ids), self.joints, 2), np.nan)
        for label, places in zip(annotation.ids, annotation.xy_px_NK2, strict=True):
            xy_px_NK2[self.ids.index(label)] = places
        return draw_places(xy_px_NK2.reshape(-1, 2), self.drawing)

    def decode(self, soft_LHW: Tensor) -> KeypointAnnotation:
        places = find_places(soft_LHW, self.drawing)
        return KeypointAnnotation(self.ids, places.reshape(len(self.ids), self.joints, 2))

    def confidence(self, soft_LHW: Tensor) -> Tensor:
        return sureness(soft_LHW)

    def names_something(self, annotation: KeypointAnnotation) -> bool:
        return not np.isnan(annotation.xy_px_NK2).any(-1).all()
