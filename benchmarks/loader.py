"""The training data path alone: clips/s a core out of shards, beside what decoding their JPEGs costs.

`python -m benchmarks.loader [DATASET] [--clips 8192] [--json FILE]`: a dataset of real videos, by default
one made for this of the folder `train` (HUETRACK_DATA, default ../shared/data). A clip is four frames and
their targets, delivered on the CPU with its targets unpacked. `a_cpu_s` are clips per second of CPU time
of all threads and processes, which a busy machine changes little; `a_s` are clips per second with a
decoding thread for every core. The bound is a loop on one core around `cv2.imdecode`, nothing else. The
rival hands the same rows from Ray Data's decoding tasks to `iter_batches`.
"""

import argparse
import os
import resource
import sys
import tempfile
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import cv2
import numpy as np
import psutil
import pyarrow.parquet as pq
import torch

from benchmarks.figures import show
from jobs.cluster import available_cpus, connected_ray
from pipelines.augment import AugmentConfig
from pipelines.batches import training_batches
from pipelines.clip_rows import BatchConfig, ClipDataset
from pipelines.dataset_folder import PreprocessConfig
from pipelines.preprocess import preprocess
from pipelines.shards import unpack_targets

FLAGS = {256: cv2.IMREAD_GRAYSCALE, 128: cv2.IMREAD_REDUCED_GRAYSCALE_2}
AUGMENT = AugmentConfig(flip=0.5, crop=0.6, brightness=0.1, contrast=0.1)


def cpu_s() -> float:
    """CPU time of this process and those that it started."""
    this = psutil.Process()
    times = [process.cpu_times() for process in [this, *this.children(recursive=True)]]
    return sum(t.user + t.system for t in times)


def bare_decoding(dataset: ClipDataset, resolution_px: int) -> float:
    """Clips decoded per second of CPU time; the JPEGs are in memory."""
    jpegs: list[bytes] = []
    for shard in dataset.shards[::8]:
        for frames in pq.read_table(shard, columns=["frames"])["frames"].to_pylist():
            jpegs += frames
    started_s = time.process_time()
    for jpeg in jpegs:
        cv2.imdecode(np.frombuffer(jpeg, np.uint8), FLAGS[resolution_px])
    return len(jpegs) / dataset.format.frames / (time.process_time() - started_s)


def loader(dataset: ClipDataset, config: BatchConfig, clips: int) -> dict[str, float]:
    """Our batches, after the first two blocks."""
    batches = training_batches(dataset, config, seed=0, threads=available_cpus())
    started_s = time.monotonic()
    next(batches)
    first_s = time.monotonic() - started_s
    for _ in islice(batches, 2 * config.shuffle_buffer // config.batch_size):
        pass
    started_s, started_cpu_s = time.monotonic(), cpu_s()
    for batch in islice(batches, clips // config.batch_size):
        batch.to(torch.device("cpu"))
    figures = {
        "first_batch_s": first_s,
        "a_s": clips / (time.monotonic() - started_s),
        "a_cpu_s": clips / (cpu_s() - started_cpu_s),
    }
    batches.close()
    return figures


def ray_data(dataset: ClipDataset, config: BatchConfig, clips: int) -> dict[str, float]:
    """The second epoch of the rival: local shuffle, one-hot targets unpacked by the consumer."""
    import ray

    def decode(batch: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        cv2.setNumThreads(1)
        flag = FLAGS[config.resolution_px]
        grey = [
            [cv2.imdecode(np.frombuffer(j, np.uint8), flag) for j in f] for f in batch["frames"]
        ]
        packed = np.frombuffer(b"".join(batch["target"]), np.uint8).reshape(len(grey), -1)
        return {"grey": np.array(grey), "target": packed}

    paths = [str(shard) for shard in dataset.shards]
    rows = ray.data.read_parquet(paths * max(1, clips // len(dataset.train)), shuffle="files")
    rows = rows.select_columns(["frames", "target"]).map_batches(decode, batch_size=64)

    def batches() -> Iterator[torch.Tensor]:
        for batch in rows.iterator().iter_batches(
            batch_size=config.batch_size,
            prefetch_batches=2,
            local_shuffle_buffer_size=config.shuffle_buffer,
            local_shuffle_seed=0,
        ):
            torch.from_numpy(unpack_targets(batch["target"], dataset.format))
            yield torch.from_numpy(np.array(batch["grey"]))

    for _ in batches():
        pass
    started_s, started_cpu_s = time.monotonic(), cpu_s()
    first_s, done = 0.0, 0
    for grey in batches():
        first_s = first_s or time.monotonic() - started_s
        done += len(grey)
    return {
        "first_batch_s": first_s,
        "a_s": done / (time.monotonic() - started_s),
        "a_cpu_s": done / (cpu_s() - started_cpu_s),
    }


def measure(folder: Path, clips: int) -> dict[str, float]:
    """All figures of a dataset."""
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    started_s = time.monotonic()
    dataset = ClipDataset.open(folder)
    figures: dict[str, float] = {
        "clips": len(dataset.train),
        "open_ms_a_shard": 1e3 * (time.monotonic() - started_s) / len(dataset.shards),
    }
    for px in (256, 128):
        config = BatchConfig(resolution_px=px)
        resident_mb = psutil.Process().memory_info().rss >> 20
        ours = loader(dataset, config, clips)
        changed = loader(dataset, BatchConfig(resolution_px=px, augment=AUGMENT), clips)
        bound = bare_decoding(dataset, px)
        figures |= {f"{px}px_{name}": value for name, value in ours.items()}
        figures[f"{px}px_augmented_a_cpu_s"] = changed["a_cpu_s"]
        figures[f"{px}px_bare_decoding_a_cpu_s"] = bound
        figures[f"{px}px_share_of_the_bound"] = ours["a_s"] / available_cpus() / bound
        if px == 256:
            peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
            figures["256px_memory_mb"] = peak_mb - resident_mb
    with connected_ray(available_cpus()):
        theirs = ray_data(dataset, BatchConfig(), clips)
    return figures | {f"256px_ray_data_{name}": value for name, value in theirs.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("dataset", type=Path, nargs="?")
    parser.add_argument("--clips", type=int, default=8192, help="clips in a measurement")
    parser.add_argument("--json", type=Path, help="file for the figures")
    options = parser.parse_args()
    if options.dataset is not None:
        results = measure(options.dataset.resolve(), options.clips)
    else:
        videos = Path(os.environ.get("HUETRACK_DATA", "../shared/data")) / "train"
        if not videos.is_dir():
            sys.exit(f"{videos}: no such folder (set HUETRACK_DATA, or name a dataset)")
        with tempfile.TemporaryDirectory() as name:
            dataset = Path(name) / "dataset"
            with connected_ray(available_cpus()):
                preprocess([str(videos)], dataset, PreprocessConfig(), workers=available_cpus())
            results = measure(dataset, options.clips)
    show("loader", results, options.json)


if __name__ == "__main__":
    main()
