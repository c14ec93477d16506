"""`huetrack mix`."""

from dataclasses import dataclass
from typing import Annotated

from cyclopts import Parameter
from rich.console import Console
from rich.table import Table

from jobs.console import print_facts
from jobs.held_out_options import HeldOutOptions, resolve
from jobs.registry import check_name, register_again
from model.errors import UserError
from model.propagation.encoders import Mix
from model.propagation.round_trip import RoundTrip, score_mixes
from pipelines.mix import MIX_FILE, save_mix
from pipelines.run_folder import read_config

SHOWN = 5


@dataclass(frozen=True)
class MixOptions(HeldOutOptions):
    """Options of `huetrack mix`."""

    store: Annotated[bool, Parameter(negative="")] = False
    """Write the mix into the run's folder: RUN+lab uses it from then on."""
    register: str = ""
    """With --store: name in MLflow's model registry that gets a new version of the run's tracker."""


def mix_command(options: Annotated[MixOptions, Parameter(name="*")]) -> int:
    """Learn from unlabelled video how much features and colours count in `--model RUN+lab`.

    Blocks that each clip's first frame is cut into are carried through the clip as masks are, and
    straight back; the best mix is the one with which most cells get their own block again. No mask is
    looked at, and on masks the mix found so may be worse than the default one, as it was on DAVIS: try it
    on masks of yours before it is kept. With --store it goes to mix.json in the run's folder, which
    RUN+lab reads from then on.

    Example: huetrack mix dataset --run runs/first
    """
    check_name(options.register)
    if options.register and not options.store:
        raise UserError("--register needs --store")
    if options.register:
        # It says where the run is tracked, and is missed now, not after the work.
        read_config(options.run)
    looked = resolve(options)
    protocol = looked.protocol
    scores = score_mixes(looked.colorizer, looked.clips, looked.centroids_K2, protocol)
    Console().print(_table(scores))
    best, _ = scores[0]
    facts: dict[str, object] = {
        "protocol": protocol.name,
        "temperature_scale": f"{best.temperature_scale:g}",
        "lab_variance": f"{best.lab_variance:g}",
    }
    if options.store:
        save_mix(looked.folder, best)
        facts["stored"] = looked.folder / MIX_FILE
    else:
        facts["stored"] = "no (--store writes it into the run)"
    if options.register:
        facts["registered"] = register_again(options.run, options.register)
    print_facts(f"Mix of {options.run}", facts)
    return 0


def _table(scores: list[tuple[Mix, RoundTrip]]) -> Table:
    """The best mixes, and the default one wherever it stands."""
    table = Table(title="blocks of the first frame, carried there and back")
    for name in ("Rank", "temperature_scale", "lab_variance", "Coming home"):
        table.add_column(name, justify="right")
    for rank, (mix, trip) in enumerate(scores, start=1):
        if rank <= SHOWN or mix == Mix():
            numbers = (f"{mix.temperature_scale:g}", f"{mix.lab_variance:g}", f"{trip.home:.4f}")
            table.add_row(str(rank) + (" (default)" if mix == Mix() else ""), *numbers)
    return table
