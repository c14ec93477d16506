"""All labels of a video side by side: which columns of one tensor belong to which kind.

New ids get new columns at the end, so what is already in the memory stays right and only lacks columns.

Shape suffixes: L columns of all kinds together, h w cells.
"""

import types
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from model.errors import UserError
from model.propagation.annotations import (
    Annotation,
    BoxAnnotation,
    ColourAnnotation,
    KeypointAnnotation,
    MaskAnnotation,
    PointAnnotation,
)
from model.propagation.columns.boxes import BoxColumns
from model.propagation.columns.colours import ColourColumns
from model.propagation.columns.keypoints import KeypointColumns
from model.propagation.columns.kind import Drawing, LabelColumns
from model.propagation.columns.masks import MaskColumns
from model.propagation.columns.points import PointColumns
from model.propagation.grid import rescaled
from model.propagation.results import Carried, PropagationResult

COLUMNS: Mapping[type[Annotation], type[LabelColumns[Any]]] = types.MappingProxyType(
    {
        MaskAnnotation: MaskColumns,
        KeypointAnnotation: KeypointColumns,
        BoxAnnotation: BoxColumns,
        PointAnnotation: PointColumns,
        ColourAnnotation: ColourColumns,
    }
)


@dataclass(frozen=True)
class PlacedColumns:
    """The columns of one kind and where they are."""

    columns: LabelColumns[Any]
    positions: tuple[int, ...]


@dataclass(frozen=True)
class LabelLayout:
    """The columns of a video as far as it is known."""

    drawing: Drawing
    kinds: Mapping[type[Annotation], PlacedColumns]
    size: int
    """Number of columns, all kinds together."""

    @classmethod
    def empty(cls, drawing: Drawing) -> "LabelLayout":
        return cls(drawing, types.MappingProxyType({}), 0)

    def extended(self, annotations: Sequence[Annotation]) -> "LabelLayout":
        """With columns for what is named for the first time.

        Raises UserError for two annotations of one kind, and for those that cannot be of this video.
        """
        given = [type(annotation) for annotation in annotations]
        for kind in given:
            if given.count(kind) > 1:
                raise UserError(f"a frame has {given.count(kind)} {kind_word(kind)} annotations")
        kinds, size = dict(self.kinds), self.size
        for annotation in annotations:
            kind = type(annotation)
            before = kinds.get(kind) or PlacedColumns(COLUMNS[kind](self.drawing), ())
            columns = before.columns.extended(annotation)
            new = len(columns.names) - len(before.positions)
            kinds[kind] = PlacedColumns(columns, (*before.positions, *range(size, size + new)))
            size += new
        return replace(self, kinds=types.MappingProxyType(kinds), size=size)

    def padded(self, labels_Lhw: Tensor) -> Tensor:
        """Columns of an earlier state of the layout: 0 in those that came since."""
        missing = self.size - len(labels_Lhw)
        if not missing:
            return labels_Lhw
        return torch.cat((labels_Lhw, labels_Lhw.new_zeros(missing, *labels_Lhw.shape[1:])))

    def of_kind(self, labels_Lhw: Tensor, kind: type[Annotation]) -> Tensor:
        """The columns of one kind, in the order of its names."""
        return labels_Lhw[list(self.kinds[kind].positions)]

    def corrected(self, labels_Lhw: Tensor | None, annotations: Sequence[Annotation]) -> Tensor:
        """The columns of a frame (None: none yet) after its annotations, which replace their kinds."""
        if labels_Lhw is None:
            size = (self.size, *self.drawing.grid.size_cells)
            labels_Lhw = torch.zeros(size, device=self.drawing.device)
        labels_Lhw = self.padded(labels_Lhw).clone()
        for annotation in annotations:
            placed = self.kinds[type(annotation)]
            labels_Lhw[list(placed.positions)] = placed.columns.encode(annotation)
        return labels_Lhw

    def completed(
        self, annotations: Sequence[Annotation], predicted_Lhw: Tensor
    ) -> tuple[Annotation, ...]:
        """The annotations, with the prediction where one of them says nothing."""
        predicted_Lhw = self.padded(predicted_Lhw)
        return tuple(
            self.kinds[type(each)].columns.completed(each, self.of_kind(predicted_Lhw, type(each)))
            for each in annotations
        )

    def rescaled(self, labels_Lhw: Tensor) -> Tensor:
        """Every column scaled to [0, 1], but for plain values."""
        labels_Lhw = labels_Lhw.clone()
        for placed in self.kinds.values():
            if not placed.columns.plain_values:
                positions = list(placed.positions)
                labels_Lhw[positions] = rescaled(labels_Lhw[positions])
        return labels_Lhw

    def result(self, labels_Lhw: Tensor, given: Sequence[Annotation] = ()) -> PropagationResult:
        """Columns -> records; a kind that is annotated in the frame is that annotation."""
        records = {type(annotation): annotation for annotation in given}
        carried = []
        for kind, placed in self.kinds.items():
            soft_Lhw = self.of_kind(labels_Lhw, kind)
            record = records.get(kind) or placed.columns.decode(soft_Lhw)
            carried.append(Carried(record, soft_Lhw, placed.columns.names))
        return PropagationResult(tuple(carried))

    def decided(self, labels_Lhw: Tensor, result: PropagationResult) -> Tensor:
        """The columns that the records of a result draw; plain values stay as they are."""
        decisions = [
            each.record
            for each in result.carried
            if not self.kinds[type(each.record)].columns.plain_values
        ]
        return self.corrected(labels_Lhw, decisions)


def kind_word(kind: type[Annotation]) -> str:
    """`mask` for MaskAnnotation, and so on: for messages."""
    return kind.__name__.removesuffix("Annotation").lower()
