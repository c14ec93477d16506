"""The baseline of optical flow: labels and points follow the pixels from frame to frame, without a network.

OpenCV's DIS flow (Kroeger et al. 2016, arXiv 1603.03590) with its preset MEDIUM, on the luma of the
frames at their own size. Every step goes from one frame to the next, so errors add up, what was hidden
once is lost, and what comes out from behind an object takes its label. A forward-backward check for that
made it worse: on the annotated sequences of docs/results.md J&F fell by 0.09 where pixels that fail it
became background, by 0.04 where they were filled from their neighbours.

Shape suffixes: H W rows and columns of pixels, L labels (background first), N points.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import cv2
import numpy as np
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
from model.propagation.grid import LARGEST_BYTE, CellGrid
from model.propagation.results import Carried, PropagationResult

METHOD = "OpenCV DIS flow, preset MEDIUM, luma at full size, soft masks warped frame by frame"
LEAST_SIDE_PX = 32
"""OpenCV crashes on some frames smaller than its pyramid of patches (12x64); they count as still."""
CELL_PX = 8
"""Side of the cells on which the soft labels of a result are given; nothing is computed on them."""


class DenseFlow:
    """Displacements in px between two frames of one size."""

    def __init__(self) -> None:
        self._dis = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)

    def between(self, start_HW3: np.ndarray, end_HW3: np.ndarray) -> np.ndarray:
        """Two uint8 RGB frames -> float32 [H, W, 2]: what is at (x, y) in `start` is at
        (x, y) + flow[y, x] in `end`."""
        grey = [cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in (start_HW3, end_HW3)]
        if min(grey[0].shape) < LEAST_SIDE_PX:
            return np.zeros((*grey[0].shape, 2), np.float32)
        flow = self._dis.calc(grey[0], grey[1], None)  # type: ignore[call-overload]  # may be None
        return np.asarray(flow)


class FlowPropagator(LabelPropagator):
    """Carries the annotations of a video by flow; the same calls as `Propagator`.

    Masks: every pixel looks up the flow back to the frame before and takes the labels from there, which
    are kept as a share of each label per pixel, float32 [L, H, W]. Joints and points move with the flow
    where they are, those that left with that of the nearest border. A box moves by the median of the
    flow inside it and keeps its size.
    """

    def __init__(self) -> None:
        self._flow = DenseFlow()
        self._before: np.ndarray | None = None
        self._layout: LabelLayout | None = None
        self._records: dict[type[Annotation], Annotation] = {}
        self._masks: _Masks | None = None
        self._frame_index = 0

    def start(self, frame_HW3: np.ndarray, labels: Labels) -> PropagationResult:
        """As `Propagator.start`, with the same errors for the same input; no colours."""
        check_frame(frame_HW3, 0)
        annotations = as_annotations(labels)
        size_px = (frame_HW3.shape[0], frame_HW3.shape[1])
        drawing = Drawing(CellGrid(size_px, CELL_PX), torch.device("cpu"))
        self._layout = LabelLayout.empty(drawing).extended(annotations)
        check_something(self._layout, annotations)
        self._before, self._frame_index, self._records, self._masks = frame_HW3, 0, {}, None
        return self._result(annotations)

    def step(
        self, frame_HW3: np.ndarray, annotations: Sequence[Annotation] = ()
    ) -> PropagationResult:
        """Labels of the next frame, which `annotations` replace; errors as `Propagator.step`."""
        if self._before is None or self._layout is None:
            raise RuntimeError("step() needs start() with an annotated frame first")
        check_next(frame_HW3, self._before.shape[:2], self._frame_index + 1)
        self._layout = self._layout.extended(as_annotations(annotations))
        self._frame_index += 1
        forwards_HW2 = None
        if len(self._records) > (self._masks is not None):
            forwards_HW2 = self._flow.between(self._before, frame_HW3)
        if self._masks is not None:
            self._masks.follow(self._flow.between(frame_HW3, self._before))
            self._records[MaskAnnotation] = self._masks.decided()
        if forwards_HW2 is not None:
            moved = {kind: _moved(record, forwards_HW2) for kind, record in self._records.items()}
            self._records |= moved
        self._before = frame_HW3
        return self._result(annotations)

    def _result(self, annotations: Sequence[Annotation]) -> PropagationResult:
        for annotation in annotations:
            if isinstance(annotation, ColourAnnotation):
                raise UserError("optical flow carries masks, joints, points and boxes, not colours")
            self._records[type(annotation)] = annotation
            if isinstance(annotation, MaskAnnotation):
                self._masks = _Masks(annotation)
        carried: list[Carried[Any]] = []
        for record in self._records.values():
            if isinstance(record, MaskAnnotation) and self._masks is not None:
                carried.append(Carried(record, self._masks.on_cells(), self._masks.ids))
            else:
                carried.append(Carried(record, torch.zeros(0, 0, 0), ()))
        return PropagationResult(tuple(carried))


class _Masks:
    """The share of each label in each pixel."""

    def __init__(self, annotation: MaskAnnotation) -> None:
        mask_HW = annotation.ids_HW
        self.ids = (0, *(int(label) for label in np.unique(mask_HW) if label))
        self._planes = [(mask_HW == label).astype(np.float32) for label in self.ids]

    def follow(self, back_HW2: np.ndarray) -> None:
        """Along the flow to the frame before."""
        source_HW2 = _pixel_centres(back_HW2.shape[:2]) + back_HW2
        self._planes = [_sampled(plane, source_HW2) for plane in self._planes]

    def decided(self) -> MaskAnnotation:
        dtype = np.uint8 if max(self.ids) <= LARGEST_BYTE else np.int32
        return MaskAnnotation(np.array(self.ids, dtype)[np.argmax(self._planes, axis=0)])

    def on_cells(self) -> Tensor:
        """Mean share of each label over the pixels of each cell: float32 [L, h, w]."""
        height, width = self._planes[0].shape
        rows, columns = CellGrid((height, width), CELL_PX).size_cells
        right, below = columns * CELL_PX - width, rows * CELL_PX - height
        means = [
            cv2.resize(
                cv2.copyMakeBorder(plane, 0, below, 0, right, cv2.BORDER_REPLICATE),
                (columns, rows),
                interpolation=cv2.INTER_AREA,
            )
            for plane in self._planes
        ]
        return torch.from_numpy(np.stack(means))


def _moved(record: Annotation, flow_HW2: np.ndarray) -> Annotation:
    """Places and boxes in the next frame; masks as they are."""
    if isinstance(record, KeypointAnnotation):
        return replace(record, xy_px_NK2=_places_moved(record.xy_px_NK2, flow_HW2))
    if isinstance(record, PointAnnotation):
        moved_N12 = _places_moved(record.seen_px[:, None], flow_HW2)
        return PointAnnotation(record.ids, moved_N12[:, 0])
    if isinstance(record, BoxAnnotation):
        boxes_N4 = record.xywh_px_N4.astype(np.float64)
        for box in boxes_N4:
            if np.isfinite(box).all():
                left, top = np.maximum(np.floor(box[:2]), 0).astype(int)
                right, bottom = np.maximum(np.ceil(box[:2] + box[2:]), 0).astype(int)
                inside = flow_HW2[top:bottom, left:right].reshape(-1, 2)
                box[:2] += np.median(inside, axis=0) if len(inside) else 0
        return replace(record, xywh_px_N4=boxes_N4)
    return record


def _places_moved(xy_px_NK2: np.ndarray, flow_HW2: np.ndarray) -> np.ndarray:
    """NaN stays NaN."""
    seen_NK = np.isfinite(xy_px_NK2).all(axis=-1)
    moved_NK2 = xy_px_NK2.astype(np.float64)
    if seen_NK.any():
        places_1N2 = moved_NK2[seen_NK].astype(np.float32)[None]
        moved_NK2[seen_NK] += _sampled(flow_HW2, places_1N2)[0]
    return moved_NK2


def _pixel_centres(size_px: tuple[int, ...]) -> np.ndarray:
    """(x, y) of every pixel: float32 [H, W, 2]."""
    rows, columns = np.indices(size_px, dtype=np.float32)
    return np.stack((columns, rows), axis=-1)


def _sampled(image: np.ndarray, places_HW2: np.ndarray) -> np.ndarray:
    """The image between its pixels, bilinearly; beyond its border, the border."""
    x_HW, y_HW = cv2.split(places_HW2)
    return cv2.remap(image, x_HW, y_HW, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
