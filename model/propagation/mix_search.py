"""Learning from unlabelled video how much features and colours count against each other when joined.

Labels carried through a clip frame by frame, and then from its last frame straight back to the first,
should arrive where they started (a cycle as in Jabri et al. 2020, arXiv 2006.14613, section 3.1). The
affinities along that way give each cell the probability of coming home; the mix with the smallest mean
-log of it is taken. No mask is looked at. The way back is another than the way there because nearest
neighbours of the same two frames find each other however little they have to do with one another.

Dot products and colour distances are found once for a pair of frames, a mix only weighs them; and of a
cell's way back only the probability of its own place is computed.

Shape suffixes: T frames, C channels, h, w cells, P = h*w cells of a frame, N cells in the window of a
cell, K of them kept by the top-k.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise, product

import torch
import torch.nn.functional as F
from torch import Tensor

from model.errors import UserError
from model.propagation.encoders import LAB_VARIANCE, Mix
from model.propagation.engine import Encoder
from model.propagation.matching import Matching

TEMPERATURE_SCALES = (0.2, 0.3, 0.4, 0.6, 1.0, 1.4, 2.0, 3.0)
LAB_VARIANCES = (5.0, 10.0, 20.0, 40.0, 80.0, 160.0, 320.0)
"""In squared Lab units."""
_FLOOR = 1e-4


@dataclass(frozen=True)
class MixScore:
    """A mix and its mean -log probability of coming home."""

    mix: Mix
    loss: float


@dataclass(frozen=True)
class _Window:
    """What each cell of a grid may see of another frame."""

    index_PN: Tensor
    """Numbers of the cells; the first of the grid stands where the window leaves it."""
    outside_PN: Tensor
    """Where that is so."""

    def of(self, logits_PP: Tensor) -> Tensor:
        return logits_PP.gather(1, self.index_PN).masked_fill_(self.outside_PN, -torch.inf)


@dataclass(frozen=True)
class _Step:
    """What each cell of a frame takes from which cells of another."""

    weights_PK: Tensor
    index_PK: Tensor

    def apply(self, labels_PP: Tensor) -> Tensor:
        """Labels of the other frame's cells, one a row -> those carried to this frame's."""
        return F.embedding_bag(
            self.index_PK, labels_PP, per_sample_weights=self.weights_PK, mode="sum"
        )

    def diagonal(self, labels_PP: Tensor) -> Tensor:
        """Of what `apply` gives, only the number of cell p at place p: [P]."""
        place_P1 = torch.arange(len(labels_PP))[:, None]
        return (self.weights_PK * labels_PP[self.index_PK, place_P1]).sum(dim=1)


@torch.inference_mode()
def score_mixes(
    features: Encoder, colours: Encoder, clips: Iterable[Tensor], matching: Matching
) -> list[MixScore]:
    """Every mix, the best first, over clips of uint8 RGB [T, 3, H, W], T at least 3, sides multiples of 8.

    `features` gives logits at its protocol's temperature, `colours` is a `LabEncoder` of the default
    variance; `matching` is the protocol's too. Raises `UserError` when there is no clip.
    """
    mixes = [Mix(*values) for values in product(TEMPERATURE_SCALES, LAB_VARIANCES)]
    losses = []
    for frames_T3HW in clips:
        pictures = [(features.encode(frame), colours.encode(frame)) for frame in frames_T3HW]
        height, width = pictures[0][1].shape[-2:]
        window = _window(height, width, matching)
        ways = [*pairwise(pictures), (pictures[-1], pictures[0])]
        logits = [
            [
                window.of(_logits(encoder, reference, target))
                for encoder, reference, target in zip((features, colours), start, end, strict=True)
            ]
            for start, end in ways
        ]
        losses.append(
            [
                _coming_home([_step(_mixed(way, mix), window, matching) for way in logits])
                for mix in mixes
            ]
        )
    if not losses:
        raise UserError("a mix of features and colours cannot be learned without clips")
    means = torch.tensor(losses, dtype=torch.float64).mean(dim=0).tolist()
    scores = [MixScore(mix, loss) for mix, loss in zip(mixes, means, strict=True)]
    return sorted(scores, key=lambda score: score.loss)


def _coming_home(steps: Sequence[_Step]) -> float:
    """Mean -log probability that a cell's label is at its place again after all of these steps."""
    *there, back = steps
    carried_PP = torch.eye(len(back.index_PK))
    for step in there:
        carried_PP = step.apply(carried_PP)
    return -(back.diagonal(carried_PP) + _FLOOR).log().mean().item()


def _logits(encoder: Encoder, reference: Tensor, target: Tensor) -> Tensor:
    """[P target cells, P reference cells]."""
    (key_Chw,), query_Chw = encoder.match([reference], target)
    return query_Chw.flatten(1).T @ key_Chw.flatten(1)


def _mixed(logits: Sequence[Tensor], mix: Mix) -> Tensor:
    feature_PN, colour_PN = logits
    return feature_PN / mix.temperature_scale + colour_PN * (LAB_VARIANCE / mix.lab_variance)


def _window(height: int, width: int, matching: Matching) -> _Window:
    cell_P1 = torch.arange(height * width)[:, None]
    if matching.radius_cells is None:
        index_PP = cell_P1.T.expand(height * width, -1)
        return _Window(index_PP, torch.zeros_like(index_PP, dtype=torch.bool))
    reach = matching.reach_cells(most=height + width)
    dy, dx = torch.meshgrid(*[torch.arange(-reach, reach + 1)] * 2, indexing="ij")
    disc = matching.window_shape == "disc"
    distance2 = dy.square() + dx.square() if disc else torch.maximum(dy.abs(), dx.abs()).square()
    radius2 = matching.radius_cells**2
    seen = distance2 <= radius2 if matching.window_closed else distance2 < radius2
    y_PN, x_PN = cell_P1 // width + dy[seen], cell_P1 % width + dx[seen]
    outside_PN = (y_PN < 0) | (y_PN >= height) | (x_PN < 0) | (x_PN >= width)
    return _Window((y_PN * width + x_PN).masked_fill_(outside_PN, 0), outside_PN)


def _step(logits_PN: Tensor, window: _Window, matching: Matching) -> _Step:
    if matching.top_k is None or matching.top_k >= logits_PN.shape[1]:
        return _Step(logits_PN.softmax(dim=1), window.index_PN.contiguous())
    values_PK, places_PK = logits_PN.topk(matching.top_k, dim=1, sorted=False)
    if matching.top_k_stage == "before":
        weights_PK = values_PK.softmax(dim=1)
    else:
        weights_PK = (values_PK - logits_PN.logsumexp(dim=1, keepdim=True)).exp()
    return _Step(weights_PK, window.index_PN.gather(1, places_PK))
