"""`--model`: from a name to what propagates with it."""

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import torch

from model.colorizer import Colorizer, ColorizerConfig, load_colorizer
from model.errors import UserError
from model.propagation.encoders import ColorizerEncoder, LabEncoder, Mix, join_lab
from model.propagation.encoders.backbone import Backbone, BackboneEncoder
from model.propagation.engine import LabelPropagator, Propagator
from model.propagation.frame_encoder import Encoder
from model.propagation.identity import IdentityPropagator
from model.propagation.protocols import MatchingProtocol
from pipelines.flow import METHOD, FlowPropagator
from pipelines.mix import load_mix
from pipelines.places import NamesPlace
from pipelines.run_folder import weights_of
from pipelines.storage import Location, local_file, location

JOINED_SUFFIX = "+lab"
WITHOUT_MATCHING = ("identity", "flow")
"""Baselines that compare no features, so that no setting of a protocol reaches them."""
BASELINES = (*WITHOUT_MATCHING, "lab", "untrained")
"""What needs no trained weights."""
LIBRARIES = ("torchvision", "timm")
"""`torchvision:NAME` and `timm:NAME` are networks of these."""
WEIGHTS_NAMED = ("pretrained", "random")


@dataclass(frozen=True)
class ModelSpec:
    """What `--model` names, resolved and checked; small enough to send to every worker."""

    kind: str
    """identity, flow, lab, untrained, trained, torchvision or timm."""
    joined: bool
    """Whether Lab colours are joined to the features."""
    weights: Location | None
    untrained: ColorizerConfig
    """Shape of the untrained network."""
    seed: int
    """Weights of an untrained network."""
    mix: Mix = field(default_factory=Mix)
    """In which proportion colours are joined."""
    backbone: str = ""
    """Name of a network of `LIBRARIES`."""
    pretrained: bool = False
    """Whether such a network has its library's own weights; else those of `weights`, or random ones."""
    output: str = ""
    """Which of its outputs the features are, with its stride."""
    half: bool = False
    """Whether networks run in bfloat16 on GPUs."""

    @property
    def run_weights(self) -> Location | None:
        """Weights of a colouriser, beside which may lie what else was learned."""
        return self.weights if self.kind == "trained" else None

    def describe(self) -> dict[str, Any]:
        """For `summary.json`."""
        record: dict[str, Any] = {"kind": self.kind + (JOINED_SUFFIX if self.joined else "")}
        if self.kind == "flow":
            record["method"] = METHOD
        if self.backbone:
            record |= {"name": self.backbone, "output": self.output}
            record |= {"weights": "pretrained" if self.pretrained else "random"}
        if self.weights is not None:
            record["weights"] = str(self.weights)
        if self.kind == "untrained":
            record |= {"width": self.untrained.width, "seed": self.seed}
        elif record.get("weights") == "random":
            record["seed"] = self.seed
        if self.joined and self.mix != Mix():
            record["mix"] = asdict(self.mix)
        if self.half:
            record["precision"] = "bfloat16 on GPUs"
        return record

    def describe_protocol(self, protocol: MatchingProtocol) -> dict[str, Any]:
        """The protocol for `summary.json`: its settings, or that none of them is used."""
        if self.kind in WITHOUT_MATCHING:
            return {"name": protocol.name, "ignored": f"{self.kind} does no matching"}
        return protocol.describe()


def model_place(name: str) -> str | None:
    """The run folder or file that `--model` names; None for a baseline or a network of a library."""
    base = name.removesuffix(JOINED_SUFFIX)
    library, colon, _ = base.partition(":")
    if base in BASELINES or (colon and library in LIBRARIES):
        return None
    return base


def weights_place(name: str) -> str | None:
    """The file that `--weights` names, if it names one."""
    return None if name in WEIGHTS_NAMED else name


ModelName = Annotated[str, NamesPlace(model_place)]
WeightsName = Annotated[str, NamesPlace(weights_place)]


def parse_model(
    name: str, *, untrained_width: int, seed: int, weights: str | None = None, half: bool = False
) -> ModelSpec:
    """`identity`, `flow`, `lab`, `untrained`, a run folder, a .safetensors file, `torchvision:NAME` or
    `timm:NAME`; all but the first three also with `+lab`.

    `weights` belongs to the networks of libraries: `pretrained` (or None), `random`, or a file. A mix
    stored beside a run's weights is read. Raises `UserError` for anything else, and for weights that
    cannot be loaded or had.
    """
    joined = name.endswith(JOINED_SUFFIX)
    base = name.removesuffix(JOINED_SUFFIX)
    shape = ColorizerConfig(width=untrained_width)
    library, colon, backbone = base.partition(":")
    if colon and library in LIBRARIES:
        return _library_model(library, backbone, joined, shape, seed, weights or "pretrained", half)
    if weights is not None:
        names = " and ".join(f"{library}:NAME" for library in LIBRARIES)
        raise UserError(f"--weights {weights} belongs to {names}, not to --model {name}")
    if base in (*WITHOUT_MATCHING, "lab") and joined:
        raise UserError(f"--model {name}: there is nothing to join Lab to")
    if base in BASELINES:
        return ModelSpec(base, joined, None, shape, seed, half=half)
    path = location(base)
    if not path.exists():
        raise UserError(
            f"--model {name}: neither identity, flow, lab nor untrained, no torchvision:NAME or "
            "timm:NAME, and no such run or file"
        )
    file = weights_of(path).resolve()
    read_colorizer(file)
    mix = load_mix(file) if joined else Mix()
    return ModelSpec("trained", joined, file, shape, seed, mix=mix, half=half)


def _library_model(
    library: str,
    backbone: str,
    joined: bool,
    shape: ColorizerConfig,
    seed: int,
    weights: str,
    half: bool,
) -> ModelSpec:
    file = None if weights in WEIGHTS_NAMED else location(weights)
    if file is not None:
        if not file.exists():
            named = " nor ".join(WEIGHTS_NAMED)
            raise UserError(f"--weights {weights}: neither {named}, and no such file")
        file = file.resolve()
    loaded = read_backbone(library, backbone, file, weights == "pretrained", seed)
    return ModelSpec(
        kind=library,
        joined=joined,
        weights=file,
        untrained=shape,
        seed=seed,
        backbone=backbone,
        pretrained=weights == "pretrained",
        output=f"{loaded.layer}, stride {loaded.stride_px}",
        half=half,
    )


def read_colorizer(weights: Location, device: str = "cpu") -> Colorizer:
    """The network of a `.safetensors` file. Raises `UserError` naming it."""
    with local_file(weights) as file:
        return load_colorizer(file, device)


def read_backbone(
    library: str, name: str, weights: Location | None, pretrained: bool, seed: int
) -> Backbone:
    """A network of `LIBRARIES` on the CPU. Raises `UserError`."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if weights is None:
            return _load_backbone(library, name, "pretrained" if pretrained else "random")
        with local_file(weights) as file:
            return _load_backbone(library, name, file)


def _load_backbone(
    library: str, name: str, weights: Path | Literal["pretrained", "random"]
) -> Backbone:
    # Either takes seconds to import, which only those who ask for it should pay.
    if library == "timm":
        from model.propagation.encoders.timm_backbone import load_timm

        return load_timm(name, weights)
    from model.propagation.encoders.torchvision_resnet import load_resnet

    return load_resnet(name, weights)


def build_propagator(
    spec: ModelSpec, protocol: MatchingProtocol, device: str, *, diagnose: bool = False
) -> LabelPropagator:
    """The propagator of one worker; `diagnose` as of `Propagator`."""
    if spec.kind == "identity":
        return IdentityPropagator()
    if spec.kind == "flow":
        return FlowPropagator()
    encoder = build_encoder(spec, protocol, device)
    return Propagator(encoder, protocol, device, diagnose=diagnose)


def build_encoder(spec: ModelSpec, protocol: MatchingProtocol, device: str) -> Encoder:
    """The encoder that a spec names; not for `WITHOUT_MATCHING`."""
    if spec.kind == "lab":
        return LabEncoder()
    encoder: Encoder
    if spec.backbone:
        backbone = read_backbone(spec.kind, spec.backbone, spec.weights, spec.pretrained, spec.seed)
        backbone.network.to(device)
        encoder, channels = BackboneEncoder(backbone, protocol, half=spec.half), backbone.channels
    else:
        colorizer = _colorizer(spec, device)
        encoder = ColorizerEncoder(colorizer, protocol, half=spec.half)
        channels = colorizer.trunk.channels
    return join_lab(encoder, channels, spec.mix) if spec.joined else encoder


def _colorizer(spec: ModelSpec, device: str) -> Colorizer:
    if spec.weights is not None:
        return read_colorizer(spec.weights, device)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(spec.seed)
        return Colorizer(spec.untrained).to(device).eval()
