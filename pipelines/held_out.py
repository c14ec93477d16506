"""A few clips of held-out videos in full colour, chosen to be looked at.

Shape suffixes: T frames of a clip (references first, the target last), H, W pixels.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np
import pyarrow.parquet as pq

from model.errors import UserError
from pipelines.clip_rows import BatchConfig, ClipDataset
from pipelines.manifest import load_manifest
from pipelines.shards import ClipFormat, unpack_targets
from pipelines.storage import Location, parquet_source

CANDIDATES = 64
"""Held-out videos from which the clips are chosen, at most."""
MOST_CHANGE = 0.5
"""A clip in which more of the colours change than this is taken for a cut."""


@dataclass(frozen=True)
class HeldOutClip:
    """What there is to see of a clip."""

    video_id: str
    frames_THW3: np.ndarray
    """uint8 RGB, at the side that the network is trained with."""


@dataclass(frozen=True)
class _Candidate:
    video_id: str
    shard: Location
    row: int
    change: float
    """Share of the cells whose code differs between the last reference and the target."""


def held_out_clips(dataset: ClipDataset, config: BatchConfig, count: int) -> list[HeldOutClip]:
    """Clips of `count` held-out videos, or fewer, the same ones at every call.

    Of the first `CANDIDATES` held-out videos those are taken in whose first clip most colours move, cuts
    excepted: in most clips nearly everything stands still, and copying in place is a good answer.
    """
    side = (config.resolution_px, config.resolution_px)
    moving = [c for c in _candidates(dataset) if c.change <= MOST_CHANGE]
    chosen = sorted(moving, key=lambda c: (-c.change, c.video_id))[:count]
    clips = []
    for candidate in chosen:
        with pq.ParquetFile(parquet_source(candidate.shard)) as file:
            jpegs = _row(file, candidate.row)
        frames = [_small_rgb(jpeg, side) for jpeg in jpegs]
        clips.append(HeldOutClip(candidate.video_id, np.stack(frames)))
    return clips


def _small_rgb(jpeg: bytes, side: tuple[int, int]) -> np.ndarray:
    frame = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)
    if frame is None:
        raise UserError("a stored frame is not a readable JPEG (see `huetrack validate`)")
    small = cv2.resize(frame, side, interpolation=cv2.INTER_AREA)
    return cv2.cvtColor(small, cv2.COLOR_BGR2RGB)


def _candidates(dataset: ClipDataset) -> list[_Candidate]:
    manifest = load_manifest(dataset.folder / "manifest.parquet")
    unseen = {video.video_id for video in manifest if video.split == "val"}
    found: list[_Candidate] = []
    for shard in dataset.shards:
        if len(found) >= CANDIDATES or not unseen:
            break
        found += _of_shard(shard, unseen, dataset.format)
    return found[:CANDIDATES]


def _of_shard(shard: Location, unseen: set[str], clip_format: ClipFormat) -> Iterator[_Candidate]:
    """The first clip of each video that is in `unseen`, which is then taken out of it."""
    columns = ["video_id", "target"]
    table = pq.read_table(parquet_source(shard), columns=columns)
    for row, video_id in enumerate(table["video_id"].to_pylist()):
        if video_id in unseen:
            unseen.remove(video_id)
            codes_Thw = unpack_targets([table["target"][row].as_py()], clip_format)[0].argmax(1)
            yield _Candidate(video_id, shard, row, float((codes_Thw[-2] != codes_Thw[-1]).mean()))


def _row(file: pq.ParquetFile, row: int) -> list[bytes]:
    """The frames of one row; only its row group is read."""
    for group in range(file.num_row_groups):
        rows = file.metadata.row_group(group).num_rows
        if row < rows:
            jpegs: list[bytes] = file.read_row_group(group, columns=["frames"])["frames"][
                row
            ].as_py()
            return jpegs
        row -= rows
    raise IndexError(row)
