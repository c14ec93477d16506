"""`huetrack temperature`."""

from typing import Annotated

from cyclopts import Parameter
from rich.console import Console
from rich.table import Table

from jobs.console import print_facts
from jobs.held_out_options import HeldOutOptions, resolve
from model.propagation.round_trip import RoundTrip, score_temperatures
from pipelines.learned_temperature import TEMPERATURE_FILE, save_temperature


def temperature_command(options: Annotated[HeldOutOptions, Parameter(name="*")]) -> int:
    """Learn from unlabelled video at which temperature a protocol carries best with a run.

    Blocks that each clip's first frame is cut into are carried through the clip as masks are, and
    straight back; the temperature is taken with which most cells get their own block again. (How the
    first frame's colours were carried is shown as well.) No mask is looked at. It goes to
    temperature.json in the run's folder, and is used where it is asked for: --set temperature=learned.
    Every result names the temperature in its protocol.

    Example: huetrack temperature dataset --run runs/first --protocol vidcolor
    """
    looked = resolve(options)
    protocol = looked.protocol
    scores = score_temperatures(looked.colorizer, looked.clips, looked.centroids_K2, protocol)
    Console().print(_table(scores, protocol.temperature))
    best, _ = scores[0]
    facts: dict[str, object] = {
        "protocol": protocol.name,
        "its own temperature": f"{protocol.temperature:g}",
        "learned": f"{best:g}",
    }
    save_temperature(looked.folder, protocol.name, best)
    facts["stored"] = looked.folder / TEMPERATURE_FILE
    facts["used by"] = f"--protocol {protocol.name} --set temperature=learned"
    print_facts(f"Temperature of {options.run}", facts)
    return 0


def _table(scores: list[tuple[float, RoundTrip]], own: float) -> Table:
    """All temperatures, from the sharpest on."""
    table = Table(title="blocks and colours of the first frame, carried")
    for name in ("Temperature", "Coming home", "Colourising loss", "Colour accuracy"):
        table.add_column(name, justify="right")
    for temperature, trip in sorted(scores, key=lambda score: score[0]):
        remarks = [" (default)"] * (temperature == own)
        remarks += [" (best)"] * (temperature == scores[0][0])
        numbers = (trip.home, trip.colour_loss, trip.accuracy)
        name = f"{temperature:g}{''.join(remarks)}"
        table.add_row(name, *(f"{number:.4f}" for number in numbers))
    return table
