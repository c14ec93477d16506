"""Streaming label propagation: an annotated frame in, then labels for every later one, a frame at a time.

Shape suffixes: C channels of base features, D channels of matching vectors, L label columns,
H W rows and columns of pixels, h w of cells.
"""

import typing
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import islice, takewhile, zip_longest

import numpy as np
import torch
from torch import Tensor

from model.errors import UserError
from model.propagation.affinity import (
    Affinity,
    ContextFrame,
    carry,
    carry_observed,
    find_affinity,
)
from model.propagation.annotations import Annotation
from model.propagation.checks import (
    Labels,
    as_annotations,
    check_frame,
    check_next,
    check_something,
    is_frame_of,
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
from model.propagation.frame_encoder import Encoder, FrameEncoder
from model.propagation.matching_protocol import MatchingProtocol
from model.propagation.memory import Memory, MemoryFrame
from model.propagation.recorded import AffinityFolder, RecordedVideo
from model.propagation.results import PropagationResult


class LabelPropagator(typing.Protocol):
    """What carries annotations through the frames of a video, one video at a time."""

    def start(self, frame_HW3: np.ndarray, labels: Labels, /) -> PropagationResult: ...
    def step(
        self, frame_HW3: np.ndarray, annotations: Sequence[Annotation] = (), /
    ) -> PropagationResult: ...

    def run(
        self, frames: Iterable[np.ndarray], labels: Mapping[int, Sequence[Annotation]], /
    ) -> Iterator[PropagationResult]:
        """`start` with the first frame and `step` with the others; `labels` by frame number."""
        for index, frame_HW3 in enumerate(frames):
            carry_to = self.step if index else self.start
            yield carry_to(frame_HW3, labels.get(index, ()))


class Propagator(LabelPropagator):
    """Carries the labels of a video's first frame, and of later annotated ones, through the others.

    Memory is bounded by the protocol and the number of annotated frames: the features and labels of
    the context. With `half_memory` the features stay in half precision: half the memory, and logits
    that are off by some thousandths. All arithmetic is in float32 as before: on an AMD EPYC core a
    product in float16 takes 16 times as long (6000x256 by 256x144: 103 ms, not 6),
    and turning 21 frames of 480x854 px at stride 8 back into float32 takes 83 ms a step. With `diagnose`
    results have their `diagnostics` and `features_CHW`; the labels stay what they are, bit for bit.
    """

    def __init__(
        self,
        encoder: Encoder,
        protocol: MatchingProtocol,
        device: torch.device | str = "cpu",
        *,
        half_memory: bool = False,
        batch_frames: int | None = None,
        record: AffinityFolder | None = None,
        diagnose: bool = False,
    ) -> None:
        """`batch_frames`: frames that `run` encodes at once. None: one on a CPU, where more gain
        nothing; on a GPU as many as have the pixels of eight frames of 480x854 px, at least one.
        `record`: where the affinities of one video are kept for labels that come later."""
        self._encoder = encoder
        self._frames = FrameEncoder(encoder, torch.device(device), batch_frames)
        self._protocol = protocol
        self._device = torch.device(device)
        self._half_memory = half_memory
        self._record = record
        self._affinity: Affinity | None = None
        self._diagnose = diagnose
        self._memory = Memory(protocol)
        self._layout: LabelLayout | None = None
        self._frame_index = 0

    @torch.inference_mode()
    def run(
        self, frames: Iterable[np.ndarray], labels: Mapping[int, Sequence[Annotation]]
    ) -> Iterator[PropagationResult]:
        """`start` and `step` over the frames of a video: a result for each, in order.

        `labels` are annotations by frame number; those of frame 0 must be there. Frames are read and
        encoded `batch_frames` at a time, and labels carried one by one, so up to so many frames and their
        features are held beside the memory, and what `frames` raises comes up as many frames early.
        """
        frames = iter(frames)
        first_HW3 = next(frames, None)
        if first_HW3 is None:
            raise UserError("the video has no frame")
        yield self.start(first_HW3, labels.get(0, ()))
        assert self._layout is not None
        grid, index = self._layout.drawing.grid, 0
        batch_frames = self._frames.batch_frames(grid)
        while batch := list(islice(frames, batch_frames)):
            usable = takewhile(lambda frame: is_frame_of(frame, grid.frame_size_px), batch)
            # A frame that cannot be encoded is refused by `step`, after those before it had their turn.
            for frame_HW3, own in zip_longest(batch, self._frames.encode(grid, list(usable))):
                index += 1
                yield self.step(frame_HW3, labels.get(index, ()), features_CHW=own)

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
        drawing = Drawing.of(self._protocol, self._encoder.stride_px, size_px, self._device)
        layout = LabelLayout.empty(drawing).extended(annotations)
        check_something(layout, annotations)
        [features] = self._frames.encode(drawing.grid, [frame_HW3])
        labels_Lhw = layout.corrected(None, annotations)
        self._memory = Memory(self._protocol)
        self._layout, self._frame_index, self._affinity = layout, 0, None
        if self._record is not None:
            stride_px = self._encoder.stride_px
            self._record.begin(RecordedVideo(size_px, stride_px, self._protocol))
        result = layout.result(labels_Lhw, annotations)
        colours_4hw = None
        if self._diagnose:
            lab_3hw = cell_lab(frame_HW3, drawing.grid, self._device)
            colours_4hw = at_anchor(lab_3hw)
            diagnostics = unmatched(drawing.grid, lab_3hw)
            result = replace(result, diagnostics=diagnostics, features_CHW=features)
        self._remember(features, labels_Lhw, colours_4hw, anchor=True)
        return result

    @torch.inference_mode()
    def step(
        self,
        frame_HW3: np.ndarray,
        annotations: Sequence[Annotation] = (),
        *,
        features_CHW: Tensor | None = None,
    ) -> PropagationResult:
        """Labels of the next frame, uint8 RGB [H,W,3].

        A frame with `annotations` becomes an anchor, and predictions before it leave the memory. What
        it holds of a kind replaces all that was predicted of that kind: ids that are new get columns
        from here on, ids that it does not name are gone from this frame (earlier anchors may bring them
        back), and an annotation without objects means that nothing of the kind is there. Kinds without
        an annotation are predicted as ever, and so is what a mask that is not `complete` leaves at 0. The
        result has the annotations as they were given, but for such a mask. `features_CHW` are base
        features of the frame for whoever has them already. Raises UserError for a frame
        of another size than the first and for annotations that cannot be of this video, RuntimeError
        before `start`.
        """
        if self._layout is None:
            raise RuntimeError("step() needs start() with an annotated frame first")
        grid = self._layout.drawing.grid
        check_next(frame_HW3, grid.frame_size_px, self._frame_index + 1)
        annotations = as_annotations(annotations)
        layout = self._layout.extended(annotations)
        features = (
            self._frames.encode(grid, [frame_HW3])[0] if features_CHW is None else features_CHW
        )
        lab_3hw = cell_lab(frame_HW3, grid, self._device) if self._diagnose else None
        labels_Lhw, colours_4hw, diagnostics = self._carry(features, lab_3hw)
        annotations = layout.completed(annotations, labels_Lhw)
        labels_Lhw = layout.corrected(labels_Lhw, annotations)
        result = layout.result(labels_Lhw, annotations)
        if diagnostics is not None:
            result = replace(result, diagnostics=diagnostics, features_CHW=features)
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
            ContextFrame(
                key, self._layout.padded(frame.labels_LHW), frame.windowed, self._dilation(frame)
            )
            for key, frame in zip(keys, frames, strict=True)
        ]
        matching, colours_4hw, diagnostics = self._protocol.matching, None, None
        handed_on = [f.colours_CHW for f in frames if f.colours_CHW is not None]
        if self._record is None and lab_3hw is None:
            labels_Lhw = carry(query, context, matching)
        elif self._record is None:
            labels_Lhw, carried_4hw, weights = carry_observed(query, context, matching, handed_on)
        else:
            windowed, dilations = zip(*((f.windowed, f.dilation) for f in context), strict=True)
            self._affinity = find_affinity(query, keys, windowed, matching, dilations)
            labels = [frame.labels_LHW for frame in context]
            if lab_3hw is None:
                labels_Lhw = self._affinity.apply(labels)
            else:
                labels_Lhw, carried_4hw, weights = self._affinity.observe(labels, handed_on)
        if lab_3hw is not None:
            grid = self._layout.drawing.grid
            diagnostics, colours_4hw = diagnose(grid, lab_3hw, carried_4hw, weights)
        if self._protocol.rescale == "carried":
            labels_Lhw = self._layout.rescaled(labels_Lhw)
        return labels_Lhw, colours_4hw, diagnostics

    def _dilation(self, frame: MemoryFrame) -> int:
        """Of the search in a frame of the context of the frame that comes next."""
        age_frames = self._frame_index + 1 - frame.frame_index
        return self._protocol.search_dilation(age_frames) if frame.windowed else 0

    def _remember(
        self, features: Tensor, labels_Lhw: Tensor, colours_4hw: Tensor | None, *, anchor: bool
    ) -> None:
        kept = features.half() if self._half_memory else features
        self._memory.add(
            self._frame_index, kept, labels_Lhw, anchor=anchor, colours_CHW=colours_4hw
        )
        if self._record is not None:
            self._record.write(self._frame_index, self._affinity, anchor=anchor)
