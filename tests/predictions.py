"""Outputs of a propagation as they lie on a disk, made by hand."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pipelines.predictions import PredictionWriter, VideoFacts


def write_predictions(
    out: Path,
    video_id: str,
    confidence_OT: np.ndarray,
    flags: Mapping[tuple[int, int], Sequence[str]] | None = None,
    *,
    anchors: Sequence[int] = (0,),
    ids: Sequence[int] = (),
    labels: Sequence[Sequence[Mapping[str, Any]]] = (),
    frames: Sequence[str] = (),
    fps_hz: float = 12.0,
    size_hw: tuple[int, int] = (48, 64),
    names: Mapping[int, str] | None = None,
) -> None:
    """A row for each frame and object. `flags` by (object, frame); `labels` the columns that hold a label
    (kind, rle, ...), by object and frame."""
    objects, count = confidence_OT.shape
    ids = ids or range(1, objects + 1)
    rows = []
    for t in range(count):
        for o in range(objects):
            value = float(confidence_OT[o, t])
            row = {
                "video_id": video_id,
                "frame_index": t,
                "frame": frames[t] if frames else f"{t:05d}",
                "time_s": t / fps_hz,
                "kind": "mask",
                "object_id": ids[o],
                "height_px": size_hw[0],
                "width_px": size_hw[1],
                "anchor": t in anchors,
                "confidence": None if np.isnan(value) else value,
                "flags": list((flags or {}).get((o, t), ())),
            }
            rows.append(row | dict(labels[o][t]) if labels else row)
    by_id = {str(i): name for i, name in (names or {}).items()}
    facts = VideoFacts(f"/videos/{video_id}.mp4", fps_hz, count, *size_hw, count / fps_hz, by_id)
    (out / "predictions").mkdir(parents=True, exist_ok=True)
    with PredictionWriter(out / "predictions" / f"{video_id}.parquet") as writer:
        writer.add(rows)
        writer.finish(facts, dict.fromkeys(anchors, "digest"))


def write_summary(
    out: Path,
    archive: object = "videos",
    labels: object = "labels",
    direction: str = "forwards",
    errors: Sequence[tuple[str, str, str]] = (),
) -> None:
    """`summary.json` and `errors.parquet`; an error is (video, kind, message)."""
    config = {"model": {"kind": "lab"}, "protocol": {"name": "crw"}, "direction": direction}
    summary = {
        "config": config,
        "fingerprint": "0" * 16,
        "archive": str(archive),
        "labels": str(labels),
    }
    out.mkdir(parents=True, exist_ok=True)
    (out / "summary.json").write_text(json.dumps(summary))
    rows = [
        {"video_id": video, "uri": f"/videos/{video}", "kind": kind, "message": text, "attempts": 1}
        for video, kind, text in errors
    ]
    fields = [(name, pa.string()) for name in ("video_id", "uri", "kind", "message")]
    schema = pa.schema([*fields, ("attempts", pa.int32())])
    pq.write_table(pa.Table.from_pylist(rows, schema=schema), out / "errors.parquet")
