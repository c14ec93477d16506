"""`huetrack train`. Ray Train is loaded when it runs: help and `huetrack submit` need the options only."""

from typing import Annotated

from cyclopts import Parameter

from jobs.console import print_facts
from jobs.train_options import TrainOptions


def train_command(options: Annotated[TrainOptions, Parameter(name="*")]) -> int:
    """Train the colouriser on a dataset, with no labels.

    The defaults are the paper's (400,000 steps of 32 clips at 256x256); configs/ holds smaller
    recipes. Kill it at any time: the same command with --resume goes on from the last checkpoint.
    The folder ends with model.safetensors, the weights after the last step, and best.safetensors,
    those of the checkpoint with the lowest held-out loss.

    Example: huetrack train dataset --run runs/first --config configs/two-cores.yaml

    Going on from other weights, at another resolution: huetrack train dataset --run runs/fine
    --init runs/first --config configs/two-cores.yaml --batches.resolution-px 256

    On a cluster that may lose machines: huetrack train s3://b/dataset --run s3://b/runs/first
    --workers 8 --min-workers 2 --resume
    """
    from jobs.train import train

    facts = train(options)
    print_facts(f"Run {options.run}", facts)
    return 0
