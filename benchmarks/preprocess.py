"""Preprocessing against a bare decord loop, ffmpeg and a peer, and the memory of its workers, in one run.

`python -m benchmarks.preprocess [--copies 40] [--peer PYTHON] [--json FILE]` needs real clips
(HUETRACK_DATA, default ../shared/data). The corpus is the folder `clips` several times over, by
symbolic links.

Rivals (`benchmarks/rivals.py`), all of which do less than a training set needs:

* the bare loop: one process that opens every video with decord at 256x256 and reads the frames sampled
  at 6 fps; its frames/s times the number of cores is the bound of anything that decodes with decord;
* ffmpeg: `xargs -P cores` over `ffmpeg -threads 1 -vf fps=6,scale=256:256 -f rawvideo` to nowhere;
* video2dataset, with `--peer`, an interpreter that has it (`pip install video2dataset 'pyarrow<20'
  'pandas<2.3'`): 256 px and 6 fps, re-encoded to MP4 in tar shards.

Ours decodes, computes Lab targets, encodes JPEG, and writes and commits Parquet. Starting Ray and the
manifest and codebook stages are not counted for us, starting the workers is; the peer's start, which
takes some 10 s, is not counted for it either: what it needs for one video is taken off. The bare loop
is measured before and after, and averaged.
"""

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.figures import show
from benchmarks.rivals import bare_frames_per_s, ffmpeg_seconds, peer_seconds
from jobs.cluster import available_cpus, connected_ray
from pipelines.dataset_folder import PreprocessConfig
from pipelines.preprocess import preprocess


def link_corpus(clips: list[Path], copies: int, folder: Path) -> list[Path]:
    """`copies` links to each clip."""
    folder.mkdir(parents=True)
    links = [folder / f"{copy:03d}-{clip.name}" for copy in range(copies) for clip in clips]
    for index, link in enumerate(links):
        link.symlink_to(clips[index % len(clips)])
    return links


def ours(name: str, clips: list[Path], copies: int, root: Path) -> dict[str, float]:
    """Preprocessing of `copies` of the clips on the connected Ray."""
    links = root / f"videos-{name}"
    link_corpus(clips, copies, links)
    started_s = time.monotonic()
    summary = preprocess(
        [str(links)], root / f"dataset-{name}", PreprocessConfig(), workers=available_cpus()
    )
    assert summary is not None
    return {
        f"{name}_videos": summary.videos,
        f"{name}_frames": summary.frames,
        f"{name}_frames_per_s": summary.frames_per_s,
        f"{name}_whole_run_s": time.monotonic() - started_s,
        f"{name}_peak_worker_mb": summary.peak_worker_rss_mb,
    }


def measure(copies: int, peer: Path | None) -> dict[str, float]:
    """Everything in one run."""
    data = Path(os.environ.get("HUETRACK_DATA", "../shared/data")) / "clips"
    if not data.is_dir():
        sys.exit(f"{data}: no such folder (set HUETRACK_DATA)")
    clips = sorted(data.resolve().iterdir())
    cores = available_cpus()
    results: dict[str, float] = {"cores": cores}
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        before = bare_frames_per_s(clips)
        results["ffmpeg_s"] = ffmpeg_seconds(clips * copies, cores)
        with connected_ray(cores):
            results |= ours("small", clips[:20], 1, root)
            results |= ours("large", clips, copies, root)
        results["bare_frames_per_s"] = (before + bare_frames_per_s(clips)) / 2
        if peer is not None:
            start_s, _ = peer_seconds(clips[:1], cores, peer, root / "peer-start")
            seconds, written = peer_seconds(clips, cores, peer, root / "peer")
            results |= {"peer_s": seconds, "peer_start_s": start_s, "peer_videos": written}
    return results | ratios(results, copies, len(clips))


def ratios(results: dict[str, float], copies: int, clips: int) -> dict[str, float]:
    """How many times faster we are than each rival on the same clips; memory of many to few videos."""
    rate = results["large_frames_per_s"]
    ours_s = results["large_frames"] / rate
    found = {
        "to_bare_loop": rate / (results["cores"] * results["bare_frames_per_s"]),
        "to_ffmpeg": results["ffmpeg_s"] / ours_s,
        "memory_growth": results["large_peak_worker_mb"] / results["small_peak_worker_mb"],
    }
    if results.get("peer_videos"):
        peer_s = (results["peer_s"] - results["peer_start_s"]) / results["peer_videos"]
        found["to_peer"] = peer_s / (ours_s / (copies * clips))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, help="file for the figures")
    parser.add_argument("--copies", type=int, default=40, help="copies of the clips (41 each)")
    parser.add_argument("--peer", type=Path, help="a Python interpreter that has video2dataset")
    options = parser.parse_args()
    results = measure(options.copies, options.peer)
    show("preprocessing", results, options.json)


if __name__ == "__main__":
    main()
