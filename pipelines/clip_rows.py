"""Which rows of which shards hold the clips of training and of validation.

Opening a dataset reads every shard's footer and its `video_id` column, so that what is missing,
damaged or of another dataset is named before anything starts.
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from model.errors import UserError
from pipelines.augment import AugmentConfig
from pipelines.manifest import load_manifest
from pipelines.shards import ClipFormat, broken_shards, committed_shards, format_of
from pipelines.storage import Location, arrow_paths
from pipelines.targets import CELL_PX

_SHARDS_AT_ONCE = 16
SPLITS = ("train", "val")


@dataclass(frozen=True)
class BatchConfig:
    """What a batch looks like."""

    batch_size: int = 32
    """Clips in a batch, over all workers together (paper: 32)."""
    resolution_px: int = 256
    """Side of the frames that the network sees: the stored side divided by 1, 2, 4 or 8, and a multiple
    of 8."""
    shuffle_buffer: int = 1024
    """Clips among which a worker draws its batches; they are kept as JPEG, some 80 kB each."""
    clips_per_epoch: int = 16_384
    """Clips of a virtual epoch, over all workers. The shuffled stream of clips is cut into these, and
    each is divided among the workers; another number of workers divides the current one anew."""
    validation_clips: int = 512
    """Clips of held-out videos that a validation reads, at most: evenly spread over all of them."""
    augment: AugmentConfig = field(default_factory=AugmentConfig)

    def __post_init__(self) -> None:
        for name in ("batch_size", "shuffle_buffer", "validation_clips"):
            if getattr(self, name) < 1:
                raise UserError(f"batches.{name} must be at least 1, not {getattr(self, name)}")
        if self.resolution_px < CELL_PX or self.resolution_px % CELL_PX:
            raise UserError(
                f"batches.resolution_px must be a multiple of {CELL_PX}, not {self.resolution_px}"
            )
        if self.clips_per_epoch < self.batch_size:
            raise UserError(
                f"batches.clips_per_epoch {self.clips_per_epoch} must be at least one batch of "
                f"{self.batch_size}"
            )

    @property
    def batches_per_epoch(self) -> int:
        return self.clips_per_epoch // self.batch_size


@dataclass(frozen=True, eq=False)
class ClipRows:
    """The clips of one split, in the order of the shards.

    Shape suffixes: G row groups that hold a clip of the split, C clips.
    """

    shard_G: np.ndarray
    """Index of the shard, int32."""
    group_G: np.ndarray
    """Number of the row group in its shard, int32."""
    clips_G: np.ndarray
    """Clips of the split in the row group, int64."""
    row_C: np.ndarray
    """Row in its row group, int32."""

    def __len__(self) -> int:
        return len(self.row_C)

    def group_of(self, clip_N: np.ndarray) -> np.ndarray:
        """Row group of each of these clips."""
        return np.searchsorted(self.clips_G.cumsum(), clip_N, side="right")


@dataclass(frozen=True, eq=False)
class ClipDataset:
    """The committed shards of a dataset, and where the clips of each split lie in them."""

    folder: Location
    shards: Sequence[Location]
    format: ClipFormat
    codebook_fingerprint: str
    train: ClipRows
    val: ClipRows
    """Splits are those of the videos in the manifest, so that no video is in both."""

    @staticmethod
    def open(folder: Location) -> "ClipDataset":
        """Raises `UserError` when the folder holds no finished dataset, or names the shard that is
        missing, cannot be read or does not belong to the others."""
        if not folder.is_dir():
            raise UserError(f"{folder}: no such dataset")
        committed = committed_shards(folder)
        if broken := broken_shards(folder, committed):
            raise UserError(
                f"{broken[0]}: is missing, or is not the file that its marker describes "
                "(`huetrack preprocess` makes it again, `huetrack validate` lists all such)"
            )
        shards = list(committed)
        videos = load_manifest(folder / "manifest.parquet")
        ids = [
            pa.array([v.video_id for v in videos if v.split == split], pa.string())
            for split in SPLITS
        ]
        paths, filesystem = arrow_paths(shards)
        with ThreadPoolExecutor(_SHARDS_AT_ONCE) as pool:
            looks = list(
                pool.map(
                    lambda place: _look_into(place[0], filesystem, ids, place[1]),
                    zip(paths, shards, strict=True),
                )
            )
        first = looks[0]
        for shard, look in zip(shards, looks, strict=True):
            if (look.codebook_fingerprint, look.format) != (
                first.codebook_fingerprint,
                first.format,
            ):
                raise UserError(
                    f"{shard}: was made with codebook {look.codebook_fingerprint} and {look.format}, "
                    f"{shards[0].name} with {first.codebook_fingerprint} and {first.format}"
                )
        train, val = (
            _joined([look.rows_by_split[split] for look in looks]) for split in range(len(SPLITS))
        )
        return ClipDataset(folder, shards, first.format, first.codebook_fingerprint, train, val)

    def reduction(self, config: BatchConfig) -> int:
        """By how much frames and targets are reduced. `UserError` when it is not 1, 2, 4 or 8."""
        factor, rest = divmod(self.format.size_px, config.resolution_px)
        if rest or factor not in (1, 2, 4, 8):
            raise UserError(
                f"batches.resolution_px {config.resolution_px} must be the stored "
                f"{self.format.size_px} divided by 1, 2, 4 or 8"
            )
        return factor


def damaged(shard: Location, cause: object) -> UserError:
    """A shard that cannot be read, with the cause and the remedy."""
    return UserError(
        f"{shard}: cannot be read ({cause}); `huetrack validate` lists all such shards, and once one is "
        "removed `huetrack preprocess` makes it again"
    )


@dataclass(frozen=True)
class _Look:
    """What a shard says of itself."""

    format: ClipFormat
    codebook_fingerprint: str
    rows_by_split: list[list[np.ndarray]]
    """For each of SPLITS: of every row group, the rows that belong to it, int32."""


def _look_into(path: str, filesystem: Any, splits: Sequence[pa.Array], shard: Location) -> _Look:
    """Read a shard's footer and its video ids; `splits` are the ids of each split's videos."""
    try:
        file = pq.ParquetFile(path, filesystem=filesystem)
        schema = file.schema_arrow
        groups = [
            file.read_row_group(group, columns=["video_id"], use_threads=False)["video_id"]
            for group in range(file.num_row_groups)
        ]
    except (OSError, pa.ArrowException) as error:
        raise damaged(shard, error) from error
    members = [[pc.is_in(group, ids).to_numpy() for group in groups] for ids in splits]
    known = sum(int(mask.sum()) for masks in members for mask in masks)
    if known != file.metadata.num_rows:
        raise UserError(f"{shard}: holds clips of videos that are not in the manifest")
    fingerprint = (schema.metadata or {}).get(b"huetrack.codebook", b"").decode()
    rows = [[mask.nonzero()[0].astype(np.int32) for mask in masks] for masks in members]
    return _Look(format_of(schema, shard), fingerprint, rows)


def _joined(rows_by_shard: Sequence[Sequence[np.ndarray]]) -> ClipRows:
    """One split's rows, by shard and row group, as one table."""
    places = [
        (shard, group, rows)
        for shard, groups in enumerate(rows_by_shard)
        for group, rows in enumerate(groups)
        if len(rows)
    ]
    return ClipRows(
        np.array([shard for shard, _, _ in places], np.int32),
        np.array([group for _, group, _ in places], np.int32),
        np.array([len(rows) for _, _, rows in places], np.int64),
        np.concatenate([np.empty(0, np.int32), *(rows for _, _, rows in places)]),
    )
