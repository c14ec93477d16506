"""Samples for a confidence model from propagated archives whose truth is known: `OUT/predictions/*.parquet`.

Shape suffixes: H, W pixels.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from model.errors import UserError
from model.metrics.davis import region_similarity
from model.propagation.annotations import MaskAnnotation
from pipelines.confidence_samples import Sample, signals_of
from pipelines.labels.codec import Frame, LabelReader
from pipelines.labels.rle import decode_runs
from pipelines.storage import Location, files_in, parquet_source, read_json

PREDICTIONS = "predictions"
_COLUMNS = (
    "video_id",
    "frame_index",
    "frame",
    "kind",
    "object_id",
    "rle",
    "height_px",
    "width_px",
    "anchor",
    "signals",
)


def propagated_with(out: Location) -> Mapping[str, Any]:
    """Model and protocol of a propagation, from its `summary.json`. Raises UserError where there is none."""
    summary = out / "summary.json"
    if not summary.is_file():
        raise UserError(f"{out}: is no output of `huetrack propagate` (it has no summary.json)")
    config = read_json(summary).get("config", {})
    return {key: config.get(key) for key in ("model", "protocol")}


def samples_in(out: Location, truth: LabelReader) -> Iterator[Sample]:
    """Every predicted mask of an output folder whose frame has a true one.

    Videos that the truth does not know are passed over. Raises UserError naming a file that is no such
    table, and for an output without predictions.
    """
    files = sorted(
        (name, file)
        for name, file in files_in(out / PREDICTIONS).items()
        if name.endswith(".parquet") and not name.startswith(".")
    )
    if not files:
        raise UserError(f"{out / PREDICTIONS}: holds no predictions")
    known = set(truth.videos())
    for _, file in files:
        try:
            table = pq.read_table(parquet_source(file), columns=list(_COLUMNS))
        except (pa.ArrowInvalid, pa.ArrowKeyError, KeyError) as error:
            raise UserError(f"{file}: not a table of predictions ({error})") from None
        for video_id in set(table["video_id"].to_pylist()) & known:
            yield from _of_video(file, video_id, table.to_pylist(), truth)


def _of_video(
    file: Location, video_id: str, rows: Sequence[Mapping[str, Any]], truth: LabelReader
) -> Iterator[Sample]:
    annotated = set(truth.frames(video_id))
    frame: Frame | None = None
    true_HW: NDArray[Any] = np.zeros((0, 0), np.uint8)
    for row in rows:
        if row["video_id"] != video_id or row["kind"] != "mask" or row["anchor"]:
            continue
        here = row["frame"] if row["frame"] in annotated else row["frame_index"]
        if here not in annotated or row["signals"] is None:
            continue
        if here != frame:
            frame, annotation = here, truth.read(video_id, here)
            if not isinstance(annotation, MaskAnnotation):
                return
            true_HW = annotation.ids_HW
        size_hw = (row["height_px"], row["width_px"])
        if true_HW.shape != size_hw:
            raise UserError(
                f"{file}: frame {here} is {size_hw[1]}x{size_hw[0]} px, its true mask "
                f"{true_HW.shape[1]}x{true_HW.shape[0]} px"
            )
        inside_HW = np.zeros(size_hw, bool)
        if row["rle"] is not None:
            inside_HW = decode_runs(file, size_hw, row["rle"])
        yield Sample(
            video_id=video_id,
            frame_index=row["frame_index"],
            object_id=row["object_id"],
            j=region_similarity(true_HW == row["object_id"], inside_HW),
            signals=signals_of(row["signals"]),
        )
