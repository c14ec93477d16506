"""Which clips are shown, in a dataset whose movement is known."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from pipelines.clip_rows import BatchConfig, ClipDataset
from pipelines.held_out import held_out_clips
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
GREY_LEVEL = {"seen": 10, "still": 60, "slow": 110, "fast": 160, "cut": 210}
"""Of every frame of a video, in red; its blue and green are 0."""
MOVING_ROWS = {"seen": 3, "still": 0, "slow": 1, "fast": 4, "cut": 8}
"""Of eight rows of cells, how many get another colour in the target."""


def clip(name: str, moving_rows: int) -> Clip:
    codes = np.zeros((4, 8, 8), np.uint8)
    codes[-1, :moving_rows] = 5
    frame = np.zeros((64, 64, 3), np.uint8)
    frame[..., 2] = GREY_LEVEL[name]  # OpenCV's order: blue, green, red
    jpeg = cv2.imencode(".jpg", frame)[1].tobytes()
    return Clip(f"{name}/0", name, [0.0] * 4, [jpeg] * 4, pack_one_hot(codes, 16))


@pytest.fixture
def dataset(tmp_path: Path) -> ClipDataset:
    """Two shards; the first clip of each video moves as said, the second one as a cut does."""
    for index, names in enumerate([["seen", "still", "fast"], ["slow", "cut"]]):
        shard = tmp_path / "clips" / shard_name(index)
        shard.parent.mkdir(exist_ok=True)
        writer = ShardWriter(shard, clip_schema(FORMAT, "abc"))
        for name in names:
            writer.add(clip(name, MOVING_ROWS[name]))
            writer.add(clip(name, 8))
        writer.close()
        rows = 2 * len(names)
        size = shard.stat().st_size
        marker = Marker(shard.name, rows, size, 4 * rows, len(names), 1.0, {}, [], "f", 1)
        write_marker(marker, shard)
    videos = [
        Video(name, f"/{name}", 1, "", None, "train" if name == "seen" else "val")
        for name in GREY_LEVEL
    ]
    save_manifest(videos, tmp_path / "manifest.parquet")
    return ClipDataset.open(tmp_path)


def test_the_held_out_clips_that_move_most_come_first_and_cuts_last(dataset: ClipDataset) -> None:
    clips = held_out_clips(dataset, BatchConfig(resolution_px=32), 8)
    assert [c.video_id for c in clips] == ["fast", "slow", "still", "cut"]
    for shown in clips:
        assert shown.frames_THW3.shape == (4, 32, 32, 3)
        mean = shown.frames_THW3.mean(axis=(0, 1, 2))
        np.testing.assert_allclose(mean, [GREY_LEVEL[shown.video_id], 0, 0], atol=3)
    assert [c.video_id for c in held_out_clips(dataset, BatchConfig(), 1)] == ["fast"]
    assert held_out_clips(dataset, BatchConfig(), 0) == []
