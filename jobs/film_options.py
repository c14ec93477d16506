"""What `huetrack colorize` and `huetrack embed` have in common: one video, one model, one film."""

from dataclasses import KW_ONLY, dataclass
from typing import Annotated, Literal

import torch
from cyclopts import Parameter

from jobs.options import LocationOption
from model.errors import UserError
from model.propagation.frame_encoder import Encoder
from model.propagation.protocols import MatchingProtocol, ProtocolName, get_protocol
from pipelines.footage import footage_at
from pipelines.learned_temperature import settings_with_learned
from pipelines.models import (
    WITHOUT_MATCHING,
    ModelName,
    WeightsName,
    build_encoder,
    parse_model,
)
from pipelines.shown_video import ShownVideo


@dataclass(frozen=True)
class FilmOptions:
    """Options of `huetrack colorize` and `huetrack embed`."""

    video: LocationOption
    """A video file, or a folder with the pictures of one."""
    _: KW_ONLY
    out: LocationOption
    """File for the film, .mp4."""
    model: ModelName
    """A run folder or .safetensors file, `untrained`, `torchvision:NAME` (a ResNet) or `timm:NAME`, each
    with `+lab` for colours joined; or `lab` (colours alone)."""
    protocol: ProtocolName | None = None
    """How frames are encoded and compared: `vidcolor` (the paper's), `crw`, ...; by default `vidcolor`
    for a run and `crw` for any other model."""
    set: Annotated[tuple[str, ...], Parameter(negative="")] = ()
    """Change a setting of the protocol: --set temperature=1, or `temperature=learned` for the one that
    `huetrack temperature` stored in the run."""
    height_px: int = 256
    """Taller videos are reduced to this height before anything else."""
    weights: WeightsName | None = None
    """Of `torchvision:NAME` and `timm:NAME`: `pretrained` (the default), `random`, or a file of weights
    (.safetensors, .pth)."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """auto: a GPU where there is one."""
    half: Annotated[bool, Parameter(negative="")] = False
    """Run networks in bfloat16 on a GPU."""
    untrained_width: int = 64
    """Width of the network that `untrained` makes."""
    seed: int = 0
    """Random weights, and samples of cells."""


@dataclass(frozen=True)
class Filmed:
    """Options, resolved."""

    video: ShownVideo
    encoder: Encoder
    protocol: MatchingProtocol
    device: str


def resolve(options: FilmOptions) -> Filmed:
    """Find the video, load the model. Raises `UserError` for whatever is not there or does not fit."""
    video = ShownVideo(footage_at(options.video), options.height_px)
    spec = parse_model(
        options.model,
        untrained_width=options.untrained_width,
        seed=options.seed,
        weights=options.weights,
        half=options.half,
    )
    if spec.kind in WITHOUT_MATCHING:
        raise UserError(f"--model {options.model} has no features")
    usual = "vidcolor" if spec.kind == "trained" else "crw"
    name = options.protocol or usual
    protocol = get_protocol(name, settings_with_learned(options.set, name, spec.run_weights))
    device = options.device
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    elif device == "cuda" and not torch.cuda.is_available():
        raise UserError("--device cuda: this machine has no GPU that PyTorch can use")
    return Filmed(video, build_encoder(spec, protocol, device), protocol, device)
