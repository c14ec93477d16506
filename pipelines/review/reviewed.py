"""What the predictions of an archive say of every object in every frame, without the labels themselves.

Shape suffixes: O objects of a video, T its frames, R rows of its table.
"""

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from model.confidence.flags import FLAGS
from model.errors import UserError
from pipelines.footage import DEFAULT_FPS_HZ
from pipelines.predictions import FOLDER as PREDICTIONS
from pipelines.storage import Location, files_in, read_all

LOW_CONFIDENCE = 0.5
"""A confidence is the probability that J is at least 0.5: below this a label is more likely wrong than
right."""
LOW_BIT = 1 << len(FLAGS)
"""Of an object whose confidence is low, whatever its flags, whose bits are in the order of `FLAGS`."""
_COLUMNS = ["frame_index", "frame", "kind", "object_id", "anchor", "confidence", "flags"]
_FILES_AT_ONCE = 64


@dataclass(frozen=True)
class ReviewedVideo:
    """A labelled video as a reviewer sees it."""

    video_id: str
    fps_hz: float
    frames: tuple[str, ...]
    """Names, in order."""
    anchor_T: np.ndarray
    """bool: annotated by a person."""
    object_ids: tuple[int, ...]
    kinds: tuple[str, ...]
    """mask, keypoints, box or point, for each object."""
    confidence_OT: np.ndarray
    """float32 from 0 to 1; NaN where it was not computed."""
    bits_OT: np.ndarray
    """uint8: a bit for each of `FLAGS`, and `LOW_BIT`."""
    names: Mapping[int, str] = field(default_factory=dict)
    """The category of an object by its id, where it is known."""

    @property
    def flagged(self) -> np.ndarray:
        """bool [T]: some object has a flag or a low confidence."""
        found: np.ndarray = (self.bits_OT != 0).any(axis=0)
        return found

    @property
    def least_confidence(self) -> np.ndarray:
        """float32 [T]: the lowest of any object; NaN where none is known."""
        lowest: np.ndarray = np.fmin.reduce(self.confidence_OT, axis=0, initial=np.nan)
        return lowest

    def label(self, object_id: int) -> str:
        """The category, or `object ID`."""
        return self.names.get(object_id) or f"object {object_id}"


@dataclass(frozen=True)
class FailedVideo:
    """A video without labels, and why."""

    video_id: str
    kind: str
    message: str


def prediction_files(out: Location) -> dict[str, Location]:
    """The tables of predictions by the id of their video, in order."""
    return {
        name.removesuffix(".parquet"): path
        for name, path in files_in(out / PREDICTIONS).items()
        if name.endswith(".parquet") and not name.startswith(".")
    }


def reviewed_videos(files: Mapping[str, Location]) -> Iterator[ReviewedVideo]:
    """Every video, in the order of the files; many of them are read at a time.

    Raises `UserError` naming a file that is no table of predictions.
    """
    items = list(files.items())
    for start in range(0, len(items), _FILES_AT_ONCE):
        some = items[start : start + _FILES_AT_ONCE]
        contents = read_all([path for _, path in some])
        for (video_id, path), content in zip(some, contents, strict=True):
            yield _reviewed(video_id, path, content)


def _reviewed(video_id: str, path: Location, content: bytes) -> ReviewedVideo:
    try:
        with pq.ParquetFile(pa.BufferReader(content)) as file:
            facts = json.loads((file.metadata.metadata or {}).get(b"huetrack.video", b"{}"))
            return _from_table(video_id, facts, file.read(_COLUMNS, use_threads=False))
    except (pa.ArrowException, LookupError, ValueError, TypeError, AttributeError) as error:
        raise UserError(f"{path}: not a table of predictions ({error})") from error


def _from_table(video_id: str, facts: Mapping[str, Any], table: pa.Table) -> ReviewedVideo:
    frame_R = table["frame_index"].to_numpy()
    ids, first_R, object_R = np.unique(
        table["object_id"].to_numpy(), return_index=True, return_inverse=True
    )
    count = max(int(facts.get("frames", 0)), int(frame_R.max(initial=-1)) + 1)
    frames = [f"{index:05d}" for index in range(count)]
    named, where_R = np.unique(frame_R, return_index=True)
    for index, name in zip(named, table["frame"].take(where_R).to_pylist(), strict=True):
        frames[index] = name
    anchor_T = np.zeros(count, np.bool_)
    anchor_T[frame_R[table["anchor"].to_numpy(zero_copy_only=False)]] = True
    confidence_OT = np.full((len(ids), count), np.nan, np.float32)
    confidence_OT[object_R, frame_R] = table["confidence"].to_numpy(zero_copy_only=False)
    bits_OT = np.zeros((len(ids), count), np.uint8)
    bits_OT[object_R, frame_R] = _flag_bits(table["flags"].combine_chunks())
    bits_OT[confidence_OT < LOW_CONFIDENCE] |= LOW_BIT
    fps_hz = float(facts.get("fps_hz") or DEFAULT_FPS_HZ)
    if not 0 < fps_hz < math.inf:
        raise ValueError(f"a frame rate of {fps_hz}")
    return ReviewedVideo(
        video_id,
        fps_hz,
        tuple(frames),
        anchor_T,
        tuple(ids.tolist()),
        tuple(table["kind"].take(first_R).to_pylist()),
        confidence_OT,
        bits_OT,
        {int(i): str(name) for i, name in (facts.get("object_names") or {}).items()},
    )


def _flag_bits(flags_R: pa.Array) -> np.ndarray:
    """uint8 [R]: the names of flags in each row as bits; names that are not known here are passed over."""
    bit_of = {name: 1 << bit for bit, name in enumerate(FLAGS)}
    lengths_R = np.asarray(flags_R.value_lengths().fill_null(0))
    names = flags_R.flatten().dictionary_encode()
    bits = np.array([bit_of.get(name, 0) for name in names.dictionary.to_pylist()], np.uint8)
    bits_R = np.zeros(len(flags_R), np.uint8)
    if len(names):
        row = np.repeat(np.arange(len(flags_R)), lengths_R)
        np.bitwise_or.at(bits_R, row, bits[np.asarray(names.indices)])
    return bits_R
