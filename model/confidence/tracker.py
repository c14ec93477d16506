"""How far each label of a video can be trusted, frame by frame, while it is propagated.

Shape suffixes: H, W pixels, h, w cells, 3 channels.
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch

from model.confidence.flags import Flag, Thresholds, flags_of
from model.confidence.regions import Floats, Region, regions_of
from model.confidence.return_check import Overlaps, ReturnCheck
from model.confidence.scorer import ConfidenceModel
from model.confidence.signals import (
    LEAST_SPREAD,
    NAN,
    Appearance,
    CellMaps,
    ObjectSignals,
    cell_signals,
    frame_change,
    label_signals,
    shape_signals,
)
from model.propagation.annotations import Annotation, MaskAnnotation
from model.propagation.diagnostics import cell_lab, unmatched
from model.propagation.grid import CellGrid
from model.propagation.results import PropagationResult

RECENT_FRAMES = 12  # whose median size a sudden change is measured against
CELL_PX = 8  # grid of models that have none


@dataclass(frozen=True)
class ObjectConfidence:
    """One object in one frame."""

    kind: str
    """mask, keypoints, box or point."""
    object_id: int
    confidence: float | None
    """Probability that J (of masks and boxes the overlap with the truth) is 0.5 or more; 1 where a person
    annotated the object. None without a confidence model, where the model compares no features, and where
    the object was nowhere yet."""
    colour_residual: float | None
    """Lab units; None where it is not known."""
    flags: tuple[Flag, ...]
    signals: ObjectSignals


@dataclass
class _Past:
    """What is remembered of one object."""

    last: Region | None = None
    sizes: deque[float] = field(default_factory=lambda: deque(maxlen=RECENT_FRAMES))
    anchor: Region | None = None
    anchor_frame: int = 0
    anchor_lab_3hw: Floats | None = None
    appearance: Appearance | None = None


class VideoConfidence:
    """The confidence of every object of one video, in one pass through it.

    Feed it every frame with the result that the propagator gave for it, in the order of the pass. Its
    memory does not grow with the video. Without a scorer it measures signals and raises flags by the
    default thresholds, and every confidence is None. With a `ReturnCheck` it also knows `return_overlap`:
    every prediction is compared with the latest annotated frame before it.
    """

    def __init__(self, scorer: ConfidenceModel | None, check: ReturnCheck | None = None) -> None:
        self._scorer = scorer
        self._check = check
        self._anchored = False
        self._thresholds = scorer.thresholds if scorer else Thresholds()
        self._past: dict[tuple[str, int], _Past] = {}
        self._frame = 0
        self._last_lab_3hw: Floats | None = None

    def start(
        self,
        frame_HW3: np.ndarray,
        result: PropagationResult,
        annotations: Sequence[Annotation] | None = None,
    ) -> tuple[ObjectConfidence, ...]:
        """The first frame, uint8 RGB [H,W,3]. Forgets the video before.

        `annotations` are those of the frame; None: all of its labels are (as for `Propagator.start`).
        """
        self._past, self._frame, self._last_lab_3hw, self._anchored = {}, -1, None, False
        if annotations is None:
            annotations = [each.record for each in result.carried]
        return self.step(frame_HW3, result, annotations)

    def step(
        self,
        frame_HW3: np.ndarray,
        result: PropagationResult,
        annotations: Sequence[Annotation] = (),
    ) -> tuple[ObjectConfidence, ...]:
        """The next frame: every object that is known so far, kind by kind.

        `annotations` are those of the frame, as given to the propagator.
        """
        self._frame += 1
        returned = self._returned(frame_HW3, result, annotations)
        maps, grid = _maps(frame_HW3, result)
        given = {type(annotation): annotation for annotation in annotations}
        judged: list[ObjectConfidence] = []
        for carried in result.carried:
            regions = regions_of(carried, grid)
            annotation = given.get(type(carried.record))
            background_hw = np.zeros(grid.size_cells)
            if isinstance(carried.record, MaskAnnotation) and 0 in carried.names:
                background_hw = carried.soft_Lhw[carried.names.index(0)].float().cpu().numpy()
            for region in regions:
                past = self._past.setdefault((region.kind, region.object_id), _Past())
                annotated = annotation is not None and _names(annotation, region.object_id)
                if annotated:
                    self._anchor(past, region, maps)
                measured = self._changes(past, region, maps)
                if region.there:
                    others = [other for other in regions if other is not region]
                    measured |= shape_signals(region, float(np.prod(grid.frame_size_px)))
                    measured |= label_signals(region, others, background_hw)
                    measured |= cell_signals(region, maps)
                    _add_spread(measured, past)
                measured["return_overlap"] = returned.get((region.kind, region.object_id), NAN)
                signals = ObjectSignals(**measured)
                known = annotated or region.there or past.anchor is not None
                diagnosed = known and result.diagnostics is not None
                judged.append(self._judge(region, signals, annotated, diagnosed))
                past.last = region
                past.sizes.append(_size(region))
        self._last_lab_3hw = maps.lab_3hw
        return tuple(judged)

    def _returned(
        self, frame_HW3: np.ndarray, result: PropagationResult, annotations: Sequence[Annotation]
    ) -> Overlaps:
        if self._check is None:
            return {}
        if annotations:
            self._check.start(frame_HW3, result)
            self._anchored = True
            return {}
        return self._check.step(frame_HW3, result) if self._anchored else {}

    def _anchor(self, past: _Past, region: Region, maps: CellMaps) -> None:
        past.anchor_frame, past.anchor_lab_3hw = self._frame, maps.lab_3hw
        past.sizes.clear()
        if region.there:
            past.anchor = region
            past.appearance = Appearance.of(region, maps.lab_3hw)

    def _changes(self, past: _Past, region: Region, maps: CellMaps) -> dict[str, float]:
        """What the past of the object says of it."""
        size = _size(region)
        measured = {"area_px": region.area_px, "cells": float(region.share_hw.sum())}
        if self._last_lab_3hw is not None:
            measured["frame_change"] = frame_change(maps.lab_3hw, self._last_lab_3hw)
        if past.anchor_lab_3hw is not None:
            measured["anchor_frame_change"] = frame_change(maps.lab_3hw, past.anchor_lab_3hw)
            measured["frames_since_anchor"] = float(self._frame - past.anchor_frame)
        if past.sizes:
            measured["recent_area_ratio"] = _ratio(size, float(np.median(past.sizes)))
        if past.last is not None:
            measured["area_ratio"] = _ratio(size, _size(past.last))
            if region.there and past.last.there:
                way = np.subtract(region.centre_xy_px, past.last.centre_xy_px)
                measured["centroid_jump"] = _ratio(float(np.hypot(*way)), past.last.diameter_px)
        if past.anchor is not None:
            measured["anchor_area_ratio"] = _ratio(size, _size(past.anchor))
            measured["width_ratio"] = region.box_xywh_px[2] / past.anchor.box_xywh_px[2]
            measured["height_ratio"] = region.box_xywh_px[3] / past.anchor.box_xywh_px[3]
        if past.appearance is not None:
            measured["likeness"] = past.appearance.likeness_of(region, maps.lab_3hw)
            measured["anchor_likeness"] = past.appearance.likeness
        return measured

    def _judge(
        self, region: Region, signals: ObjectSignals, annotated: bool, diagnosed: bool
    ) -> ObjectConfidence:
        confidence: float | None = None
        if annotated:
            confidence = 1.0
        elif self._scorer is not None and diagnosed:
            confidence = self._scorer.probability(signals)
        residual = signals.colour_residual
        return ObjectConfidence(
            kind=region.kind,
            object_id=region.object_id,
            confidence=confidence,
            colour_residual=None if np.isnan(residual) else residual,
            flags=() if annotated else flags_of(signals, self._thresholds),
            signals=signals,
        )


def _maps(frame_HW3: np.ndarray, result: PropagationResult) -> tuple[CellMaps, CellGrid]:
    if result.diagnostics is not None:
        return CellMaps.of(result.diagnostics), result.diagnostics.grid
    grid = CellGrid((frame_HW3.shape[0], frame_HW3.shape[1]), CELL_PX)
    lab_3hw = cell_lab(frame_HW3, grid, torch.device("cpu"))
    return CellMaps.of(unmatched(grid, lab_3hw)), grid


def _names(annotation: Annotation, object_id: int) -> bool:
    """Whether it says where that object is, or that it is not there."""
    if isinstance(annotation, MaskAnnotation) and not annotation.complete:
        return bool((annotation.ids_HW == object_id).any())
    return True


def _add_spread(measured: dict[str, float], past: _Past) -> None:
    if past.appearance is not None:
        spread = max(past.appearance.spread, LEAST_SPREAD)
        measured["colour_residual_spread"] = measured["colour_residual"] / spread


def _size(region: Region) -> float:
    """Pixels, or of joints and points how much they are spread; 0 where it is not."""
    if not region.there:
        return 0.0
    return region.area_px if region.area_px == region.area_px else region.diameter_px**2


def _ratio(value: float, reference: float) -> float:
    return value / reference if reference > 0 else NAN
