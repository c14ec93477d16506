"""A few clips of held-out videos in full colour, chosen to be looked at.

Shape suffixes: T frames of a clip (references first, the target last), H, W pixels.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pipelines.clip_rows import BatchConfig, ClipDataset
from pipelines.shards import unpack_targets
from pipelines.storage import parquet_source

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
    group: int
    """Index of its row group among those of `ClipDataset.val`."""
    row: int
    """In the row group."""
    change: float
    """Share of the cells whose code differs between the last reference and the target."""


def held_out_clips(dataset: ClipDataset, config: BatchConfig, count: int) -> list[HeldOutClip]:
    """Clips of `count` held-out videos, or fewer, the same ones at every call.

    Of the first `CANDIDATES` held-out videos those are taken in whose first clip most colours move: in
    most clips nearly everything stands still, and copying in place is a good answer. Cuts come last. A
    clip with a damaged frame is left out.
    """
    candidates = sorted(
        islice(_candidates(dataset), CANDIDATES),
        key=lambda c: (c.change > MOST_CHANGE, -c.change, c.video_id),
    )
    clips: list[HeldOutClip] = []
    for candidate in candidates:
        if len(clips) == count:
            break
        jpegs = _columns(dataset, candidate.group, ["frames"])["frames"][candidate.row].as_py()
        frames = [frame for jpeg in jpegs for frame in _small_rgb(jpeg, config.resolution_px)]
        if len(frames) == len(jpegs):
            clips.append(HeldOutClip(candidate.video_id, np.stack(frames)))
    return clips


def _candidates(dataset: ClipDataset) -> Iterator[_Candidate]:
    """The first clip of each held-out video."""
    seen: set[str] = set()
    first_clip = 0
    for group, clips in enumerate(dataset.val.clips_G.tolist()):
        table = _columns(dataset, group, ["video_id", "target"])
        for row in dataset.val.row_C[first_clip : first_clip + clips].tolist():
            video_id, packed = (table[name][row].as_py() for name in ("video_id", "target"))
            if video_id not in seen:
                seen.add(video_id)
                codes_Thw = unpack_targets([packed], dataset.format)[0].argmax(axis=1)
                change = float((codes_Thw[-2] != codes_Thw[-1]).mean())
                yield _Candidate(video_id, group, row, change)
        first_clip += clips


def _columns(dataset: ClipDataset, group: int, names: list[str]) -> pa.Table:
    """Columns of a row group that holds clips of held-out videos."""
    shard = dataset.shards[int(dataset.val.shard_G[group])]
    with pq.ParquetFile(parquet_source(shard)) as file:
        return file.read_row_group(int(dataset.val.group_G[group]), columns=names)


def _small_rgb(jpeg: bytes, side_px: int) -> Iterator[np.ndarray]:
    """The frame, or nothing if it is damaged."""
    frame = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)
    if frame is not None:
        small = cv2.resize(frame, (side_px, side_px), interpolation=cv2.INTER_AREA)
        yield cv2.cvtColor(small, cv2.COLOR_BGR2RGB)
