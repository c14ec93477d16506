"""What compares frames: a trained or untrained colouriser, Lab colours, or both together.

Each encoder turns frames into base features once and context and target into keys and a query whose
dot product is the logit, as `model.propagation.engine.Encoder` asks.

Shape suffixes: C channels, E embedding channels, H, W pixels, h, w cells.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from model.color import area_mean, rgb_to_lab
from model.colorizer import Colorizer, normalise_grey
from model.errors import UserError
from model.propagation.engine import Encoder
from model.propagation.protocols import MatchingProtocol
from model.trunk import STRIDE_PX

# ITU-R BT.601, the luma of JPEG: the network was trained on the Y plane of JPEG frames.
LUMA_FROM_RGB = (0.299, 0.587, 0.114)
LAB_VARIANCE = 40.0
"""Squared distance of Lab colours is divided by twice this: sigma is 6.3 Lab units."""


def luma(rgb_3HW: Tensor) -> Tensor:
    """uint8 RGB [3, H, W] -> rounded luma 0..255, float32 [H, W]."""
    weights = torch.tensor(LUMA_FROM_RGB, device=rgb_3HW.device)
    return torch.einsum("c,chw->hw", weights, rgb_3HW.float()).round()


class ColorizerEncoder:
    """The colouriser's trunk features, or its embedding in a window of four frames.

    With `embedding` the base features are the trunk's, so that a frame passes through the trunk once;
    the head sees (references, target) as it did in training. A protocol with another number of
    references than the three of training would show the head a clip it never saw, so the window is
    the last three; at the start of a video it is padded with copies of the first frame, whose keys
    are then used once.
    """

    stride_px = STRIDE_PX
    WINDOW_REFERENCES = 3

    def __init__(self, colorizer: Colorizer, protocol: MatchingProtocol) -> None:
        if protocol.feature == "embedding" and (
            protocol.anchor_first or protocol.recent_frames > self.WINDOW_REFERENCES
        ):
            raise UserError(
                f"protocol {protocol.name}: the embedding needs a context of the last "
                f"{self.WINDOW_REFERENCES} frames (anchor_first=false), or use feature=trunk"
            )
        self._colorizer = colorizer.eval()
        self._protocol = protocol

    def encode(self, frame_3HW: Tensor) -> Tensor:
        grey_BTHW = normalise_grey(luma(frame_3HW))[None, None]
        return self._colorizer.features(grey_BTHW)[0, 0]

    def match(self, references: Sequence[Tensor], target: Tensor) -> tuple[list[Tensor], Tensor]:
        if self._protocol.feature == "embedding":
            vectors = self._embed(references, target)
        else:
            vectors = [*references, target]
        if self._protocol.normalise:
            vectors = [F.normalize(vector, dim=0) for vector in vectors]
        query = vectors[-1] / self._protocol.temperature
        return vectors[:-1], query

    def _embed(self, references: Sequence[Tensor], target: Tensor) -> list[Tensor]:
        missing = self.WINDOW_REFERENCES - len(references)
        window = torch.stack([*[references[0]] * missing, *references, target])
        embeddings = self._colorizer.head(window[None])[0]
        return list(embeddings[missing:].unbind())


class LabEncoder:
    """Colour alone: the mean Lab of each cell, compared by squared distance.

    logit = -|Lab_i - Lab_j|^2 / (2 * variance). As a dot product: key (a, -|Lab|^2 / (2 v)) and query
    (a, 1) with a = Lab / sqrt(v); the query's own square is the same for all keys and drops out of
    the softmax. The protocol's temperature and normalisation belong to learned features and do not
    apply.
    """

    stride_px = STRIDE_PX

    def encode(self, frame_3HW: Tensor) -> Tensor:
        height, width = frame_3HW.shape[-2:]
        return area_mean(rgb_to_lab(frame_3HW), (height // STRIDE_PX, width // STRIDE_PX))

    def match(self, references: Sequence[Tensor], target: Tensor) -> tuple[list[Tensor], Tensor]:
        scale = LAB_VARIANCE**-0.5
        keys = [
            torch.cat((lab * scale, -(lab**2).sum(dim=0, keepdim=True) / (2 * LAB_VARIANCE)))
            for lab in references
        ]
        return keys, torch.cat((target * scale, torch.ones_like(target[:1])))


class JoinedEncoder:
    """Two encoders together: the logit is the sum of theirs."""

    stride_px = STRIDE_PX

    def __init__(self, first: Encoder, first_channels: int, second: Encoder) -> None:
        self._first = first
        self._second = second
        self._first_channels = first_channels

    def encode(self, frame_3HW: Tensor) -> Tensor:
        first = self._first.encode(frame_3HW)
        if first.shape[0] != self._first_channels:
            raise ValueError(f"expected {self._first_channels} channels, got {first.shape[0]}")
        return torch.cat((first, self._second.encode(frame_3HW)))

    def match(self, references: Sequence[Tensor], target: Tensor) -> tuple[list[Tensor], Tensor]:
        n = self._first_channels
        first_keys, first_query = self._first.match([r[:n] for r in references], target[:n])
        second_keys, second_query = self._second.match([r[n:] for r in references], target[n:])
        keys = [torch.cat(pair) for pair in zip(first_keys, second_keys, strict=True)]
        return keys, torch.cat((first_query, second_query))
