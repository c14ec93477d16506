"""What a confidence model is fitted on and measured with: signals of an object in a frame, and its true J.

Shape suffixes: N samples, S signals, H, W pixels.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from model.confidence.return_check import ReturnCheck
from model.confidence.signals import SIGNAL_NAMES, ObjectSignals
from model.confidence.tracker import VideoConfidence
from model.metrics.davis import region_similarity
from model.propagation.engine import LabelPropagator

SCHEMA = pa.schema(
    [
        ("video_id", pa.string()),
        ("frame_index", pa.int32()),
        ("object_id", pa.int32()),
        ("j", pa.float64()),
        ("signals", pa.struct([(name, pa.float32()) for name in SIGNAL_NAMES])),
    ]
)


@dataclass(frozen=True)
class Sample:
    """One object in one frame that was predicted."""

    video_id: str
    frame_index: int
    object_id: int
    j: float
    """Region similarity of the predicted with the true mask; 1 where both are empty."""
    signals: ObjectSignals


def samples_of_video(
    video_id: str,
    frames: Sequence[NDArray[np.uint8]],
    truth: Sequence[NDArray[Any]],
    propagator: LabelPropagator,
    check: ReturnCheck | None = None,
) -> Iterator[Sample]:
    """The mask of the first frame carried through a video whose every frame has a true one."""
    confidence = VideoConfidence(None, check)
    for index, (frame_HW3, truth_HW) in enumerate(zip(frames, truth, strict=True)):
        if index == 0:
            result = propagator.start(frame_HW3, truth_HW)
            confidence.start(frame_HW3, result)
            continue
        result = propagator.step(frame_HW3)
        for each in confidence.step(frame_HW3, result):
            label = each.object_id
            j = region_similarity(truth_HW == label, result.mask_HW == label)
            yield Sample(video_id, index, label, j, each.signals)


def to_table(samples: Iterable[Sample]) -> pa.Table:
    """Columns as `SCHEMA` has them."""
    return pa.Table.from_pylist([asdict(sample) for sample in samples], schema=SCHEMA)


def from_table(table: pa.Table) -> list[Sample]:
    """What `to_table` was given. Signals that the table does not know are NaN."""
    return [Sample(**row | {"signals": signals_of(row["signals"])}) for row in table.to_pylist()]


def signals_of(values: Mapping[str, float | None]) -> ObjectSignals:
    """From a row of a table; what is missing or null is NaN."""
    known = {name: values.get(name) for name in SIGNAL_NAMES}
    return ObjectSignals(**{k: np.nan if v is None else float(v) for k, v in known.items()})
