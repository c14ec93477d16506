"""Label propagation: the tiled affinity against the dense one, at the size of a 480p frame.

    python -m benchmarks.propagate --json propagate.json

All paths get the same random features (21 context frames: an anchor and the 20 latest) and their
labels are compared. Each runs in a process of its own, so that peak memory is its own.

- `dense`: the readable reference, `carry_dense`.
- `dense topk`: every product, an additive mask and `torch.topk`, as public implementations do it;
  which of several equal logits it keeps is unspecified.
- `tiled`: `carry_tiled`, what the engine runs.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

# The parent stays small: torch is imported in the measured processes only, because the peak
# memory that Linux reports for a child begins with that of the process it was forked from.
if TYPE_CHECKING:
    from torch import Tensor

    from model.propagation.affinity import ContextFrame
    from model.propagation.matching import Matching

PATHS = ("dense", "dense topk", "tiled")


@dataclass(frozen=True)
class Setting:
    """What is carried; the default is 480x854 px at stride 8 under the protocol `crw`."""

    height_cells: int = 60
    width_cells: int = 107
    channels: int = 256
    labels: int = 6
    recent_frames: int = 20
    top_k: int = 10
    radius_cells: float = 12.0
    window_on_anchor: bool = True
    threads: int = 2
    frames: int = 3


@dataclass(frozen=True)
class Measurement:
    """One path in its own process."""

    path: str
    seconds_per_frame: list[float]
    best_s: float
    """The least of them: the one that other processes disturbed least."""
    best_cpu_s: float
    """The least processor time of a frame, all threads together."""
    peak_mib: float
    """Resident memory of the process at its highest."""
    above_inputs_mib: float
    """The part of it that came after torch was loaded and the features were made."""
    largest_difference: float = 0.0
    """Of the labels, from those of the dense reference."""


def main() -> None:
    """Measure every path, print the table, write the JSON."""
    arguments = _parser().parse_args()
    setting = Setting(**{field.name: getattr(arguments, field.name) for field in fields(Setting)})
    if arguments.only:
        measurement = _measure(arguments.only, setting, arguments.labels_file)
        sys.stdout.write(json.dumps(asdict(measurement)))
        return
    with tempfile.TemporaryDirectory() as folder:
        measurements = [_in_child(path, setting, Path(folder)) for path in PATHS]
    _print_table(setting, measurements)
    if arguments.json:
        record = {
            "setting": asdict(setting),
            "paths": [asdict(measurement) for measurement in measurements],
            "tiled_times_faster": _ratios(measurements),
        }
        arguments.json.write_text(json.dumps(record, indent=2) + "\n")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    for field in fields(Setting):
        flag = "--" + field.name.replace("_", "-")
        if isinstance(field.default, bool):
            action = argparse.BooleanOptionalAction
            parser.add_argument(flag, action=action, default=field.default)
        else:
            parser.add_argument(flag, type=type(field.default), default=field.default)
    parser.add_argument("--only", choices=PATHS, help=argparse.SUPPRESS)
    parser.add_argument("--labels-file", type=Path, help=argparse.SUPPRESS)
    return parser


def _in_child(path: str, setting: Setting, folder: Path) -> Measurement:
    command = [sys.executable, "-m", "benchmarks.propagate", "--only", path]
    for name, value in asdict(setting).items():
        flag = name.replace("_", "-")
        if isinstance(value, bool):
            command.append(f"--{flag}" if value else f"--no-{flag}")
        else:
            command += [f"--{flag}", str(value)]
    carried = folder / f"{path}.npy"
    command += ["--labels-file", str(carried)]
    answer = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    measured = json.loads(answer)
    reference = np.load(folder / f"{PATHS[0]}.npy", allow_pickle=False)
    difference = np.abs(np.load(carried, allow_pickle=False) - reference).max()
    return Measurement(**{**measured, "largest_difference": float(difference)})


def _measure(path: str, setting: Setting, labels_file: Path) -> Measurement:
    """Runs in the child: features, one small warm-up, then the timed frames."""
    import torch

    from model.propagation.affinity import carry_tiled
    from model.propagation.dense import carry_dense
    from model.propagation.matching import Matching

    torch.set_num_threads(setting.threads)
    paths: dict[str, Callable[..., Tensor]] = {
        "dense": carry_dense,
        "dense topk": _carry_dense_topk,
        "tiled": carry_tiled,
    }
    run = paths[path]
    matching = Matching(top_k=setting.top_k, radius_cells=setting.radius_cells)
    query, context = _inputs(Setting(height_cells=9, width_cells=9, channels=setting.channels))
    run(query, context, matching)
    query, context = _inputs(setting)
    before_mib = _peak_mib()
    seconds, cpu_seconds = [], []
    for _ in range(setting.frames):
        begin, begin_cpu = time.perf_counter(), time.process_time()
        carried = run(query, context, matching)
        seconds.append(time.perf_counter() - begin)
        cpu_seconds.append(time.process_time() - begin_cpu)
    np.save(labels_file, carried.numpy())
    peak_mib = _peak_mib()
    return Measurement(
        path=path,
        seconds_per_frame=seconds,
        best_s=min(seconds),
        best_cpu_s=min(cpu_seconds),
        peak_mib=peak_mib,
        above_inputs_mib=peak_mib - before_mib,
    )


def _inputs(setting: Setting) -> "tuple[Tensor, list[ContextFrame]]":
    """Unit vectors at temperature 0.05 and random label distributions, from a fixed seed."""
    import torch

    from model.propagation.affinity import ContextFrame

    generator = torch.Generator().manual_seed(0)
    grid = (setting.height_cells, setting.width_cells)

    def features() -> "Tensor":
        noise = torch.randn(setting.channels, *grid, generator=generator)
        return torch.nn.functional.normalize(noise, dim=0)

    def labels() -> "Tensor":
        return torch.rand(setting.labels, *grid, generator=generator).softmax(0)

    context = [
        ContextFrame(features(), labels(), number > 0 or setting.window_on_anchor)
        for number in range(1 + setting.recent_frames)
    ]
    return features() / 0.05, context


def _carry_dense_topk(
    query_CHW: "Tensor",
    context: "Sequence[ContextFrame]",
    matching: "Matching",
    block_queries: int = 64,
) -> "Tensor":
    """The usual way: blocks of queries against all keys into one buffer, mask added, topk."""
    import torch

    assert matching.top_k is not None and matching.radius_cells is not None
    _, height, width = query_CHW.shape
    query_QC = query_CHW.flatten(1).T.contiguous()
    key_NC = torch.cat([frame.key_CHW.flatten(1).T for frame in context])
    labels_NL = torch.cat([frame.labels_LHW.flatten(1).T for frame in context])
    windowed = torch.tensor([frame.windowed for frame in context])
    place = torch.cartesian_prod(torch.arange(height), torch.arange(width)).float()
    outside_PP = torch.cdist(place, place) >= matching.radius_cells
    mask_PP = torch.zeros(outside_PP.shape).masked_fill_(outside_PP, -torch.inf)
    logits_QN = torch.empty(block_queries, len(key_NC))
    carried = []
    for first in range(0, height * width, block_queries):
        block_QC = query_QC[first : first + block_queries]
        block_QN = logits_QN[: len(block_QC)]
        torch.mm(block_QC, key_NC.T, out=block_QN)
        block_QFP = block_QN.view(len(block_QC), len(context), -1)
        for number in windowed.nonzero().flatten().tolist():
            block_QFP[:, number] += mask_PP[first : first + block_queries]
        values_QK, index_QK = block_QN.topk(matching.top_k, dim=1)
        carried.append((values_QK.softmax(1)[..., None] * labels_NL[index_QK]).sum(1))
    return torch.cat(carried).T.reshape(-1, height, width)


def _peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024  # Linux counts in KiB


def _ratios(measurements: Sequence[Measurement]) -> dict[str, float]:
    tiled_s = measurements[-1].best_s
    return {other.path: other.best_s / tiled_s for other in measurements[:-1]}


def _print_table(setting: Setting, measurements: Sequence[Measurement]) -> None:
    print(
        f"{setting.height_cells}x{setting.width_cells} cells, {setting.channels} channels, "
        f"1+{setting.recent_frames} frames, top-{setting.top_k}, radius {setting.radius_cells:g} "
        f"({'also' if setting.window_on_anchor else 'not'} on the anchor), "
        f"{setting.threads} threads"
    )
    print(
        f"{'path':<12}{'s/frame':>9}{'cpu s':>9}{'peak MiB':>10}"
        f"{'above inputs':>14}{'difference':>12}"
    )
    for row in measurements:
        print(
            f"{row.path:<12}{row.best_s:>9.3f}{row.best_cpu_s:>9.3f}{row.peak_mib:>10.0f}"
            f"{row.above_inputs_mib:>14.0f}{row.largest_difference:>12.1e}"
        )
    for path, ratio in _ratios(measurements).items():
        print(f"tiled is {ratio:.1f} times faster than {path}")


if __name__ == "__main__":
    main()
