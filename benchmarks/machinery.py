"""Preprocessing without decoding: what the machinery itself costs at the size of Kinetics.

`python -m benchmarks.machinery [--videos 300000] [--json FILE]`. The corpus is a folder of hard links to
one small file; the dummy decoder makes up one clip a video without opening it. Frames are 64 px, so that
Lab and JPEG cost next to nothing and listing, planning, Ray, Parquet, commits and markers remain.
Reported: milliseconds of a core a video, the share of the first run that a rerun of the finished dataset
takes, and the peak memory of the driver.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.figures import show
from jobs.cluster import available_cpus

RUN = """
import json, resource, sys, time
from pathlib import Path
from jobs.cluster import available_cpus, connected_ray
from pipelines.dataset_folder import PreprocessConfig
from pipelines.decode import DecodeConfig
from pipelines.preprocess import preprocess
config = PreprocessConfig(decode=DecodeConfig(decoder="dummy", size_px=64))
with connected_ray(available_cpus()):
    started = time.monotonic()
    summary = preprocess([sys.argv[1]], Path(sys.argv[2]), config, workers=available_cpus())
    seconds = time.monotonic() - started
peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
print(json.dumps({
    "seconds": seconds, "driver_peak_mb": peak_mb, "videos": summary.videos,
    "clips": summary.clips, "shards_made": summary.shards_made,
    "worker_peak_mb": summary.peak_worker_rss_mb,
}))
"""
LINKS_A_FILE = 50_000
"""ext4 takes 65,000 links to a file."""


def make_corpus(folder: Path, videos: int) -> None:
    """Files with the names of videos, a thousand a folder."""
    for index in range(videos):
        part = folder / f"{index // 1000:04d}"
        if index % 1000 == 0:
            part.mkdir(parents=True)
        if index % LINKS_A_FILE == 0:
            source = folder / f"source-{index}"
            source.write_bytes(b"video" * 1000)
        os.link(source, part / f"{index:07d}.mp4")


def run(corpus: Path, dataset: Path) -> dict[str, float]:
    """One preprocessing in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-c", RUN, str(corpus), str(dataset)],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return dict(json.loads(done.stdout.strip().splitlines()[-1]))


def measure(videos: int, small_videos: int) -> dict[str, float]:
    cores = available_cpus()
    results: dict[str, float] = {"cores": cores, "videos": videos}
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        make_corpus(root / "small", small_videos)
        small = run(root / "small", root / "small-dataset")
        started_s = time.monotonic()
        make_corpus(root / "videos", videos)
        results["making_the_corpus_s"] = time.monotonic() - started_s
        first = run(root / "videos", root / "dataset")
        again = run(root / "videos", root / "dataset")
    if (first["clips"], again["shards_made"]) != (videos, 0):
        sys.exit(f"unexpected: {first} {again}")
    return results | {
        "first_s": first["seconds"],
        "again_s": again["seconds"],
        "again_share": again["seconds"] / first["seconds"],
        "ms_of_a_core_a_video": first["seconds"] * cores / videos * 1e3,
        "driver_peak_mb": first["driver_peak_mb"],
        f"driver_peak_mb_of_{small_videos}": small["driver_peak_mb"],
        "driver_bytes_a_video": (first["driver_peak_mb"] - small["driver_peak_mb"])
        * (1 << 20)
        / (videos - small_videos),
        "worker_peak_mb": first["worker_peak_mb"],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--videos", type=int, default=300_000)
    parser.add_argument("--small-videos", type=int, default=3_000, help="for the growth of memory")
    parser.add_argument("--json", type=Path, help="file for the figures")
    options = parser.parse_args()
    results = measure(options.videos, options.small_videos)
    show("machinery", results, options.json)


if __name__ == "__main__":
    main()
