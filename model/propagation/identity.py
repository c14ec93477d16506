"""The baseline that does not look at the frames."""

import copy
from collections.abc import Sequence

import numpy as np
import torch

from model.propagation.annotations import Annotation
from model.propagation.checks import (
    Labels,
    as_annotations,
    check_frame,
    check_next,
    check_something,
)
from model.propagation.columns.kind import Drawing
from model.propagation.columns.layout import LabelLayout
from model.propagation.engine import LabelPropagator
from model.propagation.grid import CellGrid
from model.propagation.results import PropagationResult

CELL_PX = 8  # grid of the soft labels


class IdentityPropagator(LabelPropagator):
    """The baseline that does not look at the frames: the latest annotation of each kind, repeated."""

    def __init__(self) -> None:
        self._layout: LabelLayout | None = None
        self._latest: dict[type[Annotation], Annotation] = {}
        self._frame_index = 0

    def start(self, frame_HW3: np.ndarray, labels: Labels) -> PropagationResult:
        """As `Propagator.start`, with the same errors for the same input."""
        check_frame(frame_HW3, 0)
        annotations = as_annotations(labels)
        size_px = (frame_HW3.shape[0], frame_HW3.shape[1])
        drawing = Drawing(CellGrid(size_px, CELL_PX), torch.device("cpu"))
        layout = LabelLayout.empty(drawing).extended(annotations)
        check_something(layout, annotations)
        self._layout, self._frame_index = layout, 0
        self._latest = {}
        return self._repeated(annotations)

    def step(
        self, frame_HW3: np.ndarray, annotations: Sequence[Annotation] = ()
    ) -> PropagationResult:
        """The latest annotations again; errors as `Propagator.step`."""
        if self._layout is None:
            raise RuntimeError("step() needs start() with an annotated frame first")
        check_next(frame_HW3, self._layout.drawing.grid.frame_size_px, self._frame_index + 1)
        self._layout = self._layout.extended(as_annotations(annotations))
        self._frame_index += 1
        return self._repeated(annotations)

    def _repeated(self, annotations: Sequence[Annotation]) -> PropagationResult:
        assert self._layout is not None
        self._latest |= {type(each): copy.deepcopy(each) for each in annotations}
        latest = [copy.deepcopy(each) for each in self._latest.values()]
        return self._layout.result(self._layout.corrected(None, latest), latest)
