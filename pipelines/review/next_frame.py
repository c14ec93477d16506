"""Which frame of a video a person should annotate next.

What is carried from an annotated frame gets worse with the distance from it, so a further annotation helps
where the labels are probably wrong, and the more, the nearer it is than the one before. Let

    c_o(t)  the confidence of object o in frame t: the probability that its label is right,
    D(t)    the distance from t to the annotated frame before it (where labels are carried both ways: to
            the nearest one), infinite where there is none.

What an annotation of frame f is expected to bring is the number of labels (an object in a frame) that turn
from wrong to right,

    help(f) = sum over t and o of (1 - c_o(t)) * max(0, 1 - |t - f| / D(t)),

where t goes from f to the next annotated frame (both ways: also back to the one before). The last factor
leaves nothing for a frame beside an annotated one, which would be lost just as that one was. The frame of the
most help is at the beginning of a stretch of low confidence; where the confidence is low throughout, about a
third into it (t/e, the largest value of f ln(t/f)). For the one after that it counts as annotated, and c_o(t)
has risen by what was expected of it.

Shape suffixes: O objects, T frames, F candidate frames.
"""

from dataclasses import dataclass

import numpy as np

from pipelines.review.reviewed import ReviewedVideo

_MOST_CANDIDATES = 256
"""Of a longer video every k-th frame is a candidate, and then the frames around the best one."""
_MOST_CELLS = 1 << 21
"""Of candidates times frames that are looked at together."""
LEAST_HELP = 0.5
"""An annotation that is expected to bring less than half a label is not proposed."""


@dataclass(frozen=True)
class NextFrame:
    """A frame that should be annotated."""

    index: int
    help: float
    """Labels (an object in a frame) that are expected to turn from wrong to right."""
    begin: int
    end: int
    """[begin, end): the frames whose labels the annotation changes."""


def next_frames(video: ReviewedVideo, both_ways: bool, most: int) -> tuple[NextFrame, ...]:
    """The frames to annotate, the most helpful first; none when nothing is known or all is well."""
    anchor_T = video.anchor_T.copy()
    # What is not known is not expected to be wrong.
    wrong_T = np.nan_to_num(1 - video.confidence_OT.astype(np.float64), nan=0.0).sum(axis=0)
    found: list[NextFrame] = []
    while len(found) < most:
        best = _best(anchor_T, wrong_T, both_ways)
        if best is None or best.help < LEAST_HELP:
            break
        found.append(best)
        wrong_T = wrong_T * (1 - _credit(np.array([best.index]), anchor_T, both_ways)[0])
        anchor_T[best.index] = True
    return tuple(found)


def _best(anchor_T: np.ndarray, wrong_T: np.ndarray, both_ways: bool) -> NextFrame | None:
    frames = len(anchor_T)
    step = -(-frames // _MOST_CANDIDATES) or 1
    best = _best_of(np.arange(0, frames, step), anchor_T, wrong_T, both_ways)
    if best is None or step == 1:
        return best
    around = np.arange(max(0, best.index - step + 1), min(frames, best.index + step))
    return _best_of(around, anchor_T, wrong_T, both_ways)


def _best_of(
    candidates_F: np.ndarray, anchor_T: np.ndarray, wrong_T: np.ndarray, both_ways: bool
) -> NextFrame | None:
    candidates_F = candidates_F[~anchor_T[candidates_F]]
    if not len(candidates_F):
        return None
    at_once = max(1, _MOST_CELLS // len(anchor_T))
    help_F = np.concatenate(
        [
            _credit(candidates_F[start : start + at_once], anchor_T, both_ways) @ wrong_T
            for start in range(0, len(candidates_F), at_once)
        ]
    )
    best = int(help_F.argmax())
    begin_F, end_F = _spans(candidates_F, anchor_T, both_ways)
    return NextFrame(
        int(candidates_F[best]), float(help_F[best]), int(begin_F[best]), int(end_F[best])
    )


def _credit(candidates_F: np.ndarray, anchor_T: np.ndarray, both_ways: bool) -> np.ndarray:
    """[F, T]: how much nearer than before an annotated frame would be, from 0 to 1."""
    times = np.arange(len(anchor_T))
    begin_F, end_F = _spans(candidates_F, anchor_T, both_ways)
    affected_FT = (times >= begin_F[:, None]) & (times < end_F[:, None])
    before_T = np.maximum(_distance(anchor_T, both_ways), 1)  # no anchor is ever affected
    nearer_FT = 1 - np.abs(times - candidates_F[:, None]) / before_T
    credit_FT: np.ndarray = np.where(affected_FT, np.maximum(nearer_FT, 0), 0)
    return credit_FT


def _spans(
    candidates_F: np.ndarray, anchor_T: np.ndarray, both_ways: bool
) -> tuple[np.ndarray, np.ndarray]:
    """First frame that an annotation changes, and the end of them, for frames that have none."""
    edges = np.concatenate(([-1], np.flatnonzero(anchor_T), [len(anchor_T)]))
    place_F = np.searchsorted(edges, candidates_F)
    return edges[place_F - 1] + 1 if both_ways else candidates_F, edges[place_F]


def _distance(anchor_T: np.ndarray, both_ways: bool) -> np.ndarray:
    """D(t)."""
    times = np.arange(len(anchor_T), dtype=np.float64)
    since = times - np.maximum.accumulate(np.where(anchor_T, times, -np.inf))
    if not both_ways:
        return since
    until = np.minimum.accumulate(np.where(anchor_T, times, np.inf)[::-1])[::-1] - times
    return np.minimum(since, until)
