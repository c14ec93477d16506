"""Row groups of shards -> stored clips -> decoded batches. Everything here is safe to run on threads:
pyarrow lets go of the interpreter while it reads, and OpenCV while it decodes a JPEG.

Shape suffixes: B clips, T frames, H, W pixels, R rows of a row group.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from model.one_hot import PackedClipBatch
from pipelines.augment import Augmentation, AugmentConfig, draw_augmentation
from pipelines.clip_rows import BatchConfig, ClipDataset, ClipRows, damaged
from pipelines.storage import Location, arrow_paths
from pipelines.targets import CELL_PX

_JPEG_FLAGS = {
    1: cv2.IMREAD_GRAYSCALE,
    2: cv2.IMREAD_REDUCED_GRAYSCALE_2,
    4: cv2.IMREAD_REDUCED_GRAYSCALE_4,
    8: cv2.IMREAD_REDUCED_GRAYSCALE_8,
}


@dataclass(frozen=True, eq=False)
class RowGroup:
    """Stored clips of a shard, in memory."""

    shard: Location
    clip_id_R: pa.StringArray
    jpegs: pa.BinaryArray
    """Frame t of row r is element r * T + t."""
    target_R: np.ndarray
    """Packed one-hot, uint8 [R, bytes]."""


class ClipReader:
    """Reads and decodes the clips of one split."""

    def __init__(self, dataset: ClipDataset, rows: ClipRows, config: BatchConfig) -> None:
        """Raises `UserError` when the resolution does not fit the stored frames."""
        self._shards = dataset.shards
        self._paths, self._filesystem = arrow_paths(dataset.shards)
        self._format = dataset.format
        self._rows = rows
        self._size_px = config.resolution_px
        self._factor = dataset.reduction(config)
        self._pinned = torch.cuda.is_available()  # so that copies to the device need no waiting
        cv2.setNumThreads(1)

    def row_group(self, group: int) -> RowGroup:
        """Row group number `group` of `ClipRows`. Raises `UserError` naming a shard that is missing or
        damaged, `OSError` when it is the storage that fails."""
        shard = self._shards[self._rows.shard_G[group]]
        path = self._paths[self._rows.shard_G[group]]
        try:
            file = pq.ParquetFile(path, filesystem=self._filesystem, pre_buffer=True)
            table = file.read_row_group(
                int(self._rows.group_G[group]),
                columns=["clip_id", "frames", "target"],
                use_threads=False,
            ).combine_chunks()
        except (OSError, pa.ArrowException) as error:
            if _may_pass(error):
                raise
            raise damaged(shard, error) from error
        jpegs = table["frames"].chunk(0).flatten()
        if len(jpegs) != len(table) * self._format.frames:
            raise damaged(shard, f"clips of other than {self._format.frames} frames")
        packed = np.frombuffer(b"".join(table["target"].to_pylist()), np.uint8)
        return RowGroup(shard, table["clip_id"].chunk(0), jpegs, packed.reshape(len(table), -1))

    def batch(
        self,
        groups: Sequence[RowGroup],
        clips: np.ndarray,
        augment: AugmentConfig | None = None,
        random: np.random.Generator | None = None,
    ) -> PackedClipBatch:
        """Decode the clips number `clips` of `ClipRows`, each in its row group of `groups`.

        Raises `UserError` naming a frame that is not a JPEG of the dataset's size.
        """
        # A square is cut out of the frame as it is stored, so that no detail is lost when it is small.
        factor = 1 if augment and augment.crop < 1.0 else self._factor
        shape = (len(clips), self._format.frames, self._size_px, self._size_px)
        grey = torch.empty(shape, dtype=torch.uint8, pin_memory=self._pinned)
        target = torch.empty(
            (len(clips), self._format.target_bytes), dtype=torch.uint8, pin_memory=self._pinned
        )
        decoded_cells = self._format.size_px // factor // CELL_PX
        changes = [
            draw_augmentation(augment, decoded_cells, random) if augment and random else None
            for _ in clips
        ]
        for i, (group, clip, change) in enumerate(zip(groups, clips, changes, strict=True)):
            row = int(self._rows.row_C[clip])
            self._decode(group, row, factor, change, grey.numpy()[i])
            target.numpy()[i] = group.target_R[row]
        moved = None
        if augment and augment.moves_cells:
            moved = torch.from_numpy(
                np.stack([c.cells(self._size_px // CELL_PX) for c in changes if c])
            )
        return PackedClipBatch(grey, target, self._format.target_shape, factor, moved)

    def _decode(
        self,
        group: RowGroup,
        row: int,
        factor: int,
        change: Augmentation | None,
        out_THW: np.ndarray,
    ) -> None:
        size_px = self._format.size_px // factor
        for t, out_HW in enumerate(out_THW):
            jpeg = group.jpegs[row * len(out_THW) + t].as_buffer()
            try:
                frame = cv2.imdecode(np.frombuffer(jpeg, np.uint8), _JPEG_FLAGS[factor])
            except cv2.error:  # no bytes at all
                frame = None
            if frame is None or frame.shape != (size_px, size_px):
                clip_id = group.clip_id_R[row].as_py()
                raise damaged(
                    group.shard,
                    f"frame {t} of clip {clip_id!r} is not a JPEG of the dataset's size",
                )
            out_HW[:] = frame if change is None else change(frame, self._size_px)


def _may_pass(error: Exception) -> bool:
    """Whether the storage failed, and another try may succeed, rather than the file. pyarrow raises
    `OSError` for both; what the system or S3 answered has a number or a name."""
    if isinstance(error, FileNotFoundError):
        return False
    return getattr(error, "errno", None) is not None or "AWS Error" in str(error)
