"""What ffprobe and ffmpeg say of a video: the independent opinion in tests of decoding."""

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

needs_ffmpeg = pytest.mark.skipif(
    not (shutil.which("ffprobe") and shutil.which("ffmpeg")), reason="ffprobe or ffmpeg is missing"
)


def probed_times(path: Path) -> np.ndarray:
    """Presentation times of all frames according to ffprobe, from the first one."""
    command = ["ffprobe", "-v", "error", "-select_streams", "v:0", "-of", "csv=p=0"]
    command += ["-show_entries", "frame=best_effort_timestamp_time", str(path)]
    report = subprocess.run(command, capture_output=True, check=True, text=True).stdout
    cells = [cell for cell in report.replace(",", " ").split() if cell != "N/A"]
    times_s = np.array([float(cell) for cell in cells])
    return times_s - times_s[0]


def ffmpeg_frames(path: Path) -> np.ndarray:
    """Every frame as ffmpeg shows it (rotated if the file says so), 256x256 RGB."""
    command = ["ffmpeg", "-v", "error", "-i", str(path), "-map", "0:v:0", "-vsync", "passthrough"]
    command += ["-vf", "scale=256:256", "-f", "rawvideo", "-pix_fmt", "rgb24", "-"]
    raw = subprocess.run(command, capture_output=True, check=True).stdout
    return np.frombuffer(raw, np.uint8).reshape(-1, 256, 256, 3)


def by_the_rule(times_s: np.ndarray) -> list[int]:
    """Indices of the frames that six a second take."""
    targets_s = np.arange(int(times_s[-1] * 6) + 2) / 6
    meeting = [np.flatnonzero(times_s >= target_s - 1e-3) for target_s in targets_s]
    return sorted({int(indices[0]) for indices in meeting if len(indices)})
