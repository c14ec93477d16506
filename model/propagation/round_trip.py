"""How well frames are compared, told from unlabelled video, and what is best settled by it.

Two kinds of labels are there without annotation: blocks that the first frame of a clip is cut into, and
its colours, as codes of the training's codebook. They are carried through the clip as masks are: each
frame from frames that were labelled before it, under the protocol's own context, window and top-k. Two
things tell how well that went:

- coming home: from the last frame the blocks are carried straight back to the first (a cycle as in
  Jabri et al. 2020, arXiv 2006.14613, section 3.1); the share of cells whose likeliest block is their
  own again. The way back is another than the way there, because nearest neighbours of the same two
  frames find each other however little they have to do with one another;
- colourising: the loss of training (Vondrick et al. 2018, section 3), the mean -log probability of each
  cell's true code in the frames after the first.

Shape suffixes: K codes, S blocks, L = K + S labels, h, w cells, H, W pixels.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import product

import numpy as np
import torch
from torch import Tensor

from model.color import colour_codes, one_hot
from model.colorizer import Colorizer
from model.errors import UserError
from model.propagation.affinity import ContextFrame, carry
from model.propagation.encoders import ColorizerEncoder, Mix, join_lab
from model.propagation.engine import Encoder
from model.propagation.grid import CellGrid
from model.propagation.matching_protocol import MatchingProtocol
from model.propagation.memory import Memory

Clips = Iterable[Sequence[np.ndarray]]
"""Each of two uint8 RGB frames [H, W, 3] or more."""

TEMPERATURE_SCALES = (0.05, 0.07, 0.1, 0.14, 0.2, 0.3, 0.4, 0.6, 0.8, 1.0, 1.4, 2.0, 3.0)
"""Factors of a protocol's own temperature that are tried for features alone."""
MIX_SCALES = (0.2, 0.3, 0.4, 0.6, 1.0, 1.4, 2.0)
"""And for features joined with colours, each with each of the variances."""
LAB_VARIANCES = (10.0, 20.0, 40.0, 80.0, 160.0, 320.0)
"""In squared Lab units."""
BLOCK_CELLS = 4
"""Side of a block."""
_FLOOR = 1e-4
"""A code that is nowhere in the context has a finite loss."""


@dataclass(frozen=True)
class RoundTrip:
    """What carrying labels through clips and back comes to."""

    home: float
    """Share of the first frames' cells whose likeliest block, after the way there and back, is theirs."""
    colour_loss: float
    """Mean -log probability of the true code, over all cells of all frames but the first."""
    accuracy: float
    """Share of these cells whose most probable code is the true one."""


def score_temperatures(
    colorizer: Colorizer, clips: Clips, centroids_K2: Tensor, protocol: MatchingProtocol
) -> list[tuple[float, RoundTrip]]:
    """Every temperature, the one with which most comes home first. Raises as `round_trips`."""
    temperatures = [protocol.temperature * scale for scale in TEMPERATURE_SCALES]
    encoders = [ColorizerEncoder(colorizer, replace(protocol, temperature=t)) for t in temperatures]
    trips = round_trips(encoders, clips, centroids_K2, protocol)
    ranked = zip(temperatures, trips, strict=True)
    return sorted(ranked, key=lambda pair: -pair[1].home)


def score_mixes(
    colorizer: Colorizer, clips: Clips, centroids_K2: Tensor, protocol: MatchingProtocol
) -> list[tuple[Mix, RoundTrip]]:
    """Every mix of features and Lab colours, the one with which most comes home first.

    The colours that are carried are told to the encoder here, so that they say nothing of it. Raises as
    `round_trips`.
    """
    mixes = [Mix(*values) for values in product(MIX_SCALES, LAB_VARIANCES)]
    features, channels = ColorizerEncoder(colorizer, protocol), colorizer.trunk.channels
    encoders = [join_lab(features, channels, mix) for mix in mixes]
    ranked = zip(mixes, round_trips(encoders, clips, centroids_K2, protocol), strict=True)
    return sorted(ranked, key=lambda pair: -pair[1].home)


@torch.inference_mode()
def round_trips(
    encoders: Sequence[Encoder], clips: Clips, centroids_K2: Tensor, protocol: MatchingProtocol
) -> list[RoundTrip]:
    """That of each encoder; they have the same base features and differ in how these are matched.

    The protocol's rescaling of label maps is left out. Raises `UserError` when there is no clip.
    """
    trips = [_follow(encoders, clip, centroids_K2, protocol) for clip in clips]
    if not trips:
        raise UserError("nothing can be learned without clips")
    return [RoundTrip(*values) for values in np.mean(trips, axis=0).tolist()]


def _follow(
    encoders: Sequence[Encoder],
    clip: Sequence[np.ndarray],
    centroids_K2: Tensor,
    protocol: MatchingProtocol,
) -> np.ndarray:
    """The numbers of a `RoundTrip` of each encoder."""
    height, width = clip[0].shape[:2]
    grid = CellGrid((height, width), encoders[0].stride_px, protocol.frame_size_px)
    inputs = [grid.encoder_input(frame_HW3, centroids_K2.device) for frame_HW3 in clip]
    features = [encoders[0].encode(input_3HW) for input_3HW in inputs]
    codes = [colour_codes(input_3HW, centroids_K2, grid.size_cells) for input_3HW in inputs]
    block_hw = _blocks(*grid.size_cells)
    clusters, blocks = len(centroids_K2), int(block_hw.max()) + 1
    given_Lhw = torch.cat((one_hot(codes[0], clusters), one_hot(block_hw, blocks)))
    trips = []
    for encoder in encoders:
        memory = Memory(protocol)
        memory.add(0, features[0], given_Lhw, anchor=True)
        coloured = []
        for index in range(1, len(clip)):
            context = memory.context()
            keys, query = encoder.match([f.features_CHW for f in context], features[index])
            frames = [
                ContextFrame(key, frame.labels_LHW, frame.windowed)
                for key, frame in zip(keys, context, strict=True)
            ]
            carried_Lhw = carry(query, frames, protocol.matching)
            coloured.append(_colouring(carried_Lhw[:clusters], codes[index]))
            if protocol.carried_state == "hard":
                carried_Lhw = _decided(carried_Lhw, clusters)
            memory.add(index, features[index], carried_Lhw, anchor=False)
        (key,), query = encoder.match([features[-1]], features[0])
        last = ContextFrame(key, carried_Lhw[clusters:], windowed=True)
        back_Shw = carry(query, [last], protocol.matching)
        home = float((back_Shw.argmax(dim=0) == block_hw).float().mean())
        trips.append([home, *np.mean(coloured, axis=0)])
    return np.array(trips)


def _blocks(height: int, width: int) -> Tensor:
    """Number of the block that each cell is in, int64 [h, w]."""
    y_h1 = torch.arange(height)[:, None] // BLOCK_CELLS
    return y_h1 * -(-width // BLOCK_CELLS) + torch.arange(width) // BLOCK_CELLS


def _decided(carried_Lhw: Tensor, codes: int) -> Tensor:
    """Hard labels: the likeliest code and the likeliest block of each cell."""
    kinds = (carried_Lhw[:codes], carried_Lhw[codes:])
    return torch.cat([one_hot(kind.argmax(dim=0), len(kind)) for kind in kinds])


def _colouring(carried_Khw: Tensor, codes_hw: Tensor) -> tuple[float, float]:
    """Loss and accuracy."""
    share_hw = carried_Khw.gather(0, codes_hw[None])[0] / carried_Khw.sum(dim=0).clamp_min(_FLOOR)
    loss = -(share_hw + _FLOOR).log().mean()
    return float(loss), float((carried_Khw.argmax(dim=0) == codes_hw).float().mean())
