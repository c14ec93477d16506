"""Preprocessing against a bare decord loop, and the memory of its workers, in one run.

`python -m benchmarks.preprocess [--json FILE]` needs real clips (HUETRACK_DATA, default
../shared/data). The corpus is the folder `clips` several times over, by symbolic links.

The rival is the least that any pipeline must do: one process that opens every video with decord at
256x256 and reads the frames sampled at 6 fps, nothing else; its frames/s times the number of cores is
the bound. Ours also computes Lab targets, encodes JPEG, and writes and commits Parquet. Starting Ray and
the manifest and codebook stages are not counted for us (starting the workers is), nor importing decord
for the rival.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from rich.console import Console
from rich.table import Table

from jobs.cluster import available_cpus, connected_ray

BARE_LOOP = """
import sys, time
sys.modules["nvidia"] = None
import decord, numpy as np
from pipelines.sampling import sample_indices
started, frames = time.perf_counter(), 0
for path in sys.stdin.read().split("\\n"):
    reader = decord.VideoReader(path, ctx=decord.cpu(0), width=256, height=256, num_threads=1)
    times = reader.get_frame_timestamp(range(len(reader)))[:, 0].astype("f8")
    if not np.isfinite(times).all() or np.ptp(times) > 1e5:
        continue
    indices = sample_indices(times, 6.0)
    for begin in range(0, len(indices), 32):
        frames += len(reader.get_batch(indices[begin:begin + 32]).asnumpy())
print(frames, time.perf_counter() - started)
"""


def corpus(clips: list[Path], copies: int, folder: Path) -> None:
    """`copies` links to each clip."""
    for copy in range(copies):
        for clip in clips:
            (folder / f"{copy:03d}-{clip.name}").symlink_to(clip)


def bare_frames_per_s(videos: list[Path]) -> float:
    """Frames/s of one process that only decodes."""
    done = subprocess.run(
        [sys.executable, "-c", BARE_LOOP],
        input="\n".join(map(str, videos)),
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    frames, seconds = map(float, done.stdout.split())
    return frames / seconds


def measure(copies: int) -> dict[str, float]:
    """Everything in one run; the bare loop is taken before and after, and averaged."""
    from pipelines.dataset_folder import PreprocessConfig
    from pipelines.preprocess import preprocess

    data = Path(os.environ.get("HUETRACK_DATA", "../shared/data")) / "clips"
    if not data.is_dir():
        sys.exit(f"{data}: no such folder (set HUETRACK_DATA)")
    clips = sorted(data.resolve().iterdir())
    cores = available_cpus()
    results: dict[str, float] = {"cores": cores}
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        before = bare_frames_per_s(clips)
        with connected_ray(cores):
            for key, chosen, times in (("small", clips[:20], 1), ("large", clips, copies)):
                links = root / f"videos-{key}"
                links.mkdir()
                corpus(chosen, times, links)
                started_s = time.monotonic()
                summary = preprocess(
                    [str(links)], root / f"dataset-{key}", PreprocessConfig(), workers=cores
                )
                assert summary is not None
                results |= {
                    f"{key}_videos": summary.videos,
                    f"{key}_frames_per_s": summary.frames_per_s,
                    f"{key}_whole_run_s": time.monotonic() - started_s,
                    f"{key}_peak_worker_mb": summary.peak_worker_rss_mb,
                }
        after = bare_frames_per_s(clips)
    results["bare_frames_per_s"] = (before + after) / 2
    results["ratio"] = results["large_frames_per_s"] / (cores * results["bare_frames_per_s"])
    results["memory_growth"] = results["large_peak_worker_mb"] / results["small_peak_worker_mb"]
    return results


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, help="file for the figures")
    parser.add_argument("--copies", type=int, default=5, help="copies of the clips (41 each)")
    options = parser.parse_args()
    results = measure(options.copies)
    table = Table(title="preprocessing", show_header=False)
    for key, value in results.items():
        table.add_row(key, f"{value:.3f}" if isinstance(value, float) else str(value))
    Console().print(table)
    if options.json:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
