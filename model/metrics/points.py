"""Point tracking as TAP-Vid scores it: position accuracy, average Jaccard, occlusion accuracy.

Doersch et al., *TAP-Vid: A Benchmark for Tracking Any Point in a Video* (NeurIPS 2022), with the
numbers of `compute_tapvid_metrics` (github.com/google-deepmind/tapnet, tapvid/evaluation_datasets.py).
Positions are pixels of frames brought to 256x256, whatever their aspect. A distance of exactly a
threshold is *not* within it. Scores are computed for each video; those of a benchmark are their means.

Shape suffixes: N tracks, T frames, 2 (x, y).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from model.errors import UserError

BoolArray = NDArray[np.bool_]
QueryMode = Literal["first", "strided"]

SIDE_PX = 256
THRESHOLDS_PX = (1, 2, 4, 8, 16)


@dataclass(frozen=True)
class PointScores:
    """Scores of one video, or their means over several; all from 0 to 1.

    NaN, as in the original, where a video has nothing to count: no evaluated frame in which a point
    is visible.
    """

    position_accuracy: tuple[float, ...]
    """Share of visible points within each of `THRESHOLDS_PX`, whatever was said of occlusion."""
    jaccard: tuple[float, ...]
    """By threshold: true positives over true positives, false positives and false negatives."""
    occlusion_accuracy: float
    """Share of points whose visibility was predicted."""

    @property
    def average_position_accuracy(self) -> float:
        """The mean over the thresholds, written <delta^x_avg."""
        return float(np.mean(self.position_accuracy))

    @property
    def average_jaccard(self) -> float:
        """The mean over the thresholds, written AJ."""
        return float(np.mean(self.jaccard))


@dataclass(frozen=True)
class PointTracks:
    """Points followed through one video."""

    xy_px_NT2: NDArray[Any]
    """In pixels of a frame of 256x256; the value at a hidden point does not matter."""
    hidden_NT: BoolArray

    def __post_init__(self) -> None:
        """Raises `UserError` when the shapes do not fit together."""
        if self.xy_px_NT2.ndim != 3 or self.xy_px_NT2.shape != (*self.hidden_NT.shape, 2):
            raise UserError(
                f"points {self.xy_px_NT2.shape} and occlusions {self.hidden_NT.shape} "
                "must be [N, T, 2] and [N, T]"
            )


def first_visible(hidden_NT: BoolArray) -> NDArray[np.int64]:
    """The first frame in which each point is visible, int [N]; the frame of its query in mode `first`.

    Raises:
        UserError: a point is never visible.
    """
    if hidden_NT.all(axis=1).any():
        raise UserError("a point is never visible, so there is no frame to start it from")
    return np.argmin(hidden_NT, axis=1)


def evaluated_frames(query_frame_N: NDArray[np.int64], frames: int, mode: QueryMode) -> BoolArray:
    """Which frames count for each point, bool [N, T].

    In mode `first` those after the frame of the query; in mode `strided` all but that frame.

    Raises:
        UserError: a query lies outside the video.
    """
    if query_frame_N.size and not (query_frame_N.min() >= 0 and query_frame_N.max() < frames):
        raise UserError(f"a query lies outside the frames 0 to {frames - 1}")
    frame_1T, query_N1 = np.arange(frames)[None], query_frame_N[:, None]
    return frame_1T > query_N1 if mode == "first" else frame_1T != query_N1


def point_scores(
    truth: PointTracks, pred: PointTracks, query_frame_N: NDArray[np.int64], mode: QueryMode
) -> PointScores:
    """Scores of one video; row n of both is the same point.

    A predicted position that is NaN is near nothing.

    Raises:
        UserError: the numbers of points or frames differ, or a query lies outside the video.
    """
    if truth.hidden_NT.shape != pred.hidden_NT.shape or len(query_frame_N) != len(truth.hidden_NT):
        raise UserError(
            f"truth has {len(truth.hidden_NT)} points in {truth.hidden_NT.shape[1]} frames, "
            f"the prediction {len(pred.hidden_NT)} in {pred.hidden_NT.shape[1]}"
        )
    counts = evaluated_frames(query_frame_N, truth.hidden_NT.shape[1], mode)
    visible, said_visible = counts & ~truth.hidden_NT, counts & ~pred.hidden_NT
    distance_px2 = _squared_distance_px2(truth, pred)
    accuracies, jaccards = [], []
    for threshold_px in THRESHOLDS_PX:
        near = distance_px2 < threshold_px**2
        hits = np.count_nonzero(near & visible & said_visible)
        false_alarms = np.count_nonzero(said_visible & ~(near & visible))
        accuracies.append(_share(near & visible, visible))
        jaccards.append(_ratio(hits, np.count_nonzero(visible) + false_alarms))
    agree = counts & (truth.hidden_NT == pred.hidden_NT)
    return PointScores(
        position_accuracy=tuple(accuracies),
        jaccard=tuple(jaccards),
        occlusion_accuracy=_share(agree, counts),
    )


def position_accuracy_by_frame(
    truth: PointTracks, pred: PointTracks, counts_NT: BoolArray
) -> NDArray[np.float64]:
    """The average position accuracy of each frame, float [T]; NaN where no point is visible."""
    visible_NT = counts_NT & ~truth.hidden_NT
    distance_px2 = _squared_distance_px2(truth, pred)
    right = [(distance_px2 < px**2) & visible_NT for px in THRESHOLDS_PX]
    right_T, visible_T = (
        np.mean([near.sum(axis=0) for near in right], axis=0),
        visible_NT.sum(axis=0),
    )
    return np.divide(right_T, visible_T, out=np.full(len(right_T), np.nan), where=visible_T > 0)


def mean_scores(videos: Sequence[PointScores]) -> PointScores:
    """Means over videos, each weighing the same.

    Raises:
        UserError: there is no video.
    """
    if not videos:
        raise UserError("no video to summarise")
    return PointScores(
        position_accuracy=tuple(np.mean([v.position_accuracy for v in videos], axis=0).tolist()),
        jaccard=tuple(np.mean([v.jaccard for v in videos], axis=0).tolist()),
        occlusion_accuracy=float(np.mean([v.occlusion_accuracy for v in videos])),
    )


def _share(part_NT: BoolArray, whole_NT: BoolArray) -> float:
    return _ratio(np.count_nonzero(part_NT), np.count_nonzero(whole_NT))


def _ratio(part: np.integer[Any] | int, whole: np.integer[Any] | int) -> float:
    return float(part / whole) if whole else float("nan")


def _squared_distance_px2(truth: PointTracks, pred: PointTracks) -> NDArray[np.float64]:
    """Between the true and the predicted position, float [N, T]; infinite for NaN."""
    offset = pred.xy_px_NT2.astype(np.float64) - truth.xy_px_NT2.astype(np.float64)
    distance_px2 = np.square(offset).sum(axis=2)
    return np.where(np.isnan(distance_px2), np.inf, distance_px2)
