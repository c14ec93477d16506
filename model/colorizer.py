"""The colouriser: trunk, head and pointer put together, and its file on disk.

Shape suffixes: B clips, T frames (references first, the target last), C channels, E embedding
channels, H, W pixels, h, w cells.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save
from torch import Tensor, nn

from model.errors import UserError
from model.head import LinearHead, TemporalHead
from model.trunk import Trunk

_CONFIG_KEY = "colorizer"
_HEADS = {"temporal": TemporalHead, "linear": LinearHead}


@dataclass(frozen=True)
class ColorizerConfig:
    """Shape of the network."""

    width: int = 64
    """Channels of the first stage; the trunk ends with four times as many (paper: 64, so 256)."""
    embedding_channels: int = 64
    """Channels of the embedding that the pointer compares."""
    head: Literal["temporal", "linear"] = "temporal"
    """temporal: the paper's five 3-D blocks; linear: one 1x1 layer, for short trainings."""

    def __post_init__(self) -> None:
        if self.width < 1 or self.embedding_channels < 1:
            raise UserError("width and embedding_channels must be at least 1")
        if self.head not in _HEADS:
            raise UserError(f"head must be one of {', '.join(_HEADS)}, not {self.head}")


class Colorizer(nn.Module):
    """Grey clips -> embeddings whose dot products say where each cell comes from."""

    def __init__(self, config: ColorizerConfig) -> None:
        super().__init__()
        self.config = config
        self.trunk = Trunk(config.width)
        self.head = _HEADS[config.head](self.trunk.channels, config.embedding_channels)

    def features(self, grey_BTHW: Tensor) -> Tensor:
        """Grey in [-1, 1] -> trunk features [B, T, C, h, w]; frames do not see each other here."""
        flat = self.trunk(grey_BTHW.flatten(0, 1).unsqueeze(1))
        return flat.unflatten(0, grey_BTHW.shape[:2])

    def forward(self, grey_BTHW: Tensor) -> Tensor:
        """Grey in [-1, 1] -> embeddings [B, T, E, h, w]; in the temporal head the frames of a clip see
        each other."""
        embeddings: Tensor = self.head(self.features(grey_BTHW))
        return embeddings


def normalise_grey(grey: Tensor) -> Tensor:
    """uint8 luma 0..255 -> float32 in [-1, 1] (the network's input), any shape."""
    return grey.to(torch.float32) / 127.5 - 1.0


def save_colorizer(
    colorizer: Colorizer, path: Path, notes: Mapping[str, str] | None = None
) -> None:
    """Weights and configuration as one safetensors file (written beside, then renamed).

    `notes` go into its metadata; `read_notes` reads them.
    """
    temporary = path.with_name(path.name + ".partial")
    tensors = {k: v.detach().cpu().contiguous() for k, v in colorizer.state_dict().items()}
    metadata = {**(notes or {}), _CONFIG_KEY: json.dumps(asdict(colorizer.config))}
    temporary.write_bytes(_in_order(save(tensors, metadata)))
    temporary.replace(path)


def _in_order(content: bytes) -> bytes:
    """A safetensors file with its metadata by name: the library writes them in a random order, and the same
    weights shall be the same bytes. (The file: length of the header, header as JSON, numbers.)"""
    length = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + length])
    header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text + content[8 + length :]


def load_colorizer(path: Path, device: str = "cpu") -> Colorizer:
    """Read what `save_colorizer` wrote, in evaluation mode.

    Raises `UserError` naming the file when it is missing, is not such a file, or holds weights of
    another shape than its configuration says.
    """
    if not path.is_file():
        raise UserError(f"{path}: no such checkpoint")
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
        colorizer = Colorizer(ColorizerConfig(**json.loads(metadata[_CONFIG_KEY])))
        tensors = load_file(path, device="cpu")
    except (SafetensorError, KeyError, ValueError, TypeError, UserError) as error:
        raise UserError(f"{path}: not a colouriser checkpoint ({error})") from error
    load_weights(colorizer, tensors, path)
    return colorizer.to(device).eval()


def read_notes(path: Path) -> dict[str, str]:
    """What `save_colorizer` was given beside the network. Raises `UserError` as `load_colorizer`."""
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
    except (SafetensorError, OSError) as error:
        raise UserError(f"{path}: not a colouriser checkpoint ({error})") from error
    return {key: value for key, value in metadata.items() if key != _CONFIG_KEY}


def load_weights(colorizer: Colorizer, tensors: dict[str, Tensor], source: Path) -> None:
    """Copy `tensors` into the network; `UserError` naming the first one that does not fit."""
    expected = colorizer.state_dict()
    for name, tensor in expected.items():
        if name not in tensors:
            raise UserError(f"{source}: weights for {name} are missing")
        if tensors[name].shape != tensor.shape:
            raise UserError(
                f"{source}: {name} has shape {tuple(tensors[name].shape)}, "
                f"the configuration asks for {tuple(tensor.shape)}"
            )
    extra = sorted(set(tensors) - set(expected))
    if extra:
        raise UserError(f"{source}: unknown weights {extra[0]}")
    colorizer.load_state_dict(tensors)
