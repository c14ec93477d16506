"""The memory of propagation does not grow with the video.

`python -m benchmarks.long_video [--frames 100 10000] [--json FILE]`: a random network (width 16) carries
four objects through made-up frames of 96x128 px under the protocol `crw`, each length in a process of its
own. Reported: the peak memory of each process, how much the longest takes against the shortest, and
frames/s.
"""

import argparse
import resource
import subprocess
import sys
import time
from pathlib import Path

from benchmarks.figures import show

HEIGHT_PX, WIDTH_PX = 96, 128


def label_frames(count: int) -> float:
    """Seconds that the frames took."""
    import numpy as np  # the measuring process alone pays for these
    import torch

    from model.colorizer import Colorizer, ColorizerConfig
    from model.propagation.encoders import ColorizerEncoder
    from model.propagation.engine import Propagator
    from model.propagation.protocols import get_protocol

    torch.manual_seed(0)
    torch.set_num_threads(1)
    random = np.random.default_rng(0)
    background_HW3 = random.integers(0, 256, (HEIGHT_PX, WIDTH_PX, 3), dtype=np.uint8)
    mask_HW = np.zeros((HEIGHT_PX, WIDTH_PX), np.uint8)
    for label in range(1, 5):
        mask_HW[8 * label : 8 * label + 32, 20 * label : 20 * label + 24] = label
    protocol = get_protocol("crw")
    tracker = Propagator(
        ColorizerEncoder(Colorizer(ColorizerConfig(width=16)).eval(), protocol), protocol
    )
    started_s = time.monotonic()
    tracker.start(background_HW3, mask_HW)
    for index in range(1, count):
        tracker.step(np.roll(background_HW3, index, axis=1))
    return time.monotonic() - started_s


def measure(count: int) -> tuple[float, float]:
    """Peak memory in MB and frames/s of a process that labels so many frames."""
    command = [sys.executable, "-m", "benchmarks.long_video", "--child", str(count)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    peak_mb, seconds = map(float, done.stdout.split())
    return peak_mb, count / seconds


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--frames", type=int, nargs="+", default=[100, 10_000])
    parser.add_argument("--json", type=Path, help="file for the figures")
    parser.add_argument("--child", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child is not None:
        seconds = label_frames(options.child)
        print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, seconds)
        return
    figures: dict[str, float] = {}
    peaks_mb = []
    for count in options.frames:
        peak_mb, rate = measure(count)
        peaks_mb.append(peak_mb)
        figures |= {f"peak_mb_of_{count}": peak_mb, f"frames_per_s_of_{count}": rate}
    show("long video", figures | {"longest_to_shortest": peaks_mb[-1] / peaks_mb[0]}, options.json)


if __name__ == "__main__":
    main()
