"""`huetrack mix`."""

from dataclasses import dataclass
from typing import Annotated

import numpy as np
import torch
from cyclopts import Parameter
from rich.console import Console
from rich.table import Table

from jobs.console import print_facts
from jobs.held_out_options import HeldOutOptions, shown_clips
from jobs.registry import check_name, register_again
from model.propagation.encoders import ColorizerEncoder, LabEncoder, Mix
from model.propagation.mix_search import MixScore, score_mixes
from model.propagation.protocols import get_protocol
from pipelines.mix import MIX_FILE, save_mix
from pipelines.models import read_colorizer
from pipelines.run_folder import weights_of

SHOWN = 5


@dataclass(frozen=True)
class MixOptions(HeldOutOptions):
    """Options of `huetrack mix`."""

    register: str = ""
    """Name in MLflow's model registry that gets a new version of the run's tracker, with this mix."""


def mix_command(options: Annotated[MixOptions, Parameter(name="*")]) -> int:
    """Learn from unlabelled video how much features and colours count in `--model RUN+lab`.

    The clips are followed frame by frame to their last frame and straight back to the first; the mix
    with which most cells come home is taken. No mask is looked at. It goes to mix.json in the run's
    folder, which RUN+lab reads from then on, and so does a tracker that is registered with it.

    Example: huetrack mix dataset --run runs/first
    """
    check_name(options.register)
    protocol = get_protocol(options.protocol, ["feature=trunk"])
    weights = weights_of(options.run)
    encoder = ColorizerEncoder(read_colorizer(weights), protocol)
    clips = (
        torch.from_numpy(np.stack(frames)).permute(0, 3, 1, 2).contiguous()
        for frames in shown_clips(options)
    )
    scores = score_mixes(encoder, LabEncoder(), clips, protocol.matching)
    Console().print(_table(scores))
    best = scores[0].mix
    facts: dict[str, object] = {
        "protocol": protocol.name,
        "temperature_scale": f"{best.temperature_scale:g}",
        "lab_variance": f"{best.lab_variance:g}",
    }
    if options.dry_run:
        facts["stored"] = "not stored (--dry-run)"
    else:
        save_mix(weights.parent, best)
        facts["stored"] = weights.parent / MIX_FILE
        if options.register:
            facts["registered"] = register_again(options.run, options.register)
    print_facts(f"Mix of {options.run}", facts)
    return 0


def _table(scores: list[MixScore]) -> Table:
    """The best mixes, and the default one wherever it stands."""
    table = Table(title="-log probability that a cell comes home")
    for name in ("Rank", "temperature_scale", "lab_variance", "Mean"):
        table.add_column(name, justify="right")
    for rank, score in enumerate(scores, start=1):
        if rank <= SHOWN or score.mix == Mix():
            mix = score.mix
            numbers = (f"{mix.temperature_scale:g}", f"{mix.lab_variance:g}", f"{score.loss:.4f}")
            table.add_row(str(rank) + (" (default)" if mix == Mix() else ""), *numbers)
    return table
