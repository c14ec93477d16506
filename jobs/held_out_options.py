"""What `huetrack mix` and `huetrack temperature` have in common: a run, and held-out clips without labels."""

from collections.abc import Iterator
from dataclasses import KW_ONLY, dataclass
from typing import Annotated

import numpy as np
from cyclopts import Parameter

from jobs.console import ProgressDisplay
from jobs.options import LocationOption
from model.errors import UserError
from model.propagation.protocols import ProtocolName
from pipelines.clip_rows import BatchConfig, ClipDataset
from pipelines.held_out import held_out_clips


@dataclass(frozen=True)
class HeldOutOptions:
    """Options of commands that learn from held-out clips how a run is to be used."""

    dataset: LocationOption
    """Dataset folder made by `huetrack preprocess`; clips of its held-out videos are used."""
    _: KW_ONLY
    run: LocationOption
    """Run folder made by `huetrack train`; what is learned is written into it."""
    clips: int = 32
    """Held-out clips, those first in which most moves."""
    protocol: ProtocolName = "crw"
    """The protocol that it is learned for: its features, window, top-k and temperature."""
    dry_run: Annotated[bool, Parameter(negative="")] = False
    """Only print what was found."""


def shown_clips(options: HeldOutOptions) -> Iterator[list[np.ndarray]]:
    """The frames of each clip, uint8 RGB [H, W, 3], while a display shows which one it is.

    Raises `UserError`.
    """
    if options.clips < 1:
        raise UserError("--clips must be at least 1")
    dataset = ClipDataset.open(options.dataset)
    stored = BatchConfig(resolution_px=dataset.format.size_px)
    chosen = held_out_clips(dataset, stored, options.clips)
    with ProgressDisplay() as progress:
        for done, clip in enumerate(chosen):
            progress("clips", done, len(chosen), clip.video_id)
            yield list(clip.frames_THW3)
        progress("clips", len(chosen), len(chosen))
