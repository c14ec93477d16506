"""J and F of masks against the official DAVIS-2017 tool, on the same files.

`python -m benchmarks.scores --peer FOLDER [--json FILE]`: FOLDER is a checkout of
davisvideochallenge/davis2017-evaluation; its package must import in this environment. Truth are the annotated
sequences of HUETRACK_DATA (default ../shared/data) whose masks DAVIS's layout can hold; predictions are those
masks moved by a few pixels. Reported: seconds of both, ours with a process for each core, their ratio, and
the largest difference between any two numbers.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from benchmarks.figures import show
from pipelines.evaluation import evaluate_masks, global_numbers
from pipelines.labels.davis import read_mask, write_mask

PEER = """
import sys, time
sys.path.insert(0, sys.argv[1])
import numpy as np
for name, kind in (("bool", bool), ("int", int), ("float", float)):  # aliases that NumPy has dropped
    if name not in np.__dict__:
        setattr(np, name, kind)
from davis2017.evaluation import DAVISEvaluation
started = time.monotonic()
results = DAVISEvaluation(sys.argv[2], "semi-supervised", "val").evaluate(sys.argv[3])
seconds = time.monotonic() - started
j, f = results["J"], results["F"]
values = [np.mean(part[key]) for part in (j, f) for key in "MRD"]
print(seconds, (values[0] + values[3]) / 2, *values)
"""
SHIFT_PX = 3


def make_davis(sequences: list[Path], root: Path, pred: Path) -> None:
    """Truth in DAVIS's layout below `root`, predictions below `pred`."""
    for sequence in sequences:
        for file in sorted((sequence / "masks").glob("*.png")):
            mask_HW = read_mask(file)
            write_mask(root / "Annotations" / "480p" / sequence.name / file.name, mask_HW)
            (root / "JPEGImages" / "480p" / sequence.name).mkdir(parents=True, exist_ok=True)
            (root / "JPEGImages" / "480p" / sequence.name / f"{file.stem}.jpg").touch()
            write_mask(pred / sequence.name / file.name, np.roll(mask_HW, SHIFT_PX, axis=1))
    listing = root / "ImageSets" / "2017"
    listing.mkdir(parents=True)
    (listing / "val.txt").write_text("".join(f"{sequence.name}\n" for sequence in sequences))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--peer", type=Path, required=True, help="checkout of the official tool")
    parser.add_argument("--json", type=Path, help="file for the figures")
    options = parser.parse_args()
    folder = Path(os.environ.get("HUETRACK_DATA", "../shared/data")) / "eval"
    sequences = sorted(path for path in folder.glob("*") if (path / "masks").is_dir())
    if not sequences:
        sys.exit(f"{folder}: no annotated sequences (set HUETRACK_DATA)")
    with tempfile.TemporaryDirectory() as name:
        root, pred = Path(name) / "DAVIS", Path(name) / "pred"
        make_davis(sequences, root, pred)
        command = [sys.executable, "-c", PEER, str(options.peer), str(root), str(pred)]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
        peer_s, *theirs = map(float, done.stdout.strip().splitlines()[-1].split())
        started_s = time.monotonic()
        evaluation = evaluate_masks(root / "Annotations" / "480p", pred)
        ours_s = time.monotonic() - started_s
    ours = [value for _, value in global_numbers(evaluation.summary)]
    show(
        "scores",
        {
            "sequences": len(sequences),
            "official_tool_s": peer_s,
            "ours_s": ours_s,
            "ratio": peer_s / ours_s,
            "largest_difference": float(np.abs(np.array(ours) - theirs).max()),
        },
        options.json,
    )


if __name__ == "__main__":
    main()
