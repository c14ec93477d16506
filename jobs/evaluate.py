"""`huetrack evaluate`: the field's metrics as its own tools compute them, as table and JSON."""

import os
from dataclasses import dataclass, field
from typing import Annotated

from cyclopts import Parameter
from rich.console import Console
from rich.table import Table
from rich.text import Text

from jobs.options import LocationOption
from pipelines.evaluation import MaskEvaluation, evaluate_masks, global_numbers
from pipelines.storage import write_json


@dataclass(frozen=True)
class EvaluateMasksOptions:
    """DAVIS-2017 semi-supervised J&F of predicted masks."""

    truth: LocationOption
    """Folder of true masks: VIDEO/masks/*.png, masks/VIDEO/*.png, Annotations/480p/VIDEO/*.png or
    VIDEO/*.png. Its first frames say which objects count; first and last frames are not scored."""

    pred: LocationOption
    """Folder of predicted masks, in any of the same layouts and under the same names."""

    json: LocationOption | None = None
    """File to write all numbers to: global, per object and per frame."""

    processes: int = field(default_factory=lambda: os.cpu_count() or 1)
    """Worker processes at most; by default one for each CPU core."""

    sequences: tuple[str, ...] | None = None
    """Sequences to score; by default all that TRUTH has."""


def evaluate_masks_command(options: Annotated[EvaluateMasksOptions, Parameter(name="*")]) -> int:
    """Score predicted masks as the DAVIS-2017 tool does: J, F, recall, decay.

    Example: huetrack evaluate masks --truth DAVIS --pred out --json scores.json
    """
    evaluation = evaluate_masks(options.truth, options.pred, options.processes, options.sequences)
    console = Console()
    console.print(object_table(evaluation))
    console.print(global_table(evaluation))
    if options.json is not None:
        write_json(options.json, evaluation.to_json())
        console.print(f"all numbers: {options.json}", markup=False, highlight=False, soft_wrap=True)
    return 0


def object_table(evaluation: MaskEvaluation) -> Table:
    """J-Mean and F-Mean, one row for each object of each sequence."""
    table = Table(title="DAVIS-2017 semi-supervised, by object")
    table.add_column("Sequence", overflow="fold")
    for name in ("Object", "Frames", "J-Mean", "F-Mean"):
        table.add_column(name, justify="right", no_wrap=True)
    for sequence in evaluation.sequences:
        for index, scores in sequence.objects.items():
            numbers = (f"{scores.j.mean:.3f}", f"{scores.f.mean:.3f}")
            table.add_row(Text(sequence.name), str(index), str(len(sequence.frames)), *numbers)
    return table


def global_table(evaluation: MaskEvaluation) -> Table:
    """The seven global numbers: means over all objects."""
    columns = global_numbers(evaluation.summary)
    objects = sum(len(sequence.objects) for sequence in evaluation.sequences)
    table = Table(title=f"{len(evaluation.sequences)} sequences, {objects} objects")
    for name, _ in columns:
        table.add_column(name, justify="right", no_wrap=True)
    table.add_row(*(f"{value:.3f}" for _, value in columns))
    return table
