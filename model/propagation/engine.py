"""Streaming label propagation: an annotated frame in, then labels for every later one, a frame at a time.

Shape suffixes: C channels of base features, D channels of matching vectors, L label columns,
H W rows and columns of pixels, h w of cells.
"""

import copy
import typing
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from model.propagation.affinity import ContextFrame, carry, carry_observed
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
from model.propagation.diagnostics import (
    CellDiagnostics,
    at_anchor,
    cell_lab,
    diagnose,
    unmatched,
)
from model.propagation.grid import CellGrid
from model.propagation.matching_protocol import MatchingProtocol
from model.propagation.memory import Memory
from model.propagation.results import PropagationResult

IDENTITY_CELL_PX = 8  # grid of the identity baseline's soft labels


class Encoder(typing.Protocol):
    """What turns frames into vectors whose dot product is the logit of the affinity."""

    stride_px: int
    """Pixels per cell, both ways."""

    def encode(self, frame_3HW: Tensor) -> Tensor:
        """uint8 RGB frame, sides a multiple of the stride -> base features [C,h,w].

        Called once for every frame; the result stays in the memory.
        """
        ...

    def match(self, references: Sequence[Tensor], target: Tensor) -> tuple[list[Tensor], Tensor]:
        """Base features of the context frames, oldest first, and of the target -> keys and query.

        Each is [D,h,w]. Normalisation, temperature and heads that see several frames belong here.
        """
        ...


class LabelPropagator(typing.Protocol):
    """What carries annotations through the frames of a video, one video at a time."""

    def start(self, frame_HW3: np.ndarray, labels: Labels, /) -> PropagationResult: ...
    def step(
        self, frame_HW3: np.ndarray, annotations: Sequence[Annotation] = (), /
    ) -> PropagationResult: ...


class Propagator:
    """Carries the labels of a video's first frame, and of later annotated ones, through the others.

    Memory is bounded by the protocol and the number of annotated frames: the features and labels of
    the context. With `half_memory` the features stay in half precision: half the memory, and logits
    that are off by some thousandths. All arithmetic is in float32 as before: on an AMD EPYC core a
    product in float16 takes 16 times as long (6000x256 by 256x144: 103 ms, not 6),
    and turning 21 frames of 480x854 px at stride 8 back into float32 takes 83 ms a step. With `diagnose`
    results have their `diagnostics`; the labels stay what they are, bit for bit.
    """

    def __init__(
        self,
        encoder: Encoder,
        protocol: MatchingProtocol,
        device: torch.device | str = "cpu",
        *,
        half_memory: bool = False,
        diagnose: bool = False,
    ) -> None:
        self._encoder = encoder
        self._protocol = protocol
        self._device = torch.device(device)
        self._half_memory = half_memory
        self._diagnose = diagnose
        self._memory = Memory(protocol)
        self._layout: LabelLayout | None = None
        self._frame_index = 0

    @torch.inference_mode()
    def start(self, frame_HW3: np.ndarray, labels: Labels) -> PropagationResult:
        """Begin a video: its first frame, uint8 RGB [H,W,3], and the labels of it.

        `labels` is a mask of integers [H,W], or annotations, at most one of each kind. Every value of a
        mask but 0 is an object; ids need not be contiguous. Forgets the video before. Returns the
        labels as they are carried from here. Raises UserError for no labels, labels that name no object
        and no place, a mask whose size differs from the frame's, ids that repeat, other shapes or
        types, or a `frame_size_px` that does not fit the encoder.
        """
        check_frame(frame_HW3, 0)
        annotations = as_annotations(labels)
        size_px = (frame_HW3.shape[0], frame_HW3.shape[1])
        drawing = drawing_of(self._encoder, self._protocol, size_px, self._device)
        layout = LabelLayout.empty(drawing).extended(annotations)
        check_something(layout, annotations)
        features = self._encode(drawing.grid, frame_HW3)
        labels_Lhw = layout.corrected(None, annotations)
        self._memory = Memory(self._protocol)
        self._layout, self._frame_index = layout, 0
        result = layout.result(labels_Lhw, annotations)
        colours_4hw = None
        if self._diagnose:
            lab_3hw = cell_lab(frame_HW3, drawing.grid, self._device)
            colours_4hw = at_anchor(lab_3hw)
            result = replace(result, diagnostics=unmatched(drawing.grid, lab_3hw))
        self._remember(features, labels_Lhw, colours_4hw, anchor=True)
        return result

    @torch.inference_mode()
    def step(
        self, frame_HW3: np.ndarray, annotations: Sequence[Annotation] = ()
    ) -> PropagationResult:
        """Labels of the next frame, uint8 RGB [H,W,3].

        A frame with `annotations` becomes an anchor, and predictions before it leave the memory. What
        it holds of a kind replaces all that was predicted of that kind: ids that are new get columns
        from here on, ids that it does not name are gone from this frame (earlier anchors may bring them
        back), and an annotation without objects means that nothing of the kind is there. Kinds without
        an annotation are predicted as ever, and so is what a mask that is not `complete` leaves at 0. The
        result has the annotations as they were given, but for such a mask. Raises UserError for a frame
        of another size than the first and for annotations that cannot be of this video, RuntimeError
        before `start`.
        """
        if self._layout is None:
            raise RuntimeError("step() needs start() with an annotated frame first")
        grid = self._layout.drawing.grid
        check_next(frame_HW3, grid.frame_size_px, self._frame_index + 1)
        annotations = as_annotations(annotations)
        layout = self._layout.extended(annotations)
        features = self._encode(grid, frame_HW3)
        lab_3hw = cell_lab(frame_HW3, grid, self._device) if self._diagnose else None
        labels_Lhw, colours_4hw, diagnostics = self._carry(features, lab_3hw)
        annotations = layout.completed(annotations, labels_Lhw)
        labels_Lhw = layout.corrected(labels_Lhw, annotations)
        result = replace(layout.result(labels_Lhw, annotations), diagnostics=diagnostics)
        self._layout = layout
        self._frame_index += 1
        if self._protocol.carried_state == "hard":
            labels_Lhw = layout.decided(labels_Lhw, result)
        if annotations and lab_3hw is not None:
            colours_4hw = at_anchor(lab_3hw)
        self._remember(features, labels_Lhw, colours_4hw, anchor=bool(annotations))
        return result

    def _carry(
        self, features: Tensor, lab_3hw: Tensor | None
    ) -> tuple[Tensor, Tensor | None, CellDiagnostics | None]:
        """The columns known so far, carried to a frame with those features; with its colours also the
        colour columns that it hands on, and what they tell.
        """
        assert self._layout is not None
        frames = self._memory.context()
        keys, query = self._encoder.match(
            [frame.features_CHW.to(features.dtype) for frame in frames], features
        )
        context = [
            ContextFrame(key, self._layout.padded(frame.labels_LHW), frame.windowed)
            for key, frame in zip(keys, frames, strict=True)
        ]
        matching, colours_4hw, diagnostics = self._protocol.matching, None, None
        if lab_3hw is None:
            labels_Lhw = carry(query, context, matching)
        else:
            handed_on = [f.colours_CHW for f in frames if f.colours_CHW is not None]
            labels_Lhw, carried_4hw, weights = carry_observed(query, context, matching, handed_on)
            grid = self._layout.drawing.grid
            diagnostics, colours_4hw = diagnose(grid, lab_3hw, carried_4hw, weights)
        if self._protocol.rescale == "carried":
            labels_Lhw = self._layout.rescaled(labels_Lhw)
        return labels_Lhw, colours_4hw, diagnostics

    def _remember(
        self, features: Tensor, labels_Lhw: Tensor, colours_4hw: Tensor | None, *, anchor: bool
    ) -> None:
        kept = features.half() if self._half_memory else features
        self._memory.add(
            self._frame_index, kept, labels_Lhw, anchor=anchor, colours_CHW=colours_4hw
        )

    def _encode(self, grid: CellGrid, frame_HW3: np.ndarray) -> Tensor:
        features = self._encoder.encode(grid.encoder_input(frame_HW3, self._device))
        if tuple(features.shape[-2:]) != grid.size_cells:
            raise ValueError(
                f"the encoder gave {tuple(features.shape[-2:])} cells for a frame of "
                f"{grid.size_cells} cells of {grid.stride_px} px"
            )
        return features


class IdentityPropagator:
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
        drawing = Drawing(CellGrid(size_px, IDENTITY_CELL_PX), torch.device("cpu"))
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


def drawing_of(
    encoder: Encoder, protocol: MatchingProtocol, size_px: tuple[int, int], device: torch.device
) -> Drawing:
    """How labels of a video of that frame size are drawn. UserError for a size that does not fit."""
    return Drawing(
        grid=CellGrid(size_px, encoder.stride_px, protocol.frame_size_px),
        device=device,
        label_resize=protocol.label_resize,
        rescale_output=protocol.rescale == "output",
        keypoint_mode=protocol.keypoint_mode,
        keypoint_cells=protocol.keypoint_cells,
    )
