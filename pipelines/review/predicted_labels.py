"""Predicted labels of single frames, from the tables of predictions back to annotations."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from model.errors import UserError
from model.propagation.annotations import (
    Annotation,
    KeypointAnnotation,
    MaskAnnotation,
    PointAnnotation,
)
from pipelines.labels.checks import box_annotation
from pipelines.labels.rle import decode_runs
from pipelines.storage import Location, parquet_source

_COLUMNS = ["frame_index", "kind", "object_id", "height_px", "width_px", "rle"]
_PLACES = ["box_xywh_px", "keypoint_xy_px"]


def predicted_labels(path: Location, frames: Sequence[int]) -> dict[int, Annotation]:
    """The labels of some frames of a video, by their place in it; only their rows are read.

    Raises `UserError` naming a file that is damaged.
    """
    try:
        table = pq.read_table(
            parquet_source(path),
            columns=[*_COLUMNS, *_PLACES],
            filters=[("frame_index", "in", list(frames))],
        )
    except (pa.ArrowException, OSError) as error:
        raise UserError(f"{path}: not a table of predictions ({error})") from error
    rows: dict[int, list[dict[str, Any]]] = {}
    for row in table.to_pylist():
        rows.setdefault(row["frame_index"], []).append(row)
    return {index: _annotation(f"{path}, frame {index}", found) for index, found in rows.items()}


def _annotation(where: str, rows: Sequence[Mapping[str, Any]]) -> Annotation:
    kind = rows[0]["kind"]
    rows = [row for row in rows if row["kind"] == kind]
    ids = tuple(int(row["object_id"]) for row in rows)
    if kind == "mask":
        return _masks(where, rows)
    if kind == "box":
        return box_annotation(
            where, {row["object_id"]: row["box_xywh_px"] for row in rows if row["box_xywh_px"]}
        )
    places = [_places(row["keypoint_xy_px"]) for row in rows]
    if kind == "point":
        return PointAnnotation(ids, np.array([_one(xy) for xy in places]))
    if kind == "keypoints":
        joints = max(len(xy) for xy in places)
        padded = [xy if len(xy) == joints else np.full((joints, 2), np.nan) for xy in places]
        return KeypointAnnotation(ids, np.array(padded).reshape(len(ids), joints, 2))
    raise UserError(f"{where}: labels of kind {kind!r} are not known")


def _masks(where: str, rows: Sequence[Mapping[str, Any]]) -> MaskAnnotation:
    size_hw = (int(rows[0]["height_px"]), int(rows[0]["width_px"]))
    ids_HW = np.zeros(size_hw, np.int32)
    for row in rows:
        if row["rle"] is not None:
            ids_HW[decode_runs(where, size_hw, row["rle"])] = row["object_id"]
    return MaskAnnotation(ids_HW)


def _places(places: Sequence[Sequence[float | None]] | None) -> np.ndarray:
    return np.array(places or [], np.float64).reshape(-1, 2)


def _one(xy_px: np.ndarray) -> np.ndarray:
    return xy_px[0] if len(xy_px) else np.full(2, np.nan)
