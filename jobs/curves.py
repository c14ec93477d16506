"""`huetrack curves`."""

from dataclasses import KW_ONLY, dataclass
from typing import Annotated

from cyclopts import Parameter
from rich.console import Console
from rich.table import Table

from jobs.console import print_facts
from jobs.options import LocationOption
from model.errors import UserError
from pipelines.learning_curves import LearningCurve, picture, read_curve
from pipelines.storage import write_bytes


@dataclass(frozen=True)
class CurvesOptions:
    """Options of `huetrack curves`."""

    runs: tuple[LocationOption, ...]
    """Run folders made by `huetrack train`, finished or not."""
    _: KW_ONLY
    out: LocationOption
    """Picture to write, .png."""


def curves_command(options: Annotated[CurvesOptions, Parameter(name="*")]) -> int:
    """Draw how trainings got on: loss, colour accuracy beside copying, J&F, and J&F against accuracy.

    J&F is there where a run was looked at (huetrack train --probe.sequences).

    Example: huetrack curves runs/first runs/second --out curves.png
    """
    if options.out.suffix != ".png":
        raise UserError(f"--out {options.out}: must end with .png")
    curves = [read_curve(run) for run in options.runs]
    write_bytes(options.out, picture(curves))
    if any(curve.looks for curve in curves):
        Console().print(_table(curves))
    ranks = {
        f"rank correlation of J&F and colour accuracy, {curve.name}, {protocol}": f"{rank:+.2f}"
        for curve in curves
        for protocol in curve.protocols
        if (rank := curve.rank_correlation(protocol)) is not None
    }
    print_facts("Learning curves", {**ranks, "picture": options.out})
    return 0


def _table(curves: list[LearningCurve]) -> Table:
    table = Table(title="checkpoints that were scored")
    for name in ("Run", "Step", "Protocol", "Held-out loss", "Colour accuracy", "Copying", "J&F"):
        table.add_column(name, justify="left" if name in ("Run", "Protocol") else "right")
    for curve in curves:
        for look in curve.looks:
            held_out = (look.held_out_loss, look.accuracy, look.copy_accuracy)
            numbers = ["" if value is None else f"{value:.4f}" for value in held_out]
            row = [curve.name, f"{look.step:,}", look.protocol, *numbers, f"{look.jf_mean:.4f}"]
            table.add_row(*row)
    return table
