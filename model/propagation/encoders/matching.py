"""What encoders of learned features share: features to keys and query, and half precision."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from model.propagation.protocols import MatchingProtocol


def match_features(
    references: Sequence[Tensor], target: Tensor, protocol: MatchingProtocol
) -> tuple[list[Tensor], Tensor]:
    """Features [C,h,w] -> keys and query: normalised if the protocol says so, over its temperature."""
    vectors = [*references, target]
    if protocol.normalise:
        vectors = [F.normalize(vector, dim=0) for vector in vectors]
    return vectors[:-1], vectors[-1] / protocol.temperature


def half_precision(device: torch.device, wanted: bool) -> torch.autocast:
    """bfloat16 autocast on a GPU where it is wanted; anywhere else it changes nothing."""
    return torch.autocast(
        device.type, dtype=torch.bfloat16, enabled=wanted and device.type == "cuda"
    )
