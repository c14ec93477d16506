"""J and F of masks against the official DAVIS-2017 tool, on the same files.

`python -m benchmarks.scores --peer FOLDER [--json FILE]`: FOLDER is a checkout of
davisvideochallenge/davis2017-evaluation; its package must import in this environment. Truth are the annotated
sequences of HUETRACK_DATA (default ../shared/data) whose masks DAVIS's layout can hold; predictions are those
masks moved by a few pixels. Both are timed three times in turn, and the quickest counts:

- evaluation: folders in, numbers out, in a process that has started (ours with a thread for each core);
- command: the same from the start of a Python on, with all imports;
- metric: masks in memory in, values by frame out;
- reading: all masks, as our reader and as Pillow do it, in one thread.

Reported too: the largest difference between any two numbers.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from benchmarks.figures import show
from model.metrics.davis import object_count, score_frame
from pipelines.evaluation import SequencePair, evaluate_masks, global_numbers, pair_sequences
from pipelines.labels.davis import read_mask, write_mask

PEER = """
import sys, time
sys.path.insert(0, sys.argv[1])
import numpy as np
for name, kind in (("bool", bool), ("int", int), ("float", float)):  # aliases that NumPy has dropped
    if name not in np.__dict__:
        setattr(np, name, kind)
from davis2017.evaluation import DAVISEvaluation
metric, metric_s = DAVISEvaluation._evaluate_semisupervised, 0
def timed(*arguments):
    global metric_s
    started = time.monotonic()
    values = metric(*arguments)
    metric_s += time.monotonic() - started
    return values
DAVISEvaluation._evaluate_semisupervised = staticmethod(timed)
started = time.monotonic()
results = DAVISEvaluation(sys.argv[2], "semi-supervised", "val").evaluate(sys.argv[3])
seconds = time.monotonic() - started
j, f = results["J"], results["F"]
values = [np.mean(part[key]) for part in (j, f) for key in "MRD"]
print(seconds, metric_s, (values[0] + values[3]) / 2, *values)
"""
SHIFT_PX = 3
REPEATS = 3


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


def seconds_of(work: Callable[[], Any]) -> float:
    started_s = time.monotonic()
    work()
    return time.monotonic() - started_s


def score_in_memory(pairs: list[SequencePair]) -> float:
    """Seconds of the metric alone, on masks that were read before."""
    frames = []
    for pair in pairs:
        count = object_count(read_mask(pair.first_truth))
        frames += [(read_mask(each.truth), read_mask(each.pred), count) for each in pair.scored]
    parts = [frames[start : start + 16] for start in range(0, len(frames), 16)]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return seconds_of(
            lambda: list(pool.map(lambda part: [score_frame(*frame) for frame in part], parts))
        )


def measure(peer: Path, root: Path, pred: Path) -> dict[str, Any]:
    """One round: the seconds of everything, and the numbers of both."""
    truth = root / "Annotations" / "480p"
    started_s = time.monotonic()
    command = [sys.executable, "-c", PEER, str(peer), str(root), str(pred)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    official_command_s = time.monotonic() - started_s
    official_s, official_metric_s, *theirs = map(float, done.stdout.splitlines()[-1].split())
    started_s = time.monotonic()
    evaluation = evaluate_masks(truth, pred)
    ours_s = time.monotonic() - started_s
    ours = [value for _, value in global_numbers(evaluation.summary)]
    command = [sys.executable, "-m", "jobs.cli", "evaluate", "masks"]
    command += ["--truth", str(truth), "--pred", str(pred)]
    pairs = pair_sequences(truth, pred)
    files = [file for pair in pairs for each in pair.scored for file in (each.truth, each.pred)]
    return {
        "official_evaluation_s": official_s,
        "evaluation_s": ours_s,
        "official_command_s": official_command_s,
        "command_s": seconds_of(
            lambda: subprocess.run(command, stdout=subprocess.DEVNULL, check=True)
        ),
        "official_metric_s": official_metric_s,
        "metric_s": score_in_memory(pairs),
        "reading_s": seconds_of(lambda: [read_mask(file) for file in files]),
        "reading_with_pillow_s": seconds_of(lambda: [np.array(Image.open(f)) for f in files]),
        "largest_difference": float(np.abs(np.array(ours) - theirs).max()),
    }


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
        rounds = [measure(options.peer, root, pred) for _ in range(REPEATS)]
    best = {key: min(each[key] for each in rounds) for key in rounds[0]}
    best["largest_difference"] = max(each["largest_difference"] for each in rounds)
    ratios = {
        f"{what}_ratio": best[f"official_{what}_s"] / best[f"{what}_s"]
        for what in ("evaluation", "command", "metric")
    }
    show("scores", {"sequences": len(sequences), **best, **ratios}, options.json)


if __name__ == "__main__":
    main()
