"""`huetrack export`."""

import json
import tempfile
from dataclasses import KW_ONLY, asdict, dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import Parameter

from jobs.console import print_facts
from jobs.options import LocationOption
from model.colorizer import load_colorizer, read_notes, save_colorizer
from model.errors import UserError
from model.propagation.encoders import Mix
from pipelines.learned_temperature import TEMPERATURE_NOTE, load_temperatures
from pipelines.mix import MIX_NOTE, load_mix
from pipelines.run_folder import BEST_WEIGHTS_FILE, read_codebook, read_config, weights_of
from pipelines.storage import Location, local_file, write_bytes

SETTINGS = ("objective", "seed", "workers", "model", "colorization", "fit", "batches")
"""What of a run's configuration goes with its weights: no paths, no addresses."""


@dataclass(frozen=True)
class ExportOptions:
    """Options of `huetrack export`."""

    run: LocationOption
    """Run folder made by `huetrack train`."""
    _: KW_ONLY
    out: LocationOption
    """File to write, .safetensors."""
    weights: Literal["last", "best"] = "last"
    """Those after the last step, or those of the checkpoint with the lowest held-out loss."""
    overwrite: bool = False
    """Replace a file that is there."""


def export_command(options: Annotated[ExportOptions, Parameter(name="*")]) -> int:
    """Write what a run learned as one file, which every --model and --init takes.

    The safetensors file holds the weights, and in its metadata the network's shape, the settings of the
    training, the codebook with its fingerprint, and the mix and temperatures that were learned since.

    Example: huetrack export runs/first --out tracker.safetensors
    """
    if options.out.suffix != ".safetensors":
        raise UserError(f"--out {options.out}: must end with .safetensors")
    if options.out.exists() and not options.overwrite:
        raise UserError(f"--out {options.out}: is there already (use --overwrite or another name)")
    codebook = read_codebook(options.run)
    weights = weights_of(options.run)
    if options.weights == "best":
        weights = options.run / BEST_WEIGHTS_FILE
        if not weights.exists():
            raise UserError(f"{weights}: no such file (nothing was held out, use --weights last)")
    with local_file(weights) as file, tempfile.TemporaryDirectory() as place:
        notes = read_notes(file) | _notes(options.run, weights, options.weights)
        notes |= {
            "codebook": json.dumps(asdict(codebook)),
            "codebook_fingerprint": codebook.fingerprint,
        }
        copy = Path(place) / "export.safetensors"
        save_colorizer(load_colorizer(file), copy, notes)
        content = copy.read_bytes()
    write_bytes(options.out, content)
    print_facts(
        f"Export of {options.run}",
        {
            "weights": f"{options.weights}, step {notes.get('step', 'unknown')}",
            "codebook": codebook.fingerprint,
            "learned": ", ".join({MIX_NOTE, TEMPERATURE_NOTE} & notes.keys())
            or "no mix, no temperature",
            "file": f"{options.out} ({len(content) / 1e6:.1f} MB)",
            "used by": f"--model {options.out}",
        },
    )
    return 0


def _notes(run: Location, weights: Location, which: str) -> dict[str, str]:
    config = read_config(run)
    notes: dict[str, Any] = {"config": {key: config[key] for key in SETTINGS if key in config}}
    if (mix := load_mix(weights)) != Mix():
        notes[MIX_NOTE] = asdict(mix)
    if temperatures := load_temperatures(weights):
        notes[TEMPERATURE_NOTE] = temperatures
    return {"weights": which, **{key: json.dumps(value) for key, value in notes.items()}}
