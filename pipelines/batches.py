"""Shards -> training batches, decoded on threads while the network computes.

This part of a training does without Ray Data. Decoding a clip takes less than a millisecond of a core,
and handing it from task to object store to consumer takes that again; an epoch of Ray Data takes
seconds to start and has no position from which to go on (`benchmarks/loader.py` measures both).
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

import numpy as np

from model.one_hot import PackedClipBatch
from pipelines.clip_order import Block, ClipOrder
from pipelines.clip_reader import ClipReader, RowGroup
from pipelines.clip_rows import BatchConfig, ClipDataset

_READING_THREADS = 8  # they wait for storage more than they compute
_VALIDATION_BATCH = 8  # clips, each of which may bring 64 stored ones into memory with it
_AUGMENT = 2  # beside the other uses of the seed, in clip_order

T = TypeVar("T")


def training_batches(
    dataset: ClipDataset,
    config: BatchConfig,
    *,
    seed: int,
    first: int = 0,
    rank: int = 0,
    workers: int = 1,
    threads: int = 1,
) -> Iterator[PackedClipBatch]:
    """This worker's batches without end, from batch number `first` of the training on.

    They depend on the dataset, `config`, `seed`, `rank` and `workers` alone. In memory are three
    blocks of `shuffle_buffer` stored clips and `threads` + 1 decoded batches at most. Raises
    `UserError` naming a damaged shard, and `OSError`, while iterating.
    """
    order = ClipOrder(dataset.train, config, seed, rank, workers)
    reader = ClipReader(dataset, dataset.train, config)

    def decode(block: Block, groups: list[RowGroup]) -> PackedClipBatch:
        random = np.random.default_rng((seed, _AUGMENT, block.position))
        return reader.batch(groups, block.clip_N, config.augment, random)

    return _decoded(order.blocks(first), order.batch_clips, reader, decode, threads)


def validation_batches(
    dataset: ClipDataset,
    config: BatchConfig,
    *,
    rank: int = 0,
    workers: int = 1,
    threads: int = 1,
) -> Iterator[PackedClipBatch]:
    """This worker's share of `validation_clips` held-out clips, unchanged and in order.

    They lie at an even stride among all held-out clips, so that they are of as many videos as can be.
    A row group is read for each, unless they share it; those of a few batches are in memory together.
    The last batch may be smaller. Raises as `training_batches` does.
    """
    count = min(config.validation_clips, len(dataset.val))
    clip_N = (np.arange(count) * len(dataset.val) // max(count, 1))[rank::workers]
    share = Block(0, dataset.val.group_of(clip_N), clip_N)
    size = min(max(config.batch_size // workers, 1), _VALIDATION_BATCH)
    blocks = [share.part(start, size) for start in range(0, len(share), size)]
    reader = ClipReader(dataset, dataset.val, config)

    def decode(block: Block, groups: list[RowGroup]) -> PackedClipBatch:
        return reader.batch(groups, block.clip_N)

    return _decoded(blocks, size, reader, decode, threads)


def _decoded(
    blocks: Iterable[Block],
    size: int,
    reader: ClipReader,
    decode: Callable[[Block, list[RowGroup]], PackedClipBatch],
    threads: int,
) -> Iterator[PackedClipBatch]:
    """Batches of `size` clips: row groups are read a block ahead, each batch is one thread's work."""
    reading = ThreadPoolExecutor(_READING_THREADS, "read-clips")
    decoding = ThreadPoolExecutor(threads, "decode-clips")

    def task(batch: Block, groups: dict[int, Future[RowGroup]]) -> PackedClipBatch:
        return decode(batch, [groups[group].result() for group in batch.group_N])

    def read() -> Iterator[tuple[Block, dict[int, Future[RowGroup]]]]:
        groups: dict[int, Future[RowGroup]] = {}
        for block in blocks:
            groups = {
                group: groups.get(group) or reading.submit(reader.row_group, group)
                for group in np.unique(block.group_N).tolist()
            }
            yield block, groups

    waiting: deque[Future[PackedClipBatch]] = deque()
    try:
        for block, groups in _one_ahead(read()):
            for start in range(0, len(block), size):
                waiting.append(decoding.submit(task, block.part(start, size), groups))
                if len(waiting) > threads:
                    yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        for pool in (decoding, reading):
            pool.shutdown(cancel_futures=True)


def _one_ahead(items: Iterable[T]) -> Iterator[T]:
    """The same items; each is asked for before the one in front of it is handed on."""
    source = iter(items)
    for current in source:
        for following in source:
            yield current
            current = following
        yield current
