from collections import Counter
from itertools import islice

import numpy as np
import pytest

from model.errors import UserError
from pipelines.clip_order import ClipOrder
from pipelines.clip_rows import BatchConfig, ClipRows

SIZES = [7, 1, 12, 3, 9, 12, 5, 11]  # 60 clips
CONFIG = BatchConfig(batch_size=6, shuffle_buffer=24, clips_per_epoch=48)


def rows(sizes=SIZES):
    groups = np.arange(len(sizes), dtype=np.int32)
    return ClipRows(groups, groups, np.array(sizes), np.zeros(sum(sizes), np.int32))


def batches(first, count, *, config=CONFIG, seed=0, rank=0, workers=1, sizes=SIZES):
    """The clips of `count` batches."""
    order = ClipOrder(rows(sizes), config, seed, rank, workers)
    size = order.batch_clips
    parts = (
        tuple(block.part(start, size).clip_N.tolist())
        for block in order.blocks(first)
        for start in range(0, len(block), size)
    )
    return list(islice(parts, count))


def clips(parts):
    return [clip for part in parts for clip in part]


def test_every_clip_comes_once_in_every_pass():
    config = BatchConfig(batch_size=6, shuffle_buffer=12, clips_per_epoch=60)
    for epoch in range(3):
        assert sorted(clips(batches(10 * epoch, 10, config=config))) == list(range(60))


def test_an_epoch_may_be_longer_than_the_dataset_and_end_within_it():
    seen = Counter(clips(batches(0, 5 * 8)))  # five epochs of 48 are four passes over 60
    assert seen == Counter({clip: 4 for clip in range(60)})


def test_each_clip_is_looked_for_in_its_row_group():
    ends = np.cumsum(SIZES)
    for block in islice(ClipOrder(rows(), CONFIG, 0).blocks(0), 6):
        for group, clip in zip(block.group_N, block.clip_N, strict=True):
            assert ends[group] - SIZES[group] <= clip < ends[group]
    assert rows().group_of(np.arange(60)).tolist() == np.repeat(np.arange(8), SIZES).tolist()


def test_the_same_seed_gives_the_same_batches_and_another_seed_others():
    assert batches(0, 20, seed=1) == batches(0, 20, seed=1)
    assert batches(0, 20, seed=1) != batches(0, 20, seed=2)


def test_orders_of_epochs_differ_and_are_not_those_of_the_shards():
    config = BatchConfig(batch_size=6, shuffle_buffer=12, clips_per_epoch=60)
    epochs = [clips(batches(10 * epoch, 10, config=config)) for epoch in range(4)]
    assert len({tuple(epoch) for epoch in [*epochs, range(60)]}) == 5


@pytest.mark.parametrize("workers", [1, 2, 3, 4])
def test_a_resumed_training_goes_on_with_the_batch_that_was_next(workers):
    all_batches = batches(0, 40, rank=workers - 1, workers=workers)
    for first in (1, 3, 4, 8, 13, 27):
        assert batches(first, 10, rank=workers - 1, workers=workers) == all_batches[first:][:10]


@pytest.mark.parametrize("workers", [2, 3, 4, 5, 6])
def test_workers_divide_an_epoch_and_each_batch_whatever_their_number(workers):
    """Also one that does not divide the six clips of a batch."""
    alone = clips(batches(8, 8))  # the second epoch
    together = [batches(8, 8, rank=r, workers=workers) for r in range(workers)]
    for parts in zip(*together, strict=True):
        sizes = [len(part) for part in parts]
        assert sum(sizes) == 6
        assert max(sizes) - min(sizes) <= 1
    assert Counter(clips(clips(together))) == Counter(alone)


def test_a_batch_mixes_row_groups():
    sizes = [16] * 64
    config = BatchConfig(batch_size=16, shuffle_buffer=256, clips_per_epoch=1024)
    for batch in batches(0, 64, config=config, sizes=sizes):
        assert len({clip // 16 for clip in batch}) >= 6


def test_blocks_hold_no_more_than_the_buffer_and_are_read_group_by_group():
    sizes = [16] * 64
    config = BatchConfig(batch_size=16, shuffle_buffer=256, clips_per_epoch=1024)
    blocks = list(islice(ClipOrder(rows(sizes), config, 0, 1, 2).blocks(0), 8))
    assert all(len(block) <= 256 for block in blocks)
    assert all(len(set(block.group_N.tolist())) <= 17 for block in blocks)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"clips_per_epoch": 31}, "clips_per_epoch 31"),
        ({"batch_size": 0}, "batch_size"),
        ({"shuffle_buffer": 0}, "shuffle_buffer"),
        ({"validation_clips": 0}, "validation_clips"),
    ],
)
def test_settings_that_give_no_batch_are_refused(setting, message):
    with pytest.raises(UserError, match=message):
        BatchConfig(**setting)
