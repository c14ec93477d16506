"""Learning from unlabelled video at which temperature a protocol carries labels best.

The colours of a clip's first frame, as codes of the training's codebook, are carried through the clip
as labels are: each frame from frames that were coloured before it, under the protocol's own context,
window and top-k. The loss is that of training (Vondrick et al. 2018, section 3): the mean -log
probability of each cell's true code. No mask is looked at.

Shape suffixes: K codes, C channels, H, W pixels, h, w cells.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from model.color import colour_codes, one_hot
from model.errors import UserError
from model.propagation.affinity import ContextFrame, carry
from model.propagation.engine import Encoder
from model.propagation.grid import CellGrid
from model.propagation.matching_protocol import MatchingProtocol
from model.propagation.memory import Memory

SCALES = (0.05, 0.07, 0.1, 0.14, 0.2, 0.3, 0.4, 0.6, 0.8, 1.0, 1.4, 2.0, 3.0)
"""Factors of the protocol's own temperature that are tried."""
_FLOOR = 1e-4
"""A code that is nowhere in the context has a finite loss."""


@dataclass(frozen=True)
class TemperatureScore:
    """What carrying colours at a temperature comes to, over all cells of all frames but the first."""

    temperature: float
    loss: float
    """Mean -log probability of the true code."""
    accuracy: float
    """Share of cells whose most probable code is the true one."""


@torch.inference_mode()
def score_temperatures(
    encoder: Encoder,
    clips: Iterable[Sequence[np.ndarray]],
    centroids_K2: Tensor,
    protocol: MatchingProtocol,
) -> list[TemperatureScore]:
    """Every temperature, the one with the smallest loss first, over clips of uint8 RGB frames [H, W, 3].

    `encoder` matches at the protocol's temperature. Of the protocol the rescaling of label maps is left
    out: colours are never rescaled. Raises `UserError` when there is no clip of two frames.
    """
    sums, frames = np.zeros((len(SCALES), 2)), 0
    for clip in clips:
        losses = _carried_through(encoder, clip, centroids_K2, protocol)
        sums += np.sum(losses, axis=0)
        frames += len(losses)
    if frames == 0:
        raise UserError("a temperature cannot be learned without clips")
    means = (sums / frames).tolist()
    scores = [
        TemperatureScore(protocol.temperature * scale, loss, accuracy)
        for scale, (loss, accuracy) in zip(SCALES, means, strict=True)
    ]
    return sorted(scores, key=lambda score: score.loss)


def _carried_through(
    encoder: Encoder, clip: Sequence[np.ndarray], centroids_K2: Tensor, protocol: MatchingProtocol
) -> list[list[tuple[float, float]]]:
    """Loss and accuracy of every frame but the first, at every scale."""
    height, width = clip[0].shape[:2]
    grid = CellGrid((height, width), encoder.stride_px, protocol.frame_size_px)
    memories = [Memory(protocol) for _ in SCALES]
    losses: list[list[tuple[float, float]]] = []
    for index, frame_HW3 in enumerate(clip):
        input_3HW = grid.encoder_input(frame_HW3, centroids_K2.device)
        features_Chw = encoder.encode(input_3HW)
        codes_hw = colour_codes(input_3HW, centroids_K2, grid.size_cells)
        if index == 0:
            carried = [one_hot(codes_hw, len(centroids_K2))] * len(SCALES)
        else:
            carried = _carry(encoder, features_Chw, memories, protocol)
            losses.append([_loss(each_Khw, codes_hw) for each_Khw in carried])
            if protocol.carried_state == "hard":
                carried = [one_hot(each.argmax(dim=0), len(each)) for each in carried]
        for memory, each_Khw in zip(memories, carried, strict=True):
            memory.add(index, features_Chw, each_Khw, anchor=index == 0)
    return losses


def _carry(
    encoder: Encoder, features_Chw: Tensor, memories: Sequence[Memory], protocol: MatchingProtocol
) -> list[Tensor]:
    """The codes that a frame with those features gets from each memory, at each scale."""
    references = [frame.features_CHW for frame in memories[0].context()]
    keys, query_Chw = encoder.match(references, features_Chw)
    carried = []
    for scale, memory in zip(SCALES, memories, strict=True):
        context = [
            ContextFrame(key_Chw, frame.labels_LHW, frame.windowed)
            for key_Chw, frame in zip(keys, memory.context(), strict=True)
        ]
        carried.append(carry(query_Chw / scale, context, protocol.matching))
    return carried


def _loss(carried_Khw: Tensor, codes_hw: Tensor) -> tuple[float, float]:
    share_hw = carried_Khw.gather(0, codes_hw[None])[0] / carried_Khw.sum(dim=0).clamp_min(_FLOOR)
    loss = -(share_hw + _FLOOR).log().mean()
    return float(loss), float((carried_Khw.argmax(dim=0) == codes_hw).float().mean())
