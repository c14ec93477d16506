"""Shards as training reads them, and what the one-hot targets cost on disk.

`python -m benchmarks.reading [DATASET] [--json FILE]`: a dataset of real videos, by default one made
for this of the folder `clips` (HUETRACK_DATA, default ../shared/data). On one core: GB/s of one-hot
targets out of Parquet into arrays, frames/s with JPEG decoding, and the bytes of each column a frame.
"""

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.figures import show
from jobs.cluster import available_cpus, connected_ray
from pipelines.dataset_folder import PreprocessConfig
from pipelines.preprocess import preprocess
from pipelines.shards import committed_shards, format_of, unpack_targets


def column_bytes(shards: list[Path]) -> dict[str, int]:
    """Compressed bytes of each column of all shards."""
    totals: dict[str, int] = {}
    for shard in shards:
        metadata = pq.ParquetFile(shard).metadata
        for group in range(metadata.num_row_groups):
            for index in range(metadata.num_columns):
                column = metadata.row_group(group).column(index)
                name = column.path_in_schema.split(".")[0]
                totals[name] = totals.get(name, 0) + column.total_compressed_size
    return totals


def one_hot_gb_per_s(shards: list[Path], seconds: float = 3.0) -> float:
    """One-hot bytes (0/1 uint8) out of Parquet, over and over for some seconds."""
    done = 0
    started_s = time.monotonic()
    while time.monotonic() - started_s < seconds:
        for shard in shards:
            table = pq.read_table(shard, columns=["target"], use_threads=False)
            clip_format = format_of(table.schema, shard)
            done += unpack_targets(table["target"].to_pylist(), clip_format).nbytes
    return done / (time.monotonic() - started_s) / 1e9


def frames_per_s(shards: list[Path], seconds: float = 3.0) -> float:
    """JPEG frames decoded to grey arrays, as training takes them."""
    done = 0
    started_s = time.monotonic()
    while time.monotonic() - started_s < seconds:
        for shard in shards:
            for frames in pq.read_table(shard, columns=["frames"], use_threads=False)["frames"]:
                for jpeg in frames.as_py():
                    grey = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_GRAYSCALE)
                    done += grey is not None
    return done / (time.monotonic() - started_s)


def measure(dataset: Path) -> dict[str, float]:
    """All figures of a dataset, on one core."""
    cv2.setNumThreads(1)
    pa.set_cpu_count(1)
    shards = list(committed_shards(dataset))
    columns = column_bytes(shards)
    clips = sum(pq.ParquetFile(shard).metadata.num_rows for shard in shards)
    frames = clips * format_of(pq.read_schema(shards[0]), shards[0]).frames
    return {
        "frames": frames,
        **{f"{name}_bytes_a_frame": total / frames for name, total in columns.items()},
        "targets_beside_jpeg": columns["target"] / columns["frames"],
        "one_hot_gb_per_s": one_hot_gb_per_s(shards),
        "frames_per_s": frames_per_s(shards),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("dataset", type=Path, nargs="?")
    parser.add_argument("--json", type=Path, help="file for the figures")
    options = parser.parse_args()
    if options.dataset is not None:
        results = measure(options.dataset)
    else:
        clips = Path(os.environ.get("HUETRACK_DATA", "../shared/data")) / "clips"
        if not clips.is_dir():
            sys.exit(f"{clips}: no such folder (set HUETRACK_DATA, or name a dataset)")
        with tempfile.TemporaryDirectory() as name, connected_ray(available_cpus()):
            dataset = Path(name) / "dataset"
            preprocess([str(clips)], dataset, PreprocessConfig(), workers=available_cpus())
            results = measure(dataset)
    show("reading", results, options.json)


if __name__ == "__main__":
    main()
