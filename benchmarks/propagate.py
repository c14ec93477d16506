"""Label propagation: the tiled affinity against the ways of public code, at the size of a 480p frame.

    python -m benchmarks.propagate --json propagate.json

All paths of a group get the same random features, and their labels are compared with those of its last
path, `tiled`, what the engine runs. Each path runs in a process of its own, so that peak memory is its own.

- `crw`: 256 channels, an anchor and the 20 latest frames, top-10, a disc of radius 12.
  `reference` is the readable `carry_dense` (64 query cells at a time); `blocks` every product, an additive
  mask and `torch.topk`, 100 query cells at a time as that code does it; `at once` the same with the whole
  affinity in memory.
- `dino`: 384 channels (of a ViT-S), 8 frames, top-5 with ties, a square of radius 12; `dino` as that code
  does it, the whole affinity exponentiated and masked.
- `mast`: 64 channels, 5 frames, no top-k, a square of radius 12 with zeros outside; two of the frames are
  old, so that their windows are searched for; `mast` samples every window's keys, as that code does it.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

# The parent stays small: torch is imported in the measured processes only, because the peak
# memory that Linux reports for a child begins with that of the process it was forked from.
if TYPE_CHECKING:
    from torch import Tensor

    from model.propagation.affinity import ContextFrame

OURS = "tiled"


@dataclass(frozen=True)
class Group:
    """What is carried, and by whom; the grid is that of 480x854 px at stride 8."""

    rivals: tuple[str, ...]
    matching: Mapping[str, Any]
    context_frames: int
    channels: int
    dilations: tuple[int, ...] = ()
    """Of the first context frames."""
    height_cells: int = 60
    width_cells: int = 107
    labels: int = 6
    threads: int = 2
    frames: int = 3
    """How often it is measured (the reference, which nobody runs, once)."""


_SQUARE = {"radius_cells": 12.0, "window_shape": "square", "window_closed": True}
GROUPS = {
    "crw": Group(("reference", "blocks", "at once"), {"top_k": 10, "radius_cells": 12.0}, 21, 256),
    "dino": Group(("dino",), {"top_k": 5, "top_k_ties": "all", **_SQUARE}, 8, 384),
    "mast": Group(("mast",), {"window_outside": "zero", **_SQUARE}, 5, 64, (4, 4)),
}


@dataclass(frozen=True)
class Measurement:
    """One path in its own process."""

    group: str
    path: str
    best_s: float
    """The least of its frames: the one that other processes disturbed least."""
    best_cpu_s: float
    """The least processor time of a frame, all threads together."""
    peak_mib: float
    """Resident memory of the process at its highest."""
    above_inputs_mib: float
    """The part of it that came after torch was loaded and the features were made."""
    largest_difference: float = 0.0
    """Of the labels, from ours."""


def main() -> None:
    """Measure every path, print the table, write the JSON."""
    options = _parser().parse_args()
    changes = {
        name: getattr(options, name)
        for name in ("height_cells", "width_cells", "threads", "frames")
        if getattr(options, name) is not None
    }
    groups = {name: replace(GROUPS[name], **changes) for name in options.groups}
    if options.only:
        [(name, group)] = groups.items()
        measured = _measure(name, group, options.only, options.labels_file)
        sys.stdout.write(json.dumps(asdict(measured)))
        return
    measurements = []
    for name, group in groups.items():
        with tempfile.TemporaryDirectory() as folder:
            paths = (*group.rivals, OURS)
            rows = [_in_child(name, group, path, Path(folder)) for path in paths]
            measurements += _compared(rows, Path(folder))
    _print_table(measurements)
    if options.json:
        record = {
            "groups": {name: asdict(group) for name, group in groups.items()},
            "paths": [asdict(row) for row in measurements],
        }
        options.json.write_text(json.dumps(record, indent=2) + "\n")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--groups", nargs="+", choices=GROUPS, default=list(GROUPS))
    for name in ("height-cells", "width-cells", "threads", "frames"):
        parser.add_argument(f"--{name}", type=int)
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    parser.add_argument("--only", help=argparse.SUPPRESS)
    parser.add_argument("--labels-file", type=Path, help=argparse.SUPPRESS)
    return parser


def _in_child(name: str, group: Group, path: str, folder: Path) -> Measurement:
    command = [sys.executable, "-m", "benchmarks.propagate", "--groups", name, "--only", path]
    for key in ("height_cells", "width_cells", "threads", "frames"):
        command += [f"--{key.replace('_', '-')}", str(getattr(group, key))]
    command += ["--labels-file", str(folder / f"{path}.npy")]
    answer = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    return Measurement(**json.loads(answer))


def _compared(rows: Sequence[Measurement], folder: Path) -> list[Measurement]:
    ours = np.load(folder / f"{OURS}.npy", allow_pickle=False)
    differences = [np.load(folder / f"{r.path}.npy", allow_pickle=False) - ours for r in rows]
    return [
        replace(row, largest_difference=float(np.abs(difference).max()))
        for row, difference in zip(rows, differences, strict=True)
    ]


def _measure(name: str, group: Group, path: str, labels_file: Path) -> Measurement:
    """Runs in the child: features, one small warm-up, then the timed frames."""
    import torch

    from benchmarks import propagation_rivals as rivals
    from model.propagation.affinity import carry_tiled
    from model.propagation.dense import carry_dense
    from model.propagation.matching import Matching

    torch.set_num_threads(group.threads)
    paths = {
        "reference": carry_dense,
        "blocks": rivals.carry_in_blocks,
        "at once": rivals.carry_at_once,
        "dino": rivals.carry_as_dino,
        "mast": rivals.carry_as_mast,
        OURS: carry_tiled,
    }
    run, matching = paths[path], Matching(**group.matching)
    run(*_inputs(replace(group, height_cells=9, width_cells=9)), matching)
    query, context = _inputs(group)
    before_mib = _peak_mib()
    seconds, cpu_seconds = [], []
    for _ in range(1 if path == "reference" else group.frames):
        begin, begin_cpu = time.perf_counter(), time.process_time()
        carried = run(query, context, matching)
        seconds.append(time.perf_counter() - begin)
        cpu_seconds.append(time.process_time() - begin_cpu)
    np.save(labels_file, carried.numpy())
    peak_mib = _peak_mib()
    above_mib = peak_mib - before_mib
    return Measurement(name, path, min(seconds), min(cpu_seconds), peak_mib, above_mib)


def _inputs(group: Group) -> "tuple[Tensor, list[ContextFrame]]":
    """Unit vectors at temperature 0.05 and random label distributions, from a fixed seed."""
    import torch

    from model.propagation.affinity import ContextFrame

    generator = torch.Generator().manual_seed(0)
    grid = (group.height_cells, group.width_cells)

    def features() -> "Tensor":
        noise = torch.randn(group.channels, *grid, generator=generator)
        return torch.nn.functional.normalize(noise, dim=0)

    def labels() -> "Tensor":
        return torch.rand(group.labels, *grid, generator=generator).softmax(0)

    dilations = [*group.dilations, *[0] * (group.context_frames - len(group.dilations))]
    context = [ContextFrame(features(), labels(), True, dilation) for dilation in dilations]
    return features() / 0.05, context


def _peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024  # Linux counts in KiB


def _print_table(measurements: Sequence[Measurement]) -> None:
    ours = {row.group: row for row in measurements if row.path == OURS}
    print(
        f"{'group':<6}{'path':<11}{'s/frame':>9}{'cpu s':>9}{'MiB above inputs':>18}"
        f"{'difference':>12}{'tiled: times faster':>21}{'cpu':>7}{'times the memory':>18}"
    )
    for row in measurements:
        own = ours[row.group]
        print(
            f"{row.group:<6}{row.path:<11}{row.best_s:>9.3f}{row.best_cpu_s:>9.3f}"
            f"{row.above_inputs_mib:>18.0f}{row.largest_difference:>12.1e}"
            f"{row.best_s / own.best_s:>21.1f}{row.best_cpu_s / own.best_cpu_s:>7.1f}"
            f"{own.above_inputs_mib / row.above_inputs_mib:>18.3f}"
        )


if __name__ == "__main__":
    main()
