"""`predictions/VIDEO.parquet`: a row for every object in every frame of a video, for pandas or DuckDB.

Rows come by frame, then object. The schema's metadata holds JSON texts: `huetrack.video` (`VideoFacts`),
`huetrack.anchors`, the digest of every annotation that a person made, by frame, and `huetrack.corrections`,
those of these frames that are corrections. The same rows give the same bytes.
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pyarrow.parquet as pq

from model.confidence.signals import SIGNAL_NAMES
from model.errors import UserError
from pipelines.storage import Location, arrow_paths, files_in, local_file, parquet_source

FOLDER = "predictions"
ROW_GROUP_ROWS = 2048
_VIDEO, _ANCHORS, _CORRECTIONS = "huetrack.video", "huetrack.anchors", "huetrack.corrections"
_NUMBERS = pa.list_(pa.field("element", pa.float32()))
"""No fixed-size list, which Arrow cannot read back where one is null."""

PREDICTION_SCHEMA = pa.schema(
    [
        pa.field("video_id", pa.string(), nullable=False),
        pa.field("frame_index", pa.int32(), nullable=False),
        pa.field("frame", pa.string(), nullable=False),
        pa.field("time_s", pa.float64(), nullable=False),
        pa.field("kind", pa.string(), nullable=False),
        pa.field("object_id", pa.int32(), nullable=False),
        pa.field("rle", pa.string()),
        pa.field("height_px", pa.int32(), nullable=False),
        pa.field("width_px", pa.int32(), nullable=False),
        pa.field("box_xywh_px", _NUMBERS),
        pa.field("keypoint_xy_px", pa.list_(pa.field("element", _NUMBERS))),
        pa.field("area_px", pa.float32()),
        pa.field("anchor", pa.bool_(), nullable=False),
        pa.field("confidence", pa.float32()),
        pa.field("colour_residual", pa.float32()),
        pa.field("flags", pa.list_(pa.field("element", pa.string())), nullable=False),
        pa.field("signals", pa.struct([(name, pa.float32()) for name in SIGNAL_NAMES])),
    ]
)


@dataclass(frozen=True)
class VideoFacts:
    """What is said once of a video."""

    uri: str
    fps_hz: float
    frames: int
    height_px: int
    width_px: int
    seconds: float
    """How long it lasts."""
    object_names: Mapping[str, str] = field(default_factory=dict)
    """The category of an object by its id, where the labels say it."""


@dataclass(frozen=True)
class CommittedPredictions:
    """What the metadata of a file says."""

    video: VideoFacts
    anchors: Mapping[int, str]
    """Digest of the annotation by frame."""
    corrections: frozenset[int]
    """Which of these frames people corrected; the others are as the labels had them."""


class PredictionWriter:
    """Streams the rows of one video into a file, a row group at a time."""

    def __init__(self, path: Path) -> None:
        self._writer = pq.ParquetWriter(
            path,
            PREDICTION_SCHEMA,
            compression="zstd",
            store_schema=False,  # it would hide what `finish` adds from those who ask for the schema
            use_dictionary=["video_id", "frame", "kind", "flags.list.element"],
        )
        self._waiting: list[pa.RecordBatch] = []
        self._rows: list[Mapping[str, Any]] = []
        self._count = 0

    def __enter__(self) -> "PredictionWriter":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._writer.close()

    def add(self, rows: Sequence[Mapping[str, Any]]) -> bool:
        """The rows of the next frame (`pipelines/prediction_rows.py`). Returns whether any has a flag."""
        self._rows += rows
        self._count += len(rows)
        if self._count >= ROW_GROUP_ROWS:
            self._flush()
        return any(row["flags"] for row in rows)

    def copy(self, batch: pa.RecordBatch) -> bool:
        """Rows of another file, just as they are. Returns whether any has a flag."""
        self._pack()
        self._waiting.append(batch)
        self._count += batch.num_rows
        if self._count >= ROW_GROUP_ROWS:
            self._flush()
        return bool(pc.sum(pc.list_value_length(batch.column("flags"))).as_py())

    def finish(
        self, video: VideoFacts, anchors: Mapping[int, str], corrections: Iterable[int] = ()
    ) -> None:
        """Write what is left, and the metadata."""
        self._flush()
        by_frame = {str(index): anchors[index] for index in sorted(anchors)}
        self._writer.add_key_value_metadata(
            {
                _VIDEO: json.dumps(asdict(video)),
                _ANCHORS: json.dumps(by_frame),
                _CORRECTIONS: json.dumps(sorted(corrections)),
            }
        )

    def _pack(self) -> None:
        if self._rows:
            self._waiting.append(pa.RecordBatch.from_pylist(self._rows, schema=PREDICTION_SCHEMA))
            self._rows = []

    def _flush(self) -> None:
        self._pack()
        if self._waiting:
            table = pa.Table.from_batches(self._waiting, PREDICTION_SCHEMA).combine_chunks()
            self._writer.write_table(table, row_group_size=max(1, table.num_rows))
        self._waiting, self._count = [], 0


def read_facts(path: Location) -> CommittedPredictions | None:
    """The metadata of a file of predictions, without its rows. None where there is no such file; raises
    `UserError` naming one that is something else."""
    try:
        metadata = pq.read_metadata(parquet_source(path)).metadata or {}
        video = VideoFacts(**json.loads(metadata[_VIDEO.encode()]))
        anchors = json.loads(metadata[_ANCHORS.encode()])
        # A file that does not say which are corrections: any may be one.
        corrections = json.loads(metadata.get(_CORRECTIONS.encode(), json.dumps([*anchors])))
        return CommittedPredictions(
            video,
            {int(index): anchors[index] for index in anchors},
            frozenset(map(int, corrections)),
        )
    except FileNotFoundError:
        return None
    except (pa.ArrowInvalid, KeyError, TypeError, ValueError) as error:
        raise UserError(f"{path}: not a file of predictions ({error})") from error


def rows_by_frame(path: Location) -> Iterator[tuple[int, pa.RecordBatch]]:
    """The rows of every frame that has any, in order, with the frame's index. A row group is in memory."""
    with local_file(path) as file, pq.ParquetFile(file) as opened:
        for group in range(opened.num_row_groups):
            rows = opened.read_row_group(group).combine_chunks().to_batches()
            for batch in rows:
                runs = pc.run_end_encode(batch.column("frame_index"))
                start = 0
                for index, end in zip(
                    runs.values.to_pylist(), runs.run_ends.to_pylist(), strict=True
                ):
                    yield index, batch.slice(start, end - start)
                    start = end


@dataclass(frozen=True)
class PredictionTotals:
    """Of all videos of a folder."""

    rows: int
    mean_confidence: float | None
    """Over the objects that were predicted; None where none has a confidence."""
    share_flagged: float | None
    """Of those objects and frames the share with a flag; None where there is none."""


def prediction_totals(folder: Location) -> PredictionTotals:
    """Totals of the files in `predictions/`; two of the columns are read."""
    files = [file for name, file in files_in(folder).items() if name.endswith(".parquet")]
    if not files:
        return PredictionTotals(0, None, None)
    paths, filesystem = arrow_paths(files)
    rows, confident, summed, flagged, predicted = 0, 0, 0.0, 0, 0
    dataset = ds.dataset(paths, PREDICTION_SCHEMA, format="parquet", filesystem=filesystem)
    for batch in dataset.to_batches(columns=["anchor", "confidence", "flags"]):
        rows += batch.num_rows
        batch = batch.filter(pc.invert(batch.column("anchor")))
        confidence = batch.column("confidence")
        confident += len(confidence) - confidence.null_count
        summed += pc.sum(confidence).as_py() or 0.0
        flagged += pc.sum(pc.greater(pc.list_value_length(batch.column("flags")), 0)).as_py() or 0
        predicted += batch.num_rows
    return PredictionTotals(
        rows,
        summed / confident if confident else None,
        flagged / predicted if predicted else None,
    )
