import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from model.errors import UserError
from pipelines.batches import Collate, batches_of, reduce_one_hot
from pipelines.clip_rows import BatchConfig, ClipDataset, clip_rows
from pipelines.manifest import Video, save_manifest
from pipelines.shards import (
    Clip,
    ClipFormat,
    Marker,
    ShardWriter,
    clip_schema,
    shard_name,
    write_marker,
)
from pipelines.targets import pack_one_hot

FORMAT = ClipFormat(frames=4, size_px=64, clusters=16)


def grey_jpeg(value):
    return cv2.imencode(".jpg", np.full((64, 64, 3), value, np.uint8))[1].tobytes()


@pytest.fixture
def dataset(tmp_path):
    """Three videos of six clips; frame brightness tells the video (and so does the code)."""
    videos = [("a", "train"), ("b", "val"), ("c", "train")]
    save_manifest(
        [Video(name, f"/{name}.mp4", 1, "", None, split) for name, split in videos],
        tmp_path / "manifest.parquet",
    )
    (tmp_path / "clips").mkdir()
    for index, (name, _) in enumerate(videos):
        shard = tmp_path / "clips" / shard_name(index)
        writer = ShardWriter(shard, clip_schema(FORMAT, "book"))
        for k in range(6):
            codes = np.full((4, 8, 8), index, np.uint8)
            target = pack_one_hot(codes, 16)
            jpegs = [grey_jpeg(60 * index + k)] * 4
            writer.add(Clip(f"{name}/{k}", name, [0.0, 0.17, 0.34, 0.5], jpegs, target))
        writer.close()
        size = shard.stat().st_size
        write_marker(Marker(shard.name, 6, size, 24, 1, 0.1, {}, [], "f", 0), shard)
    return ClipDataset.open(tmp_path)


def brightness(batches):
    return [int(v) for b in batches for v in b.grey_BTHW[:, 0].float().mean(dim=(1, 2)).round()]


def test_splits_are_by_video_and_rows_keep_frames_and_targets_together(dataset, ray_session):
    config = BatchConfig(batch_size=4, resolution_px=32)
    rows = clip_rows(dataset, "val", config)
    batches = list(batches_of(rows.iterator(), dataset, config, batch_size=4, shuffle_seed=None))
    assert [len(b.grey_BTHW) for b in batches] == [4, 2]
    assert brightness(batches) == [60, 61, 62, 63, 64, 65]
    assert batches[0].grey_BTHW.shape == (4, 4, 32, 32)
    assert batches[0].target_BTKhw.shape == (4, 4, 16, 4, 4)
    assert batches[0].target_BTKhw.argmax(dim=2).eq(1).all()


def test_training_batches_are_full_shuffled_and_of_training_videos_only(dataset, ray_session):
    config = BatchConfig(batch_size=5, resolution_px=64, shuffle_buffer=64)
    rows = clip_rows(dataset, "train", config)
    batches = []
    for batch in batches_of(rows.iterator(), dataset, config, batch_size=5, shuffle_seed=3):
        codes = batch.target_BTKhw.argmax(dim=2)[:, 0, 0, 0]
        assert torch.equal(codes == 2, batch.grey_BTHW[:, 0, 0, 0] >= 100)
        batches.append(batch)
        if len(batches) == 40:
            break
    seen = brightness(batches)
    assert {len(b.grey_BTHW) for b in batches} == {5}
    assert set(seen) <= {*range(6), *range(120, 126)}
    assert len(set(seen)) == 12
    assert seen[:12] != sorted(seen[:12])


@pytest.mark.parametrize("resolution", [48, 24, 128, 4])
def test_resolutions_that_do_not_divide_are_refused(dataset, resolution):
    with pytest.raises(UserError, match="resolution_px"):
        dataset.reduction(BatchConfig(resolution_px=resolution))


def test_a_folder_without_finished_shards_is_named(tmp_path):
    with pytest.raises(UserError, match="no finished shard"):
        ClipDataset.open(tmp_path)
    with pytest.raises(UserError, match="no such dataset"):
        ClipDataset.open(tmp_path / "gone")


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 1000), factor=st.sampled_from([2, 4]))
def test_reduction_takes_the_commonest_code_of_each_block(seed, factor):
    codes = np.random.default_rng(seed).integers(0, 5, (1, 2, 8, 8))
    one_hot = torch.nn.functional.one_hot(torch.from_numpy(codes), 5).movedim(-1, 2).to(torch.uint8)
    reduced = reduce_one_hot(one_hot, factor)
    assert reduced.sum(dim=2).eq(1).all()
    for t in range(2):
        for y in range(8 // factor):
            for x in range(8 // factor):
                block = codes[0, t, y * factor : (y + 1) * factor, x * factor : (x + 1) * factor]
                counts = np.bincount(block.ravel(), minlength=5)
                assert reduced[0, t, :, y, x].argmax().item() == counts.argmax()


def test_collate_copies_what_ray_hands_out_read_only():
    grey = np.zeros((1, 4, 64, 64), np.uint8)
    grey.flags.writeable = False
    packed = np.frombuffer(pack_one_hot(np.zeros((4, 8, 8), np.uint8), 16), np.uint8)[None]
    batch = Collate(FORMAT, 1)({"grey": grey, "target": packed})
    batch.grey_BTHW[0] = 7
    assert grey.max() == 0
