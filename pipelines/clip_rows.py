"""Parquet shards -> rows of decoded clips, as a Ray Data pipeline.

JPEG frames become luma in parallel Ray tasks; the one-hot targets stay bit-packed. Nothing here loads
PyTorch, so that the reading workers start quickly and stay small.
"""

from dataclasses import dataclass
from typing import Any, Literal

import cv2
import numpy as np
import pyarrow.dataset
import pyarrow.parquet as pq
import ray

from model.errors import UserError
from pipelines.manifest import load_manifest
from pipelines.shards import ClipFormat, committed_shards, format_of
from pipelines.storage import Location, arrow_paths, parquet_source
from pipelines.targets import CELL_PX

_CLIPS_PER_EPOCH = 8192
_FILES_PER_EPOCH = 64


@dataclass(frozen=True)
class BatchConfig:
    """What a batch looks like."""

    batch_size: int = 32
    """Clips in a batch, over all workers together (paper: 32)."""
    resolution_px: int = 256
    """Side of the frames that the network sees: the stored side divided by 1, 2, 4 or 8."""
    shuffle_buffer: int = 512
    """Clips among which a worker draws its batches."""
    validation_clips: int = 512
    """Clips of held-out videos that a validation reads, at most."""


@dataclass(frozen=True)
class ClipDataset:
    """Committed shards of a dataset and what is common to their clips."""

    folder: Location
    shards: list[Location]
    clips: int
    format: ClipFormat
    codebook_fingerprint: str

    @staticmethod
    def open(folder: Location) -> "ClipDataset":
        """Raises `UserError` when the folder holds no finished dataset."""
        if not folder.is_dir():
            raise UserError(f"{folder}: no such dataset")
        committed = committed_shards(folder)
        shards, clips = list(committed), sum(marker.rows for marker in committed.values())
        schema = pq.read_schema(parquet_source(shards[0]))
        fingerprint = (schema.metadata or {}).get(b"huetrack.codebook", b"").decode()
        return ClipDataset(folder, shards, clips, format_of(schema, shards[0]), fingerprint)

    def video_ids(self) -> list[str]:
        """The video of every clip; reads that column of all shards."""
        paths, filesystem = arrow_paths(self.shards)
        shards = pyarrow.dataset.dataset(paths, filesystem=filesystem, format="parquet")
        ids: list[str] = shards.to_table(columns=["video_id"])["video_id"].to_pylist()
        return ids

    def reduction(self, config: BatchConfig) -> int:
        """By how much frames and targets are reduced. `UserError` when it is not 1, 2, 4 or 8."""
        factor, rest = divmod(self.format.size_px, config.resolution_px)
        if rest or factor not in (1, 2, 4, 8) or config.resolution_px % CELL_PX:
            raise UserError(
                f"resolution_px {config.resolution_px} must be the stored {self.format.size_px} "
                "divided by 1, 2, 4 or 8, and a multiple of 8"
            )
        return factor


class _DecodeRows:
    """Ray Data stage: JPEG frames -> luma uint8, reduced by `factor` inside the JPEG decoder."""

    _FLAGS: tuple[tuple[int, int], ...] = (
        (1, cv2.IMREAD_GRAYSCALE),
        (2, cv2.IMREAD_REDUCED_GRAYSCALE_2),
        (4, cv2.IMREAD_REDUCED_GRAYSCALE_4),
        (8, cv2.IMREAD_REDUCED_GRAYSCALE_8),
    )

    def __init__(self, factor: int) -> None:
        self._flag = dict(self._FLAGS)[factor]

    def __call__(self, batch: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        cv2.setNumThreads(1)
        grey = [[self._grey(jpeg) for jpeg in frames] for frames in batch["frames"]]
        packed = np.frombuffer(b"".join(batch["target"]), dtype=np.uint8)
        return {"grey": np.array(grey), "target": packed.reshape(len(grey), -1)}

    def _grey(self, jpeg: bytes) -> np.ndarray:
        image = cv2.imdecode(np.frombuffer(jpeg, dtype=np.uint8), self._flag)
        if image is None:
            raise ValueError("a stored frame is not a readable JPEG (see `huetrack validate`)")
        return image


def clip_rows(
    dataset: ClipDataset, split: Literal["train", "val"], config: BatchConfig, seed: int = 0
) -> ray.data.Dataset:
    """Rows {grey uint8 [T, H, W], target uint8 [bytes]} of the clips of one split.

    The split is that of the video in the manifest, so that no video is on both sides. Training
    shards come in an order that changes every epoch, and a small dataset is gone through several
    times in one epoch, because starting an epoch costs seconds. Validation keeps its order and is
    cut off at `validation_clips`.
    """
    wanted = {
        video.video_id
        for video in load_manifest(dataset.folder / "manifest.parquet")
        if video.split == split
    }
    factor = dataset.reduction(config)
    paths, filesystem = arrow_paths(dataset.shards)
    shuffle = None
    if split == "train":
        shuffle = ray.data.FileShuffleConfig(seed=seed)
        often = _CLIPS_PER_EPOCH // max(dataset.clips, 1)
        paths *= max(1, min(often, _FILES_PER_EPOCH // len(paths)))
    rows = ray.data.read_parquet(paths, filesystem=filesystem, shuffle=shuffle)
    rows = rows.select_columns(["video_id", "frames", "target"]).map_batches(
        _OfVideos(frozenset(wanted)), batch_size=None, batch_format="pyarrow"
    )
    if split == "val":
        rows = rows.limit(config.validation_clips)
    return rows.map_batches(_DecodeRows(factor), batch_size=64, batch_format="numpy")


class _OfVideos:
    """Ray Data stage: keep the clips of these videos."""

    def __init__(self, video_ids: frozenset[str]) -> None:
        self._video_ids = video_ids

    def __call__(self, table: Any) -> Any:
        keep = [video_id in self._video_ids for video_id in table["video_id"].to_pylist()]
        return table.filter(np.array(keep, dtype=bool)).drop_columns(["video_id"])
