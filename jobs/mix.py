"""`huetrack mix`."""

from collections.abc import Iterator
from dataclasses import KW_ONLY, dataclass
from typing import Annotated

import torch
from cyclopts import Parameter
from rich.console import Console
from rich.table import Table

from jobs.console import ProgressDisplay, print_facts
from jobs.options import LocationOption
from model.errors import UserError
from model.propagation.encoders import ColorizerEncoder, LabEncoder, Mix
from model.propagation.mix_search import MixScore, score_mixes
from model.propagation.protocols import ProtocolName, get_protocol
from pipelines.clip_rows import BatchConfig, ClipDataset
from pipelines.held_out import held_out_clips
from pipelines.mix import MIX_FILE, save_mix
from pipelines.models import read_colorizer
from pipelines.run_folder import weights_of

SHOWN = 5


@dataclass(frozen=True)
class MixOptions:
    """Options of `huetrack mix`."""

    dataset: LocationOption
    """Dataset folder made by `huetrack preprocess`; clips of its held-out videos are used."""
    _: KW_ONLY
    run: LocationOption
    """Run folder made by `huetrack train`; `mix.json` is written into it."""
    clips: int = 16
    """Held-out clips, those first in which most moves."""
    protocol: ProtocolName = "crw"
    """Whose temperature, top-k and window are used."""
    dry_run: Annotated[bool, Parameter(negative="")] = False
    """Only print what was found."""


def mix_command(options: Annotated[MixOptions, Parameter(name="*")]) -> int:
    """Learn from unlabelled video how much features and colours count in `--model RUN+lab`.

    The clips are followed frame by frame to their last frame and straight back to the first; the mix
    with which most cells come home is taken. No mask is looked at.

    Example: huetrack mix dataset --run runs/first
    """
    if options.clips < 1:
        raise UserError("--clips must be at least 1")
    protocol = get_protocol(options.protocol, ["feature=trunk"])
    weights = weights_of(options.run)
    encoder = ColorizerEncoder(read_colorizer(weights), protocol)
    dataset = ClipDataset.open(options.dataset)
    chosen = held_out_clips(
        dataset, BatchConfig(resolution_px=dataset.format.size_px), options.clips
    )
    with ProgressDisplay() as progress:

        def clips() -> Iterator[torch.Tensor]:
            for done, clip in enumerate(chosen):
                progress("clips", done, len(chosen), clip.video_id)
                yield torch.from_numpy(clip.frames_THW3).permute(0, 3, 1, 2).contiguous()
            progress("clips", len(chosen), len(chosen), "")

        scores = score_mixes(
            encoder,
            LabEncoder(),
            clips(),
            top_k=protocol.top_k,
            radius_cells=protocol.radius_cells,
        )
    Console().print(_table(scores))
    if not options.dry_run:
        save_mix(weights.parent, scores[0].mix)
    stored = "not stored (--dry-run)" if options.dry_run else weights.parent / MIX_FILE
    print_facts(
        f"Mix of {options.run}",
        {
            "protocol": protocol.name,
            "clips": len(chosen),
            "temperature_scale": f"{scores[0].mix.temperature_scale:g}",
            "lab_variance": f"{scores[0].mix.lab_variance:g}",
            "stored": stored,
        },
    )
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
