"""`huetrack temperature`."""

from typing import Annotated

import torch
from cyclopts import Parameter
from rich.console import Console
from rich.table import Table

from jobs.console import print_facts
from jobs.held_out_options import HeldOutOptions, shown_clips
from model.propagation.encoders import ColorizerEncoder
from model.propagation.protocols import get_protocol
from model.propagation.temperature_search import TemperatureScore, score_temperatures
from pipelines.codebook import load_codebook
from pipelines.learned_temperature import TEMPERATURE_FILE, save_temperature
from pipelines.models import read_colorizer
from pipelines.run_folder import CODEBOOK_FILE, weights_of


def temperature_command(options: Annotated[HeldOutOptions, Parameter(name="*")]) -> int:
    """Learn from unlabelled video at which temperature a protocol carries best with a run.

    The colours of each clip's first frame are carried through the clip as labels are, and the
    temperature with the smallest colourising loss is taken. No mask is looked at. It goes to
    temperature.json in the run's folder, and is used where it is asked for: --set temperature=learned.
    Every result names the temperature in its protocol.

    Example: huetrack temperature dataset --run runs/first --protocol vidcolor
    """
    protocol = get_protocol(options.protocol)
    weights = weights_of(options.run)
    centroids_K2 = torch.from_numpy(load_codebook(options.run / CODEBOOK_FILE).centroids_K2)
    encoder = ColorizerEncoder(read_colorizer(weights), protocol)
    scores = score_temperatures(encoder, shown_clips(options), centroids_K2, protocol)
    Console().print(_table(scores, protocol.temperature))
    best = scores[0].temperature
    facts: dict[str, object] = {
        "protocol": protocol.name,
        "its own temperature": f"{protocol.temperature:g}",
        "learned": f"{best:g}",
    }
    if options.dry_run:
        facts["stored"] = "not stored (--dry-run)"
    else:
        save_temperature(weights.parent, protocol.name, best)
        facts["stored"] = weights.parent / TEMPERATURE_FILE
        facts["used by"] = f"--protocol {protocol.name} --set temperature=learned"
    print_facts(f"Temperature of {options.run}", facts)
    return 0


def _table(scores: list[TemperatureScore], own: float) -> Table:
    """All temperatures, from the sharpest on."""
    table = Table(title="carrying the first frame's colours")
    for name in ("Temperature", "Loss", "Colour accuracy"):
        table.add_column(name, justify="right")
    for score in sorted(scores, key=lambda score: score.temperature):
        remarks = [" (default)"] * (score.temperature == own) + [" (best)"] * (score == scores[0])
        name = f"{score.temperature:g}{''.join(remarks)}"
        table.add_row(name, f"{score.loss:.4f}", f"{score.accuracy:.4f}")
    return table
