"""The labels of one frame as rows of `predictions/*.parquet`.

Shape suffixes: H W rows and columns of pixels, K joints, 2 (x, y), 4 (x, y, width, height).
"""

import math
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
from pycocotools import mask as coco

from model.confidence.tracker import ObjectConfidence
from model.propagation.annotations import (
    Annotation,
    BoxAnnotation,
    KeypointAnnotation,
    MaskAnnotation,
    PointAnnotation,
)
from model.propagation.results import Carried, PropagationResult
from pipelines.footage import FootageFrame

NOTHING: dict[str, Any] = {
    "rle": None,
    "box_xywh_px": None,
    "keypoint_xy_px": None,
    "area_px": None,
}


def prediction_rows(
    video_id: str,
    frame: FootageFrame,
    result: PropagationResult,
    *,
    annotation: Annotation | None,
    confidences: Sequence[ObjectConfidence] = (),
) -> list[dict[str, Any]]:
    """A row an object, in the order of kinds and ids: every object known so far, seen here or not.

    `annotation` is what a person said of the frame. Without `confidences` (what `VideoConfidence` says of
    it) the columns that come from them are null, but that what is annotated is sure.
    """
    height_px, width_px = frame.picture_HW3.shape[:2]
    known = {(each.kind, each.object_id): each for each in confidences}
    rows = []
    for carried in result.carried:
        for object_id, shape in sorted(_shapes(carried).items()):
            kind = kind_of(carried.record)
            found = known.get((kind, object_id))
            anchor = _says(annotation, object_id)
            rows.append(
                {
                    "video_id": video_id,
                    "frame_index": frame.index,
                    "frame": frame.name,
                    "time_s": frame.time_s,
                    "kind": kind,
                    "object_id": object_id,
                    "height_px": height_px,
                    "width_px": width_px,
                    **NOTHING,
                    **shape,
                    "anchor": anchor,
                    "confidence": 1.0 if anchor else found and found.confidence,
                    "colour_residual": found and found.colour_residual,
                    "flags": list(found.flags) if found else [],
                    "signals": found and asdict(found.signals),
                }
            )
    return rows


def kind_of(record: Annotation) -> str:
    """As the column `kind` and `ObjectConfidence` call it."""
    match record:
        case MaskAnnotation():
            return "mask"
        case KeypointAnnotation():
            return "keypoints"
        case BoxAnnotation():
            return "box"
        case PointAnnotation():
            return "point"
    raise TypeError(f"no predictions of {type(record).__name__}")


def _shapes(carried: Carried[Any]) -> dict[int, dict[str, Any]]:
    """Where each object is, by its id."""
    record = carried.record
    match record:
        case MaskAnnotation(ids_HW):
            # Objects that are known but not in this frame are rows too.
            known = {name for name in carried.names if isinstance(name, int) and name != 0}
            ids = known | {int(label) for label in np.unique(ids_HW) if label}
            return {label: _of_mask(ids_HW == label) for label in ids}
        case KeypointAnnotation(ids, xy_px_NK2):
            return {i: _of_joints(xy_K2) for i, xy_K2 in zip(ids, xy_px_NK2, strict=True)}
        case BoxAnnotation(ids, xywh_px_N4):
            return {i: _of_box(xywh) for i, xywh in zip(ids, xywh_px_N4.tolist(), strict=True)}
        case PointAnnotation(ids):
            seen_px = record.seen_px.tolist()
            return {i: {"keypoint_xy_px": [xy]} for i, xy in zip(ids, seen_px, strict=True)}
    raise TypeError(f"no predictions of {type(record).__name__}")


def _of_mask(mask_HW: np.ndarray) -> dict[str, Any]:
    runs = coco.encode(np.asfortranarray(mask_HW, np.uint8))
    area_px = float(coco.area(runs))
    box = coco.toBbox(runs).tolist() if area_px else None
    return {"rle": str(runs["counts"], "ascii"), "box_xywh_px": box, "area_px": area_px}


def _of_joints(xy_px_K2: np.ndarray) -> dict[str, Any]:
    """The box is the one around the joints that are seen."""
    seen = xy_px_K2[np.isfinite(xy_px_K2).all(axis=1)]
    box = None
    if len(seen):
        low, high = seen.min(0), seen.max(0)
        box = [*low.tolist(), *(high - low).tolist()]
    return {"keypoint_xy_px": xy_px_K2.tolist(), "box_xywh_px": box}


def _of_box(xywh_px: list[float]) -> dict[str, Any]:
    if not all(map(math.isfinite, xywh_px)):
        return {}
    return {"box_xywh_px": xywh_px, "area_px": xywh_px[2] * xywh_px[3]}


def _says(annotation: Annotation | None, object_id: int) -> bool:
    """Whether a person said where the object is in the frame, or that it is not there."""
    if isinstance(annotation, MaskAnnotation) and not annotation.complete:
        return bool((annotation.ids_HW == object_id).any())
    return annotation is not None
