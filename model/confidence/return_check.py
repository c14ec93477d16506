"""Do labels find the way home? Each prediction carried straight back to the annotated frame.

Where a label sits on the right thing, the parts of the annotated object match parts of the label, and the
surroundings match what lies around it. That takes one more affinity a frame, with a single context frame
and no window; the features are those of the propagation where it is diagnosed.

Shape suffixes: C channels, L columns, h w cells, H W pixels.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from model.confidence.regions import object_kind
from model.propagation.affinity import ContextFrame, carry
from model.propagation.annotations import Annotation, ColourAnnotation
from model.propagation.columns.kind import Drawing
from model.propagation.columns.layout import LabelLayout
from model.propagation.frame_encoder import Encoder
from model.propagation.grid import CellGrid
from model.propagation.matching_protocol import MatchingProtocol
from model.propagation.results import PropagationResult

Overlaps = Mapping[tuple[str, int], float]
"""By kind (mask, keypoints, box, point) and object."""


class ReturnCheck:
    """Beside a `Propagator`: fed the same frames and its results, it holds one annotated frame.

    The overlap of an object is sum(min(a, b)) / sum(max(a, b)) over the cells, where a is its column as
    annotated and b its column as it came back: J of soft masks.
    """

    def __init__(
        self, encoder: Encoder, protocol: MatchingProtocol, device: torch.device | str = "cpu"
    ) -> None:
        self._encoder = encoder
        self._protocol = protocol
        self._device = torch.device(device)
        self._layout: LabelLayout | None = None
        self._features_CHW = torch.empty(0)
        self._labels_Lhw = torch.empty(0)

    @torch.inference_mode()
    def start(self, frame_HW3: np.ndarray, result: PropagationResult) -> None:
        """An annotated frame, uint8 RGB [H,W,3], and what is known there: the first one, or a later one
        that takes its place."""
        size_px = (frame_HW3.shape[0], frame_HW3.shape[1])
        drawing = Drawing(
            grid=CellGrid(size_px, self._encoder.stride_px, self._protocol.frame_size_px),
            device=self._device,
            label_resize=self._protocol.label_resize,
            keypoint_mode=self._protocol.keypoint_mode,
        )
        records = _records(result)
        self._layout = LabelLayout.empty(drawing).extended(records)
        self._labels_Lhw = self._layout.corrected(None, records)
        self._features_CHW = self._features(frame_HW3, result)

    @torch.inference_mode()
    def step(self, frame_HW3: np.ndarray, result: PropagationResult) -> Overlaps:
        """The overlap of every object of the annotated frame that was there. RuntimeError before
        `start`."""
        if self._layout is None:
            raise RuntimeError("step() needs start() with an annotated frame first")
        records = [r for r in _records(result) if type(r) in self._layout.kinds]
        layout = self._layout.extended(records)
        features_CHW = self._features(frame_HW3, result)
        keys, query = self._encoder.match([features_CHW], self._features_CHW)
        everywhere = replace(self._protocol.matching, radius_cells=None)
        context = [ContextFrame(keys[0], layout.corrected(None, records), False)]
        back_Lhw = carry(query, context, everywhere)
        home_Lhw = layout.padded(self._labels_Lhw)
        common_L = torch.minimum(home_Lhw, back_Lhw).sum((1, 2))
        either_L = torch.maximum(home_Lhw, back_Lhw).sum((1, 2))
        was_there_L = home_Lhw.sum((1, 2)) > 0
        return _by_object(layout, common_L.where(was_there_L, torch.nan), either_L)

    def _features(self, frame_HW3: np.ndarray, result: PropagationResult) -> Tensor:
        if result.features_CHW is not None:
            return result.features_CHW
        assert self._layout is not None
        grid = self._layout.drawing.grid
        return self._encoder.encode(grid.encoder_input(frame_HW3, self._device))


def _records(result: PropagationResult) -> Sequence[Annotation]:
    return [c.record for c in result.carried if not isinstance(c.record, ColourAnnotation)]


def _by_object(layout: LabelLayout, common_L: Tensor, either_L: Tensor) -> Overlaps:
    """Of keypoints all joints of an instance together."""
    common, either = common_L.tolist(), either_L.tolist()
    sums: dict[tuple[str, int], tuple[float, float]] = {}
    for kind, placed in layout.kinds.items():
        word = object_kind(kind)
        for name, position in zip(placed.columns.names, placed.positions, strict=True):
            label = name[0] if isinstance(name, tuple) else name
            if not isinstance(label, int) or (word == "mask" and label == 0):
                continue
            if np.isnan(common[position]):
                continue
            before = sums.get((word, label), (0.0, 0.0))
            sums[word, label] = (before[0] + common[position], before[1] + either[position])
    return {key: least / most for key, (least, most) in sums.items()}
