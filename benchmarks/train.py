"""Training against the plainest PyTorch loop; one worker against two; use of a GPU's arithmetic.

`python -m benchmarks.train [DATASET] [--steps 30] [--json FILE]`: a dataset of real videos, by default
one made for this of the folder `train` (HUETRACK_DATA, default ../shared/data). The network is the
paper's at width 64; the head and the size of the frames are options.

* The rival is the plainest correct loop: the same model and loss in float32, batches that already lie
  in memory as tensors, no Ray, no logging, no checkpoints. Ours is `huetrack train` whole (reading,
  JPEG, Ray Train, history), without its start and its first steps: clips/s out of `history.jsonl`.
* Two workers against one have the same cores and the same batch between them.
* With a GPU: the step alone on one batch, FLOPs counted by PyTorch, against `--peak-tflops`.

The loop is measured before and after ours, and averaged.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.figures import show
from jobs.cluster import available_cpus
from model.colorizer import Colorizer, ColorizerConfig
from model.fitter import FitConfig, Fitter
from model.objectives.colorization import ClipBatch, Colorization
from model.pointer import copy_through_dense_pointer, mixture_negative_log_likelihood
from pipelines.run_folder import read_history


def random_batch(clips: int, side_px: int) -> ClipBatch:
    """Noise: a step costs the same whatever is in the pictures."""
    codes = torch.randint(0, 16, (clips, 4, side_px // 8, side_px // 8))
    one_hot = torch.nn.functional.one_hot(codes, 16).permute(0, 1, 4, 2, 3).to(torch.uint8)
    return ClipBatch(
        torch.randint(0, 256, (clips, 4, side_px, side_px), dtype=torch.uint8), one_hot
    )


def plain_clips_per_s(model: ColorizerConfig, batch: ClipBatch, steps: int) -> float:
    """The rival."""
    colorizer = Colorizer(model)
    optimizer = torch.optim.Adam(colorizer.parameters(), lr=1e-3)
    grey = batch.grey_BTHW.float() / 127.5 - 1.0
    codes = batch.target_BTKhw.float()
    for step in range(steps + 1):
        if step == 1:  # the first one allocates
            started_s = time.monotonic()
        optimizer.zero_grad()
        embeddings = colorizer(grey)
        mixture = copy_through_dense_pointer(embeddings[:, :-1], embeddings[:, -1], codes[:, :-1])
        mixture_negative_log_likelihood(mixture, codes[:, -1]).backward()
        optimizer.step()
    return steps * len(batch) / (time.monotonic() - started_s)


def our_clips_per_s(options: argparse.Namespace, dataset: Path, workers: int, run: Path) -> float:
    """`huetrack train`; mean over all records but the first two, which count all workers together."""
    every = max(1, options.steps // 5)
    command = [sys.executable, "-m", "jobs.cli", "train", str(dataset), "--run", str(run)]
    settings = {
        "--workers": workers,
        "--model.head": options.head,
        "--fit.steps": 2 * every + options.steps,
        "--fit.log-every": every,
        "--batches.batch-size": options.batch,
        "--batches.resolution-px": options.resolution_px,
    }
    flags = [str(part) for pair in settings.items() for part in pair]
    done = subprocess.run([*command, *flags], capture_output=True, text=True)
    if done.returncode:
        sys.exit(done.stderr)
    records = [r for r in read_history(run) if r["kind"] == "train"][2:]
    seconds = sum(1 / record["images_per_s"] for record in records) / len(records)
    return 1 / seconds / 4


def gpu_figures(options: argparse.Namespace) -> dict[str, float]:
    """Model FLOP/s utilisation of the step."""
    device = torch.device("cuda")
    batch = random_batch(options.batch, options.resolution_px).to(device)
    model = ColorizerConfig(head=options.head)
    with FlopCounterMode(display=False) as counter:
        Fitter(Colorization(Colorizer(model)), FitConfig(compile="off"), device).train_step(batch)
    fitter = Fitter(Colorization(Colorizer(model)), FitConfig(), device)
    for _ in range(5):
        fitter.train_step(batch)
    torch.cuda.synchronize()
    started_s = time.monotonic()
    for _ in range(options.steps):
        fitter.train_step(batch)
    torch.cuda.synchronize()
    step_s = (time.monotonic() - started_s) / options.steps
    flops = counter.get_total_flops()
    return {
        "step_ms": step_s * 1e3,
        "clips_per_s": len(batch) / step_s,
        "tflop_a_step": flops / 1e12,
        "utilisation": flops / step_s / options.peak_tflops / 1e12,
    }


def cpu_figures(options: argparse.Namespace, dataset: Path, root: Path) -> dict[str, float]:
    """Ours against the plain loop, and two workers against one."""
    torch.set_num_threads(available_cpus())
    batch = random_batch(options.batch, options.resolution_px)
    model = ColorizerConfig(head=options.head)
    before = plain_clips_per_s(model, batch, max(2, options.steps // 5))
    one = our_clips_per_s(options, dataset, 1, root / "one")
    two = our_clips_per_s(options, dataset, 2, root / "two")
    after = plain_clips_per_s(model, batch, max(2, options.steps // 5))
    plain = (before + after) / 2
    return {
        "plain_loop_clips_per_s": plain,
        "ours_clips_per_s": one,
        "ours_to_plain_loop": one / plain,
        "two_workers_clips_per_s": two,
        "two_workers_to_one": two / one,
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("dataset", type=Path, nargs="?")
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--batch", type=int, help="clips a step (16; 32 on a GPU)")
    parser.add_argument("--resolution-px", type=int, help="side of the frames (128; 256 on a GPU)")
    parser.add_argument("--head", choices=["temporal", "linear"], default="temporal")
    parser.add_argument("--peak-tflops", type=float, default=790.0, help="bound of the GPU in bf16")
    parser.add_argument("--json", type=Path, help="file for the figures")
    options = parser.parse_args()
    on_gpu = torch.cuda.is_available()
    options.batch = options.batch or (32 if on_gpu else 16)
    options.resolution_px = options.resolution_px or (256 if on_gpu else 128)
    figures: dict[str, float] = {"batch": options.batch, "resolution_px": options.resolution_px}
    if on_gpu:
        show("train", figures | gpu_figures(options), options.json)
        return
    videos = Path(os.environ.get("HUETRACK_DATA", "../shared/data")) / "train"
    if options.dataset is None and not videos.is_dir():
        sys.exit(f"{videos}: no such folder (set HUETRACK_DATA, or name a dataset)")
    with tempfile.TemporaryDirectory() as name:
        dataset = options.dataset or Path(name) / "dataset"
        if options.dataset is None:
            preprocess = [sys.executable, "-m", "jobs.cli", "preprocess"]
            subprocess.run([*preprocess, str(videos), "--out", str(dataset)], check=True)
        figures |= cpu_figures(options, dataset, Path(name))
    show("train", figures, options.json)


if __name__ == "__main__":
    main()
