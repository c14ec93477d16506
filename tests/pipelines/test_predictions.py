"""`predictions/*.parquet` as other programs read it."""

from pathlib import Path

import duckdb
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import torch
from pycocotools import mask as coco

from model.confidence.signals import SIGNAL_NAMES, ObjectSignals
from model.confidence.tracker import ObjectConfidence
from model.errors import UserError
from model.propagation.annotations import (
    BoxAnnotation,
    KeypointAnnotation,
    MaskAnnotation,
    PointAnnotation,
)
from model.propagation.results import Carried, PropagationResult
from pipelines.footage import FootageFrame
from pipelines.prediction_rows import prediction_rows
from pipelines.predictions import (
    PREDICTION_SCHEMA,
    ROW_GROUP_ROWS,
    PredictionTotals,
    PredictionWriter,
    VideoFacts,
    prediction_totals,
    read_facts,
    rows_by_frame,
)

HEIGHT, WIDTH = 6, 9
FACTS = VideoFacts("videos/a.mp4", 12.0, 3, HEIGHT, WIDTH, 0.25)


def frame(index=0):
    picture = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    return FootageFrame(index, f"{index:05d}", index / 12, picture)


def result(*records, names=()):
    return PropagationResult(tuple(Carried(r, torch.zeros(1, 1, 1), names) for r in records))


def mask_at(left, label=7):
    ids = np.zeros((HEIGHT, WIDTH), np.int32)
    ids[1:4, left : left + 2] = label
    return MaskAnnotation(ids)


def rows_of(index, *records, names=(), annotation=None, confidences=()):
    labels = result(*records, names=names)
    return prediction_rows(
        "a", frame(index), labels, annotation=annotation, confidences=confidences
    )


def write(path: Path, *frames, anchors=None) -> Path:
    path.parent.mkdir(exist_ok=True)
    with PredictionWriter(path) as writer:
        for rows in frames:
            writer.add(rows)
        writer.finish(FACTS, anchors or {})
    return path


def test_a_mask_in_three_libraries(tmp_path: Path) -> None:
    """An object that is known and not there is a row with an empty mask."""
    absent = MaskAnnotation(np.zeros((HEIGHT, WIDTH), np.uint8))
    frames = [
        rows_of(0, mask_at(2), names=(0, 7), annotation=mask_at(2)),
        rows_of(1, absent, names=(0, 7)),
    ]
    write(tmp_path / "p" / "a.parquet", *frames, anchors={0: "abc"})
    table = pq.read_table(tmp_path / "p")
    assert table.schema.equals(PREDICTION_SCHEMA)
    first, second = table.to_pylist()
    runs = {"size": [first["height_px"], first["width_px"]], "counts": first["rle"]}
    np.testing.assert_array_equal(coco.decode(runs), mask_at(2).ids_HW > 0)
    assert (first["box_xywh_px"], first["area_px"]) == ([2, 1, 2, 3], 6)
    assert (first["anchor"], first["confidence"], first["flags"]) == (True, 1, [])
    assert (second["box_xywh_px"], second["area_px"], second["confidence"]) == (None, 0, None)
    assert coco.decode({"size": [HEIGHT, WIDTH], "counts": second["rle"]}).sum() == 0

    read = pd.read_parquet(tmp_path / "p")
    assert list(read["frame_index"]) == [0, 1]
    assert list(read["time_s"]) == [0, 1 / 12]
    assert list(read["kind"]) == ["mask"] * 2
    counted = duckdb.sql(f"select count(*), sum(area_px) from '{tmp_path}/p/*.parquet'")
    assert counted.fetchall() == [(2, 6.0)]


def test_joints_boxes_and_points(tmp_path: Path) -> None:
    joints = np.array([[[1.0, 2.0], [5.0, 4.0], [np.nan, np.nan]]])
    records = (
        KeypointAnnotation((3,), joints),
        BoxAnnotation((8, 2), np.array([[1.0, 2, 3, 4], [np.nan] * 4])),
        PointAnnotation((5, 6), np.array([[6.0, 1.0], [2.0, 2.0]]), np.array([False, True])),
    )
    write(tmp_path / "a.parquet", rows_of(0, *records))
    person, lost, box, point, hidden = pq.read_table(tmp_path / "a.parquet").to_pylist()
    assert [r["kind"] for r in (person, lost, box, point)] == ["keypoints", "box", "box", "point"]
    assert [r["object_id"] for r in (person, lost, box, point)] == [3, 2, 8, 5]
    np.testing.assert_array_equal(np.array(person["keypoint_xy_px"], float), joints[0])
    assert (person["box_xywh_px"], person["area_px"]) == ([1, 2, 4, 2], None)
    assert (box["box_xywh_px"], box["area_px"]) == ([1, 2, 3, 4], 12)
    assert (lost["box_xywh_px"], lost["area_px"]) == (None, None)
    assert (point["keypoint_xy_px"], point["box_xywh_px"]) == ([[6, 1]], None)
    assert np.isnan(hidden["keypoint_xy_px"]).all()
    assert {r["rle"] for r in (person, lost, box, point)} == {None}


def test_what_is_said_of_the_confidence(tmp_path: Path) -> None:
    """Also by object: an annotation that is not complete speaks of the objects that it names."""
    signals = ObjectSignals(area_px=6, entropy=0.5)
    judged = [
        ObjectConfidence("mask", 7, 0.25, 12.5, ("lost", "drift"), signals),
        ObjectConfidence("box", 7, 0.5, None, (), ObjectSignals()),
    ]
    given = MaskAnnotation(mask_at(5, label=9).ids_HW, complete=False)
    both = MaskAnnotation(mask_at(2).ids_HW + given.ids_HW)
    rows = rows_of(1, both, names=(0, 7, 9), annotation=given, confidences=judged)
    write(tmp_path / "a.parquet", rows)
    seven, nine = pq.read_table(tmp_path / "a.parquet").to_pylist()
    assert (seven["confidence"], seven["colour_residual"]) == (0.25, 12.5)
    assert (seven["flags"], seven["anchor"]) == (["lost", "drift"], False)
    assert tuple(seven["signals"]) == SIGNAL_NAMES
    assert (seven["signals"]["area_px"], seven["signals"]["entropy"]) == (6, 0.5)
    assert np.isnan(seven["signals"]["margin"])
    assert (nine["confidence"], nine["anchor"], nine["signals"]) == (1, True, None)
    assert prediction_totals(tmp_path) == PredictionTotals(2, 0.25, 1.0)


def test_row_groups_are_written_as_they_fill_and_copied_as_they_are(tmp_path: Path) -> None:
    """A frame that lies in two row groups, frames without rows, and rows of another file."""
    rows = [rows_of(i, mask_at(i % 7), names=(0, 7)) for i in range(ROW_GROUP_ROWS + 20)]
    del rows[5]
    path = write(tmp_path / "all.parquet", *rows)
    assert pq.ParquetFile(path).num_row_groups == 2
    assert path.read_bytes() == write(tmp_path / "again.parquet", *rows).read_bytes()
    found = list(rows_by_frame(path))
    assert [index for index, _ in found] == [r[0]["frame_index"] for r in rows]
    copied = tmp_path / "copied.parquet"
    with PredictionWriter(copied) as writer:
        writer.add(rows[0])
        for _, batch in found[1:]:
            writer.copy(batch)
        writer.finish(FACTS, {})
    assert copied.read_bytes() == path.read_bytes()


def test_the_metadata_names_video_and_anchors(tmp_path: Path) -> None:
    path = write(tmp_path / "a.parquet", rows_of(0, mask_at(1)), anchors={10: "b", 9: "a"})
    facts = read_facts(path)
    assert facts is not None
    assert (facts.video, dict(facts.anchors)) == (FACTS, {9: "a", 10: "b"})
    metadata = pq.read_schema(path).metadata
    assert metadata[b"huetrack.anchors"] == b'{"9": "a", "10": "b"}'
    assert read_facts(tmp_path / "missing.parquet") is None
    (tmp_path / "torn.parquet").write_bytes(path.read_bytes()[:100])
    with pytest.raises(UserError, match=r"torn\.parquet: not a file of predictions"):
        read_facts(tmp_path / "torn.parquet")


def test_ids_that_pandas_would_pass_over(tmp_path: Path) -> None:
    """pyarrow leaves out names that begin with an underscore unless it is told otherwise."""
    for name in ("_a", "-b"):
        write(tmp_path / "p" / f"{name}.parquet", rows_of(0, mask_at(1)))
    assert len(pd.read_parquet(tmp_path / "p", ignore_prefixes=["."])) == 2
    assert prediction_totals(tmp_path / "p").rows == 2
