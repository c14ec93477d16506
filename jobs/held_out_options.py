"""What `huetrack mix` and `huetrack temperature` have in common: a run, and held-out clips without labels."""

from collections.abc import Iterator
from dataclasses import KW_ONLY, dataclass

import numpy as np
import torch

from jobs.console import ProgressDisplay
from jobs.options import LocationOption
from model.colorizer import Colorizer
from model.errors import UserError
from model.propagation.matching_protocol import MatchingProtocol
from model.propagation.protocols import ProtocolName, get_protocol
from pipelines.clip_rows import BatchConfig, ClipDataset
from pipelines.held_out import held_out_clips
from pipelines.models import read_colorizer
from pipelines.run_folder import read_codebook, weights_of
from pipelines.storage import Location


@dataclass(frozen=True)
class HeldOutOptions:
    """Options of commands that learn from held-out clips how a run is to be used."""

    dataset: LocationOption
    """Dataset folder made by `huetrack preprocess`; clips of its held-out videos are used."""
    _: KW_ONLY
    run: LocationOption
    """Run folder made by `huetrack train`."""
    clips: int = 16
    """Held-out clips, those first in which most moves."""
    protocol: ProtocolName = "crw"
    """The protocol that it is learned for."""


@dataclass(frozen=True)
class LookedAt:
    """Options, resolved."""

    colorizer: Colorizer
    protocol: MatchingProtocol
    centroids_K2: torch.Tensor
    clips: Iterator[list[np.ndarray]]
    """Frames of each clip, uint8 RGB [H, W, 3]; a display shows which one it is."""
    folder: Location
    """Where what is learned goes."""


def resolve(options: HeldOutOptions) -> LookedAt:
    """Find the run and the clips. Raises `UserError`."""
    if options.clips < 1:
        raise UserError("--clips must be at least 1")
    codebook = read_codebook(options.run)
    weights = weights_of(options.run)
    return LookedAt(
        read_colorizer(weights),
        get_protocol(options.protocol),
        torch.from_numpy(codebook.centroids_K2),
        _shown_clips(ClipDataset.open(options.dataset), options.clips),
        weights.parent,
    )


def _shown_clips(dataset: ClipDataset, count: int) -> Iterator[list[np.ndarray]]:
    chosen = held_out_clips(dataset, BatchConfig(resolution_px=dataset.format.size_px), count)
    with ProgressDisplay() as progress:
        for done, clip in enumerate(chosen):
            progress("clips", done, len(chosen), clip.video_id)
            yield list(clip.frames_THW3)
        progress("clips", len(chosen), len(chosen))
