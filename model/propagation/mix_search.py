"""Learning from unlabelled video how much features and colours count against each other when joined.

Labels carried through a clip frame by frame, and then from its last frame straight back to the first,
should arrive where they started (a cycle as in Jabri et al. 2020, arXiv 2006.14613, section 3.1). The
affinities along that way give each cell the probability of coming home; the mix with the smallest mean
-log of it is taken. No mask is looked at. The way back is another than the way there because nearest
neighbours of the same two frames find each other however little they have to do with one another.

Shape suffixes: T frames, C channels, h, w cells, P = h*w cells of a frame.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise, product

import torch
from torch import Tensor

from model.errors import UserError
from model.propagation.encoders import LAB_VARIANCE, Mix
from model.propagation.frame_encoder import Encoder

TEMPERATURE_SCALES = (0.2, 0.3, 0.4, 0.6, 1.0, 1.4, 2.0, 3.0)
LAB_VARIANCES = (5.0, 10.0, 20.0, 40.0, 80.0, 160.0, 320.0)
"""In squared Lab units."""
_FLOOR = 1e-4


@dataclass(frozen=True)
class MixScore:
    """A mix and its mean -log probability of coming home."""

    mix: Mix
    loss: float


@torch.inference_mode()
def score_mixes(
    features: Encoder,
    colours: Encoder,
    clips: Iterable[Tensor],
    *,
    top_k: int | None,
    radius_cells: float | None,
) -> list[MixScore]:
    """Every mix, the best first, over clips of uint8 RGB [T, 3, H, W], T at least 3, sides multiples of 8.

    `features` gives logits at its protocol's temperature, `colours` is a `LabEncoder` of the default
    variance; `top_k` and `radius_cells` are the protocol's too. Raises `UserError` when there is no clip.
    """
    mixes = [Mix(*values) for values in product(TEMPERATURE_SCALES, LAB_VARIANCES)]
    losses = []
    for frames_T3HW in clips:
        pictures = [(features.encode(frame), colours.encode(frame)) for frame in frames_T3HW]
        height, width = pictures[0][1].shape[-2:]
        outside_PP = _outside(height, width, radius_cells)
        ways = [*pairwise(pictures), (pictures[-1], pictures[0])]
        logits = [
            [_logits(e, a, b) for e, a, b in zip((features, colours), start, end, strict=True)]
            for start, end in ways
        ]
        losses.append(
            [
                _coming_home([_affinity(_mixed(way, mix), outside_PP, top_k) for way in logits])
                for mix in mixes
            ]
        )
    if not losses:
        raise UserError("a mix of features and colours cannot be learned without clips")
    means = torch.tensor(losses, dtype=torch.float64).mean(dim=0).tolist()
    scores = [MixScore(mix, loss) for mix, loss in zip(mixes, means, strict=True)]
    return sorted(scores, key=lambda score: score.loss)


def _coming_home(affinities_PP: Sequence[Tensor]) -> float:
    """Mean -log probability that a cell's label is at its place again after all of these steps."""
    *there, back_PP = affinities_PP
    carried_PP = there[0]
    for step_PP in there[1:]:
        carried_PP = step_PP @ carried_PP
    home_P = (back_PP * carried_PP.T).sum(dim=1)
    return -(home_P + _FLOOR).log().mean().item()


def _logits(encoder: Encoder, reference: Tensor, target: Tensor) -> Tensor:
    """[P target cells, P reference cells]."""
    (key_Chw,), query_Chw = encoder.match([reference], target)
    return query_Chw.flatten(1).T @ key_Chw.flatten(1)


def _mixed(logits: Sequence[Tensor], mix: Mix) -> Tensor:
    feature_PP, colour_PP = logits
    return feature_PP / mix.temperature_scale + colour_PP * (LAB_VARIANCE / mix.lab_variance)


def _outside(height: int, width: int, radius_cells: float | None) -> Tensor | None:
    """Which cells a cell must not see, [P, P]."""
    if radius_cells is None:
        return None
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    places_P2 = torch.stack((y, x), dim=-1).reshape(-1, 2).float()
    return torch.cdist(places_P2, places_P2) >= radius_cells


def _affinity(logits_PP: Tensor, outside_PP: Tensor | None, top_k: int | None) -> Tensor:
    """Rows sum to one; only the top k of what may be seen."""
    if outside_PP is not None:
        logits_PP = logits_PP.masked_fill(outside_PP, -torch.inf)
    if top_k is None or top_k >= logits_PP.shape[1]:
        return logits_PP.softmax(dim=1)
    values, places = logits_PP.topk(top_k, dim=1)
    return torch.zeros_like(logits_PP).scatter_(1, places, values.softmax(dim=1))
