"""Which frame of a video a person should annotate next.

An annotation in frame f is carried on from there, so it is worth most at the beginning of a stretch where
the labels are probably wrong: earlier, they are still right and will be lost all the same; later, what lies
before stays wrong. How long an annotation lasts, the archive itself tells. Let

    s(d)    the mean confidence of all objects d frames after an annotation, over the whole archive,
            made to fall with d,
    c_o(t)  the confidence of object o in frame t.

What an annotation of frame f is expected to bring is the number of labels (an object in a frame) that turn
from wrong to right,

    help(f) = sum over t from f to the next annotated frame, and over o, of s(t - f) - c_o(t) where it is
              at least 0.1 (less is what easy and hard objects differ by),

and when labels are carried both ways, over the frames back to the annotated frame before as well, with
s(|t - f|). The next frame is the one with the most help, of several the last. For the one after that, the
first is taken as annotated: c_o(t) becomes max(c_o(t), s(t - f)).

Shape suffixes: O objects, T frames, F candidate frames, D distances.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from pipelines.review.reviewed import ReviewedVideo

_MOST_CANDIDATES = 256
"""Of a longer video every k-th frame is a candidate, and then the frames around the best one."""
_MOST_CELLS = 1 << 21
"""Of candidates times frames that are looked at together."""
_LEAST_LABELS = 8
"""A distance at which fewer labels were seen says nothing by itself."""
LEAST_RISE = 0.1
"""Of a confidence, that an annotation may be credited with."""
_EQUAL_DECIMALS = 6
LEAST_HELP = 0.5
"""An annotation that is expected to bring less than half a label is not proposed."""


@dataclass(frozen=True)
class Persistence:
    """How long an annotation lasts in this archive."""

    confidence_D: np.ndarray
    """float64: the mean confidence d frames after an annotation, falling; the last value holds on."""

    def at(self, distance: np.ndarray) -> np.ndarray:
        """s at distances of 0 and more."""
        return self.confidence_D[np.minimum(distance, len(self.confidence_D) - 1)]


@dataclass(frozen=True)
class NextFrame:
    """A frame that should be annotated."""

    index: int
    help: float
    """Labels (an object in a frame) that are expected to turn from wrong to right."""
    begin: int
    end: int
    """[begin, end): the frames whose labels the annotation changes."""


def persistence(videos: Iterable[ReviewedVideo], both_ways: bool) -> Persistence:
    """From the confidences of an archive. Where there are none, annotations last for ever."""
    sums, counts = np.zeros(1), np.zeros(1, np.int64)
    for video in videos:
        distance_T = _distance(video.anchor_T, both_ways)
        known_OT = np.isfinite(video.confidence_OT) & (distance_T >= 0)
        if not known_OT.any():
            continue
        distances = np.broadcast_to(distance_T, known_OT.shape)[known_OT]
        more = np.bincount(distances, video.confidence_OT[known_OT], len(sums))
        seen = np.bincount(distances, minlength=len(sums))
        longer = len(more) - len(sums)
        sums, counts = np.pad(sums, (0, longer)) + more, np.pad(counts, (0, longer)) + seen
    enough = np.flatnonzero(counts >= _LEAST_LABELS)
    if not len(enough):
        return Persistence(np.ones(1))
    means = np.interp(np.arange(enough[-1] + 1), enough, (sums / counts.clip(1))[enough])
    means[0] = 1.0
    return Persistence(np.minimum.accumulate(means))


def next_frames(
    video: ReviewedVideo, lasting: Persistence, both_ways: bool, most: int
) -> tuple[NextFrame, ...]:
    """The frames to annotate, the most helpful first; none when nothing is known or all is well."""
    anchor_T = video.anchor_T.copy()
    # What is not known is not expected to rise.
    confidence_OT = np.nan_to_num(video.confidence_OT.astype(np.float64), nan=1.0)
    found: list[NextFrame] = []
    while len(found) < most:
        best = _best(anchor_T, confidence_OT, lasting, both_ways)
        if best is None or best.help < LEAST_HELP:
            break
        found.append(best)
        times = np.arange(best.begin, best.end)
        raised = lasting.at(np.abs(times - best.index))
        span_OT = confidence_OT[:, best.begin : best.end]
        confidence_OT[:, best.begin : best.end] = np.maximum(span_OT, raised)
        anchor_T[best.index] = True
    return tuple(found)


def _best(
    anchor_T: np.ndarray, confidence_OT: np.ndarray, lasting: Persistence, both_ways: bool
) -> NextFrame | None:
    frames = len(anchor_T)
    step = -(-frames // _MOST_CANDIDATES) or 1
    candidates = np.arange(0, frames, step)
    best = _best_of(candidates, anchor_T, confidence_OT, lasting, both_ways)
    if best is None or step == 1:
        return best
    around = np.arange(max(0, best.index - step + 1), min(frames, best.index + step))
    return _best_of(around, anchor_T, confidence_OT, lasting, both_ways)


def _best_of(
    candidates_F: np.ndarray,
    anchor_T: np.ndarray,
    confidence_OT: np.ndarray,
    lasting: Persistence,
    both_ways: bool,
) -> NextFrame | None:
    candidates_F = candidates_F[~anchor_T[candidates_F]]
    if not len(candidates_F):
        return None
    frames = len(anchor_T)
    edges = np.concatenate(([-1], np.flatnonzero(anchor_T), [frames]))
    place_F = np.searchsorted(edges, candidates_F)
    end_F = edges[place_F]
    begin_F = edges[place_F - 1] + 1 if both_ways else candidates_F
    help_F = np.zeros(len(candidates_F))
    at_once = max(1, _MOST_CELLS // frames)
    for start in range(0, len(candidates_F), at_once):
        some = slice(start, start + at_once)
        time_FT = np.broadcast_to(np.arange(frames), (len(candidates_F[some]), frames))
        reached_FT = lasting.at(np.abs(time_FT - candidates_F[some, None]))
        affected_FT = (time_FT >= begin_F[some, None]) & (time_FT < end_F[some, None])
        reached_FT = np.where(affected_FT, reached_FT, 0.0)
        for confidence_T in confidence_OT:
            rise_FT = reached_FT - confidence_T
            help_F[some] += np.where(rise_FT >= LEAST_RISE, rise_FT, 0).sum(axis=1)
    best = len(help_F) - 1 - int(help_F[::-1].round(_EQUAL_DECIMALS).argmax())
    frame, begin, end = (int(each[best]) for each in (candidates_F, begin_F, end_F))
    return NextFrame(frame, float(help_F[best]), begin, end)


def _distance(anchor_T: np.ndarray, both_ways: bool) -> np.ndarray:
    """Frames since the last annotation, or to the nearest one; -1 where there is none."""
    times = np.arange(len(anchor_T))
    none = -len(anchor_T) - 1
    since = times - np.maximum.accumulate(np.where(anchor_T, times, none))
    if both_ways:
        until = np.minimum.accumulate(np.where(anchor_T, times, -none * 2)[::-1])[::-1] - times
        since = np.minimum(since, until)
    return np.where(since <= len(anchor_T), since, -1)
