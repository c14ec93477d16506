"""`huetrack propagate`. Ray is loaded when it runs: help and `huetrack submit` need the options only."""

from typing import Annotated

from cyclopts import Parameter

from jobs.propagate_options import PropagateOptions


def propagate_command(options: Annotated[PropagateOptions, Parameter(name="*")]) -> int:
    """Carry what is annotated in each video through all its frames: masks, joints, boxes or points.

    A rerun of the same command labels only the videos that are still missing. It also makes again what
    --corrections and labels that have changed since touch, in those videos alone.

    Example: huetrack propagate videos --labels masks --model runs/first --protocol crw --out out

    Corrected frames: huetrack propagate videos --labels masks --model runs/first --protocol crw --out out
    --corrections corrected
    """
    from jobs.propagate import propagate

    return propagate(options)
