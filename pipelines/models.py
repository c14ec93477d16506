"""`--model`: from a name to what propagates with it."""

from dataclasses import dataclass
from typing import Any

import torch

from model.colorizer import Colorizer, ColorizerConfig, load_colorizer
from model.errors import UserError
from model.propagation.encoders import ColorizerEncoder, JoinedEncoder, LabEncoder
from model.propagation.engine import Encoder, IdentityPropagator, LabelPropagator, Propagator
from model.propagation.protocols import MatchingProtocol
from pipelines.flow import METHOD, FlowPropagator
from pipelines.run_folder import weights_of
from pipelines.storage import Location, local_file, location

JOINED_SUFFIX = "+lab"
WITHOUT_MATCHING = ("identity", "flow")
"""Baselines that compare no features, so that no setting of a protocol reaches them."""


@dataclass(frozen=True)
class ModelSpec:
    """What `--model` names, resolved and checked; small enough to send to every worker."""

    kind: str
    """identity, flow, lab, untrained or trained."""
    joined: bool
    """Whether Lab colours are joined to the features."""
    weights: Location | None
    untrained: ColorizerConfig
    """Shape of the untrained network."""
    seed: int
    """Weights of the untrained network."""

    def describe(self) -> dict[str, Any]:
        """For `summary.json`."""
        record: dict[str, Any] = {"kind": self.kind + (JOINED_SUFFIX if self.joined else "")}
        if self.kind == "flow":
            record["method"] = METHOD
        if self.weights is not None:
            record["weights"] = str(self.weights)
        if self.kind == "untrained":
            record |= {"width": self.untrained.width, "seed": self.seed}
        return record

    def describe_protocol(self, protocol: MatchingProtocol) -> dict[str, Any]:
        """The protocol for `summary.json`: its settings, or that none of them is used."""
        if self.kind in WITHOUT_MATCHING:
            return {"name": protocol.name, "ignored": f"{self.kind} does no matching"}
        return protocol.describe()


def parse_model(name: str, *, untrained_width: int, seed: int) -> ModelSpec:
    """`identity`, `flow`, `lab`, `untrained`, a run folder, a .safetensors file; the latter three `+lab`.

    Raises `UserError` for anything else, and for a checkpoint that cannot be loaded.
    """
    joined = name.endswith(JOINED_SUFFIX)
    base = name.removesuffix(JOINED_SUFFIX)
    shape = ColorizerConfig(width=untrained_width)
    if base in (*WITHOUT_MATCHING, "lab") and joined:
        raise UserError(f"--model {name}: there is nothing to join Lab to")
    if base in (*WITHOUT_MATCHING, "lab", "untrained"):
        return ModelSpec(base, joined, None, shape, seed)
    path = location(base)
    if not path.exists():
        raise UserError(
            f"--model {name}: neither identity, flow, lab nor untrained, and no such run or file"
        )
    weights = weights_of(path).resolve()
    read_colorizer(weights)
    return ModelSpec("trained", joined, weights, shape, seed)


def read_colorizer(weights: Location, device: str = "cpu") -> Colorizer:
    """The network of a `.safetensors` file. Raises `UserError` naming it."""
    with local_file(weights) as file:
        return load_colorizer(file, device)


def build_propagator(spec: ModelSpec, protocol: MatchingProtocol, device: str) -> LabelPropagator:
    """The propagator of one worker."""
    if spec.kind == "identity":
        return IdentityPropagator()
    if spec.kind == "flow":
        return FlowPropagator()
    return Propagator(build_encoder(spec, protocol, device), protocol, device)


def build_encoder(spec: ModelSpec, protocol: MatchingProtocol, device: str) -> Encoder:
    """The encoder that a spec names; not for `WITHOUT_MATCHING`."""
    if spec.kind == "lab":
        return LabEncoder()
    if spec.weights is not None:
        colorizer = read_colorizer(spec.weights, device)
    else:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(spec.seed)
            colorizer = Colorizer(spec.untrained).to(device).eval()
    encoder = ColorizerEncoder(colorizer, protocol)
    if not spec.joined:
        return encoder
    return JoinedEncoder(encoder, colorizer.trunk.channels, LabEncoder())
