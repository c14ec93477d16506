"""A small dataset whose frames show their own targets, written clip by clip."""

import cv2
import numpy as np

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


def jpeg(grey):
    return cv2.imencode(".jpg", np.stack([grey] * 3, axis=-1), [cv2.IMWRITE_JPEG_QUALITY, 95])[
        1
    ].tobytes()


def codes_of(number):
    """Cells of clip `number`, of 16 codes; two by two cells are alike, so that halves keep them."""
    coarse = np.random.default_rng(number).integers(0, 16, (4, 4))
    return np.kron(coarse, np.ones((2, 2), int)).astype(np.uint8)


def write_dataset(folder, clips_per_video=6, codebook="book"):
    """Three videos (b is held out), a shard each. Frame t of a clip shows its cells' codes, 12 t
    brighter each; the clip's number is in the timestamps."""
    videos = [("a", "train"), ("b", "val"), ("c", "train")]
    save_manifest(
        [Video(name, f"/{name}.mp4", 1, "", None, split) for name, split in videos],
        folder / "manifest.parquet",
    )
    (folder / "clips").mkdir()
    for index, (name, _) in enumerate(videos):
        shard = folder / "clips" / shard_name(index)
        writer = ShardWriter(shard, clip_schema(FORMAT, codebook))
        for k in range(clips_per_video):
            codes = codes_of(index * clips_per_video + k)
            pixels = np.kron(codes * 12, np.ones((8, 8), np.uint8)).astype(np.uint8)
            frames = [jpeg(pixels + 12 * t) for t in range(4)]
            target = pack_one_hot(np.stack([codes] * 4), 16)
            writer.add(Clip(f"{name}/{k}", name, [0.0, 0.17, 0.34, 0.5], frames, target))
        writer.close()
        commit(shard, clips_per_video)
    return folder


def commit(shard, clips):
    size = shard.stat().st_size
    write_marker(Marker(shard.name, clips, size, 4 * clips, 1, 0.1, {}, [], "f", 0), shard)
