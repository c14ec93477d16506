"""Networks that others trained, as encoders: one feature map of every RGB frame.

Shape suffixes: C channels, H, W pixels, h, w cells.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from model.propagation.encoders.matching import half_precision, match_features
from model.propagation.protocols import MatchingProtocol


@dataclass(frozen=True)
class Backbone:
    """A network with what has to be known to use it."""

    network: nn.Module
    """RGB [T,3,H,W], normalised, sides a multiple of the stride -> features [T,C,H/stride,W/stride]."""
    layer: str
    """What the features are, in the words of its library."""
    stride_px: int
    channels: int
    mean_rgb: tuple[float, ...]
    """Subtracted from RGB in 0..1."""
    std_rgb: tuple[float, ...]
    """What the difference is divided by."""


class BackboneEncoder:
    """A backbone's features, compared as the protocol says.

    It has one kind of features, so the protocol's `feature` does not apply. Frames come padded to
    whole cells from the engine's grid and are neither cropped nor resized here.
    """

    def __init__(
        self, backbone: Backbone, protocol: MatchingProtocol, *, half: bool = False
    ) -> None:
        """`half`: the network runs in bfloat16 where it is on a GPU."""
        self.stride_px = backbone.stride_px
        self._backbone = backbone
        self._network = backbone.network.eval()
        self._protocol = protocol
        self._half = half

    def encode(self, frame_3HW: Tensor) -> Tensor:
        mean, std = (
            torch.tensor(values, device=frame_3HW.device)[:, None, None]
            for values in (self._backbone.mean_rgb, self._backbone.std_rgb)
        )
        normalised = (frame_3HW.float() / 255 - mean) / std
        with half_precision(frame_3HW.device, self._half):
            batch_T3HW = normalised.reshape(-1, *normalised.shape[-3:])
            features_TCHW: Tensor = self._network(batch_T3HW).float()
        return features_TCHW if frame_3HW.ndim == 4 else features_TCHW[0]

    def match(self, references: Sequence[Tensor], target: Tensor) -> tuple[list[Tensor], Tensor]:
        return match_features(references, target, self._protocol)


def feature_channels(network: nn.Module, stride_px: int) -> int:
    """Channels of the features. Raises ValueError where the cells of a small frame are not those of
    the stride; whatever the network raises passes through."""
    cells = (5, 3)
    frame_13HW = torch.zeros(1, 3, *(side * stride_px for side in cells))
    network.eval()
    with torch.inference_mode():
        features = network(frame_13HW)
    if features.ndim != 4 or tuple(features.shape[2:]) != cells:
        raise ValueError(
            f"a frame of {cells[0]}x{cells[1]} cells of {stride_px} px gives features of shape "
            f"{tuple(features.shape)}"
        )
    return int(features.shape[1])
