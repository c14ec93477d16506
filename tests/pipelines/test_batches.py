import weakref
from itertools import islice

import numpy as np
import pytest
import torch

from model.errors import UserError
from pipelines.augment import AugmentConfig
from pipelines.batches import training_batches, validation_batches
from pipelines.clip_reader import ClipReader
from pipelines.clip_rows import BatchConfig, ClipDataset
from pipelines.shards import Clip, ShardWriter, clip_schema, shard_name
from tests.clip_datasets import FORMAT, codes_of, commit, jpeg, write_dataset

CPU = torch.device("cpu")
GOOD = jpeg(np.zeros((64, 64), np.uint8))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_dataset(tmp_path_factory.mktemp("dataset"))


def numbers(batch):
    """Which clips are in a batch, told by their codes."""
    known = {codes_of(number).tobytes(): number for number in range(18)}
    codes = batch.to(CPU).target_BTKhw.argmax(dim=2)[:, 0].to(torch.uint8).numpy()
    return [known[code.tobytes()] for code in codes]


def shown_codes(grey_BTHW):
    """The codes that the frames show in the middle of each cell."""
    batch, frames, height, width = grey_BTHW.shape
    cells = grey_BTHW.reshape(batch, frames, height // 8, 8, width // 8, 8)[:, :, :, 3:5, :, 3:5]
    brighter = 12 * torch.arange(frames)[:, None, None]
    return ((cells.float().mean(dim=(3, 5)) - brighter) / 12).round().long()


def test_validation_takes_the_held_out_clips_in_order(folder):
    dataset = ClipDataset.open(folder)
    config = BatchConfig(batch_size=4, resolution_px=64)
    batches = list(validation_batches(dataset, config))
    assert [numbers(batch) for batch in batches] == [[6, 7, 8, 9], [10, 11]]
    shares = [validation_batches(dataset, config, rank=rank, workers=4) for rank in range(4)]
    assert [[n for b in share for n in numbers(b)] for share in shares] == [
        [6, 10],
        [7, 11],
        [8],
        [9],
    ]


def test_few_validation_clips_are_spread_over_all_that_are_held_out(folder):
    dataset = ClipDataset.open(folder)
    for count, taken in ((1, [6]), (2, [6, 9]), (3, [6, 8, 10]), (5, [6, 7, 8, 9, 10])):
        few = BatchConfig(batch_size=4, resolution_px=64, validation_clips=count)
        batches = validation_batches(dataset, few)
        assert [number for batch in batches for number in numbers(batch)] == taken
    few = BatchConfig(batch_size=4, resolution_px=64, validation_clips=3)
    shares = [validation_batches(dataset, few, rank=rank, workers=2) for rank in range(2)]
    assert [[n for b in share for n in numbers(b)] for share in shares] == [[6, 10], [8]]


def test_validation_reads_a_row_group_once_and_holds_those_of_a_few_batches(tmp_path, monkeypatch):
    """Each clip lies in a row group of its own."""
    monkeypatch.setattr("pipelines.shards.ROW_GROUP_CLIPS", 1)
    dataset = ClipDataset.open(write_dataset(tmp_path, clips_per_video=80))
    read = []
    row_group = ClipReader.row_group

    def counted(reader, number):
        group = row_group(reader, number)
        read.append((number, weakref.ref(group)))
        return group

    monkeypatch.setattr(ClipReader, "row_group", counted)
    batches = validation_batches(dataset, BatchConfig(resolution_px=64))
    alive = [(len(batch.grey_BTHW), sum(ref() is not None for _, ref in read)) for batch in batches]
    assert sum(clips for clips, _ in alive) == 80
    assert max(held for _, held in alive) <= 40
    assert sorted(number for number, _ in read) == list(range(80))


@pytest.mark.parametrize("resolution", [64, 32])
def test_training_batches_hold_frames_with_their_own_targets(folder, resolution):
    dataset = ClipDataset.open(folder)
    config = BatchConfig(batch_size=5, resolution_px=resolution, clips_per_epoch=60)
    seen = []
    for packed in islice(training_batches(dataset, config, seed=3, threads=2), 12):
        batch = packed.to(CPU)
        assert batch.grey_BTHW.shape == (5, 4, resolution, resolution)
        assert batch.target_BTKhw.shape == (5, 4, 16, resolution // 8, resolution // 8)
        torch.testing.assert_close(shown_codes(batch.grey_BTHW), batch.target_BTKhw.argmax(dim=2))
        if resolution == 64:
            seen += numbers(packed)
    if resolution == 64:
        assert sorted(seen) == sorted([*range(6), *range(12, 18)] * 5)
        assert seen[:12] != sorted(seen[:12])


def test_augmented_clips_keep_frames_and_targets_together(folder):
    dataset = ClipDataset.open(folder)
    config = BatchConfig(batch_size=12, resolution_px=64, augment=AugmentConfig(flip=0.5, crop=0.5))
    plain = BatchConfig(batch_size=12, resolution_px=64)
    changed = 0
    for packed, same in zip(
        islice(training_batches(dataset, config, seed=3), 4),
        training_batches(dataset, plain, seed=3),
        strict=False,
    ):
        batch = packed.to(CPU)
        codes = batch.target_BTKhw.argmax(dim=2)
        # All but cells whose centre lies where two cells of the stored frame are mixed.
        assert (shown_codes(batch.grey_BTHW) == codes).float().mean() > 0.8
        assert torch.equal(codes[:, 0], codes[:, 3])
        changed += int((codes != same.to(CPU).target_BTKhw.argmax(dim=2)).any())
    assert changed == 4


def test_same_seed_same_batches_whatever_the_threads_and_wherever_it_starts(folder):
    dataset = ClipDataset.open(folder)
    config = BatchConfig(
        batch_size=4,
        resolution_px=32,
        shuffle_buffer=8,
        clips_per_epoch=20,
        augment=AugmentConfig(flip=0.5, crop=0.6, brightness=0.1, contrast=0.1),
    )

    def batches(count, **how):
        return list(islice(training_batches(dataset, config, seed=5, **how), count))

    alone = batches(12)
    again = batches(12, threads=3)
    resumed = batches(5, first=7, threads=2)
    for ours, theirs in [*zip(alone, again, strict=True), *zip(alone[7:], resumed, strict=True)]:
        assert torch.equal(ours.grey_BTHW, theirs.grey_BTHW)
        ours, theirs = ours.to(CPU), theirs.to(CPU)
        assert torch.equal(ours.target_BTKhw, theirs.target_BTKhw)
    other = islice(training_batches(dataset, config, seed=6), 12)
    assert any(not torch.equal(a.grey_BTHW, b.grey_BTHW) for a, b in zip(alone, other, strict=True))


def test_workers_share_an_epoch(folder):
    dataset = ClipDataset.open(folder)
    config = BatchConfig(batch_size=4, resolution_px=64, clips_per_epoch=12)
    seen = [
        number
        for rank in range(2)
        for batch in islice(training_batches(dataset, config, seed=0, rank=rank, workers=2), 3)
        for number in numbers(batch)
    ]
    assert sorted(seen) == [*range(6), *range(12, 18)]


def change_clip(folder, frames):
    """Give the first clip of shard 2 other frames."""
    shard = folder / "clips" / shard_name(2)
    writer = ShardWriter(shard, clip_schema(FORMAT, "book"))
    for k in range(6):
        shown = [GOOD] * 4 if k else frames
        writer.add(Clip(f"c/{k}", "c", [0.0], shown, bytes(FORMAT.target_bytes)))
    writer.close()
    commit(shard, 6)


@pytest.mark.parametrize(
    ("frames", "message"),
    [
        ([GOOD, GOOD, b"no picture", GOOD], r"frame 2 of clip 'c/0' is not a JPEG"),
        ([GOOD, b"", GOOD, GOOD], r"frame 1 of clip 'c/0' is not a JPEG"),
        ([GOOD, GOOD, GOOD, jpeg(np.zeros((32, 32), np.uint8))], r"frame 3 of clip 'c/0'"),
        ([GOOD] * 3, "other than 4 frames"),
    ],
)
def test_a_damaged_clip_is_named_with_its_shard(tmp_path, frames, message):
    change_clip(write_dataset(tmp_path), frames)
    dataset = ClipDataset.open(tmp_path)
    config = BatchConfig(batch_size=4, resolution_px=64)
    with pytest.raises(UserError, match=rf"shard-00002.parquet: .*{message}.*huetrack validate"):
        list(islice(training_batches(dataset, config, seed=0), 4))


def test_a_shard_that_vanishes_or_is_overwritten_while_training_is_named(tmp_path):
    dataset = ClipDataset.open(write_dataset(tmp_path))
    shard = tmp_path / "clips" / shard_name(0)
    config = BatchConfig(batch_size=4, resolution_px=64)
    content = shard.read_bytes()
    for damage in (b"", content[:4000] + bytes(4000) + content[8000:]):
        shard.write_bytes(damage)
        with pytest.raises(UserError, match=r"shard-00000.parquet: cannot be read"):
            list(islice(training_batches(dataset, config, seed=0), 4))
    shard.unlink()
    with pytest.raises(UserError, match=r"shard-00000.parquet: cannot be read"):
        list(islice(training_batches(dataset, config, seed=0), 4))
