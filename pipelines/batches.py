"""Rows of decoded clips -> training batches.

Shapes: B clips, T frames, K clusters, H, W pixels, h, w cells.
"""

from collections.abc import Iterable, Iterator

import numpy as np
import ray
import torch

from model.objectives.colorization import ClipBatch
from pipelines.clip_rows import BatchConfig, ClipDataset
from pipelines.shards import ClipFormat, unpack_targets


class Collate:
    """Rows -> `ClipBatch`: targets unpacked, and brought to the cell grid of the resolution.

    Where frames were reduced, a cell covers several stored ones: the commonest code among them wins,
    the lowest on a tie.
    """

    def __init__(self, clip_format: ClipFormat, factor: int) -> None:
        self._format = clip_format
        self._factor = factor

    def __call__(self, batch: dict[str, np.ndarray]) -> ClipBatch:
        one_hot = torch.from_numpy(unpack_targets(batch["target"], self._format))
        grey = torch.from_numpy(np.array(batch["grey"]))  # Ray's arrays are read-only
        return ClipBatch(grey, reduce_one_hot(one_hot, self._factor))


def reduce_one_hot(one_hot_BTKhw: torch.Tensor, factor: int) -> torch.Tensor:
    """Majority vote over factor x factor cells: uint8 one-hot [B, T, K, h / factor, w / factor]."""
    if factor == 1:
        return one_hot_BTKhw
    *leading, clusters, height, width = one_hot_BTKhw.shape
    blocks = one_hot_BTKhw.reshape(
        *leading, clusters, height // factor, factor, width // factor, factor
    )
    votes = blocks.sum(dim=(-3, -1), dtype=torch.int16)
    winner = votes.argmax(dim=-3, keepdim=True)
    return torch.zeros_like(votes, dtype=torch.uint8).scatter_(-3, winner, 1)


def batches_of(
    iterator: ray.data.DataIterator,
    dataset: ClipDataset,
    config: BatchConfig,
    *,
    batch_size: int,
    shuffle_seed: int | None,
) -> Iterator[ClipBatch]:
    """Batches of a Ray Data iterator on the CPU; shuffled within a buffer when a seed is given.

    Shuffled batches are all full; the others may end with a smaller one.
    """
    shuffled = shuffle_seed is not None
    batches: Iterable[dict[str, np.ndarray]] = iterator.iter_batches(
        batch_size=batch_size,
        batch_format="numpy",
        prefetch_batches=2,
        drop_last=shuffled,
        local_shuffle_buffer_size=max(config.shuffle_buffer, batch_size) if shuffled else None,
        local_shuffle_seed=shuffle_seed,
    )
    collate = Collate(dataset.format, dataset.reduction(config))
    return (collate(batch) for batch in batches)
