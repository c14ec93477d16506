"""What preprocessing is measured against: each takes videos and returns how long it took."""

import csv
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

_ENVIRONMENT = {"OMP_NUM_THREADS": "1"}

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

PEER = """
import sys
from video2dataset import video2dataset
from video2dataset.subsamplers import FrameSubsampler, ResolutionSubsampler

# Two defects of release 1.3.0 keep these subsamplers from working at all: an attribute is missing,
# and one takes a key out of a dictionary that its caller is iterating over.
FrameSubsampler.encode_formats = ResolutionSubsampler.encode_formats = {"video": "mp4"}
subsample = FrameSubsampler.__call__

def subsample_a_copy(self, streams, metadata=None):
    result, *rest = subsample(self, dict(streams), metadata)
    streams["video"] = result["video"]
    return streams, *rest

FrameSubsampler.__call__ = subsample_a_copy

if __name__ == "__main__":
    source, out, cores = sys.argv[1], sys.argv[2], int(sys.argv[3])
    resize = {"video_size": 256, "resize_mode": "scale,crop,pad"}
    video2dataset(
        source,
        output_folder=out,
        output_format="webdataset",
        encode_formats={"video": "mp4"},
        config={
            "subsampling": {
                "ResolutionSubsampler": {"args": resize},
                "FrameSubsampler": {"args": {"frame_rate": 6}},
            },
            "reading": {
                "yt_args": {
                    "download_size": 360, "download_audio_rate": 44100, "yt_metadata_args": None
                },
                "timeout": 60,
                "sampler": None,
            },
            "storage": {
                "number_sample_per_shard": 20, "oom_shard_count": 5, "captions_are_subtitles": False
            },
            "distribution": {
                "processes_count": cores,
                "thread_count": 1,
                "subjob_size": 1000,
                "distributor": "multiprocessing",
            },
        },
    )
"""


def bare_frames_per_s(videos: list[Path]) -> float:
    """Frames/s of one process that only decodes: decord, 6 fps, 256x256."""
    done = subprocess.run(
        [sys.executable, "-c", BARE_LOOP],
        input="\n".join(map(str, videos)),
        capture_output=True,
        text=True,
        check=True,
        env=os.environ | _ENVIRONMENT,
    )
    frames, seconds = map(float, done.stdout.split())
    return frames / seconds


def ffmpeg_seconds(videos: list[Path], cores: int) -> float:
    """`xargs -P cores` over ffmpeg with one thread, 6 fps and 256x256 to nowhere."""
    if shutil.which("ffmpeg") is None:
        sys.exit("ffmpeg is missing")
    command = ["xargs", "-0", "-P", str(cores), "-I{}", "ffmpeg", "-nostdin", "-v", "quiet", "-y"]
    command += ["-threads", "1", "-i", "{}", "-vf", "fps=6,scale=256:256", "-f", "rawvideo"]
    started_s = time.monotonic()
    subprocess.run(
        [*command, "/dev/null"],
        input="\0".join(map(str, videos)).encode(),
        check=False,  # a clip that ffmpeg cannot read costs it nothing
    )
    return time.monotonic() - started_s


def peer_seconds(videos: list[Path], cores: int, python: Path, folder: Path) -> tuple[float, int]:
    """video2dataset at its nearest settings (256 px, 6 fps, re-encoded to MP4 in tar shards), run by
    an interpreter that has it. Seconds, and videos that it wrote."""
    folder.mkdir(parents=True)
    source = folder / "videos.csv"
    with source.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerows([["url"], *([str(video)] for video in videos)])
    script = folder / "peer.py"  # its workers import the script again, so it must be a file
    script.write_text(PEER)
    started_s = time.monotonic()
    subprocess.run(
        [str(python), str(script), str(source), str(folder / "out"), str(cores)],
        capture_output=True,
        check=True,
        env=os.environ | _ENVIRONMENT,
    )
    seconds = time.monotonic() - started_s
    listing = subprocess.run(
        ["sh", "-c", "for t in *.tar; do tar tf $t; done | grep -c mp4$"],
        cwd=folder / "out",
        capture_output=True,
        text=True,
        check=False,
    )
    return seconds, int(listing.stdout or 0)
