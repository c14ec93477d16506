"""The colouriser as an encoder: its trunk features, or its embedding in the paper's sliding window.

Shape suffixes: C channels, E embedding channels, H, W pixels, h, w cells.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from model.colorizer import Colorizer, normalise_grey
from model.errors import UserError
from model.propagation.encoders.matching import half_precision, match_features
from model.propagation.protocols import MatchingProtocol
from model.trunk import STRIDE_PX

# ITU-R BT.601, the luma of JPEG: the network was trained on the Y plane of JPEG frames.
LUMA_FROM_RGB = (0.299, 0.587, 0.114)


def luma(rgb_3HW: Tensor) -> Tensor:
    """uint8 RGB [..., 3, H, W] -> rounded luma 0..255, float32 [..., H, W]."""
    weights = torch.tensor(LUMA_FROM_RGB, device=rgb_3HW.device)
    return torch.einsum("c,...chw->...hw", weights, rgb_3HW.float()).round()


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

    def __init__(
        self, colorizer: Colorizer, protocol: MatchingProtocol, *, half: bool = False
    ) -> None:
        """`half`: the network runs in bfloat16 where it is on a GPU."""
        if protocol.feature == "embedding" and (
            protocol.anchor_first or protocol.recent_frames > self.WINDOW_REFERENCES
        ):
            raise UserError(
                f"protocol {protocol.name}: the embedding needs a context of the last "
                f"{self.WINDOW_REFERENCES} frames (anchor_first=false), or use feature=trunk"
            )
        self._colorizer = colorizer.eval()
        self._protocol = protocol
        self._half = half

    def encode(self, frame_3HW: Tensor) -> Tensor:
        grey_BTHW = normalise_grey(luma(frame_3HW.reshape(1, -1, *frame_3HW.shape[-3:])))
        with half_precision(frame_3HW.device, self._half):
            features_TCHW = self._colorizer.features(grey_BTHW)[0].float()
        return features_TCHW if frame_3HW.ndim == 4 else features_TCHW[0]

    def match(self, references: Sequence[Tensor], target: Tensor) -> tuple[list[Tensor], Tensor]:
        if self._protocol.feature == "embedding":
            *references, target = self._embed(references, target)
        return match_features(references, target, self._protocol)

    def _embed(self, references: Sequence[Tensor], target: Tensor) -> list[Tensor]:
        missing = self.WINDOW_REFERENCES - len(references)
        window = torch.stack([*[references[0]] * missing, *references, target])
        with half_precision(target.device, self._half):
            embeddings = self._colorizer.head(window[None])[0].float()
        return list(embeddings[missing:].unbind())
