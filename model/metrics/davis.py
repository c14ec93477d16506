"""DAVIS-2017 semi-supervised mask metrics: region similarity J and boundary measure F.

Numbers equal those of the official tool (github.com/davisvideochallenge/davis2017-evaluation at
ac7c43f; Perazzi et al., CVPR 2016; Pont-Tuset et al., arXiv 1704.00675), its quirks included:

- the number of objects K of a sequence is the *largest index of the first truth frame*. With ids
  1 and 3 there, K is 3, and object 2 is scored too: 1.0 wherever truth and prediction lack it;
- the first and the last frame are not scored;
- index 255 of the truth is void and becomes background (in the prediction it is an index too many);
- an empty mask against an empty mask scores 1;
- F matches boundary pixels to a dilated boundary, not one to one;
- decay casts its quarter edges to 8 bits, see `statistics`.

Shape suffixes: T frames, H rows, W columns, N values. A *mask* is one object (non-zero = inside),
an *index mask* holds 0 for background and object ids otherwise.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from model.errors import UserError
from model.metrics.boundary import BoolArray, crop_to_content, f_measure

IndexMask = NDArray[np.integer[Any]]

VOID_INDEX = 255
RECALL_THRESHOLD = 0.5
DECAY_QUARTERS = 4
BOUND_TH = 0.008
"""Tolerance of boundaries, as a share of the image's diagonal."""


@dataclass(frozen=True)
class Statistics:
    """What DAVIS reports of one object's values over its scored frames; all without unit.

    `decay` is NaN where the official tool gives NaN, see `statistics`.
    """

    mean: float
    recall: float
    decay: float


@dataclass(frozen=True)
class ObjectScores:
    """J and F of one object in every scored frame (first and last frame left out)."""

    j_by_frame: tuple[float, ...]
    f_by_frame: tuple[float, ...]

    @cached_property
    def j(self) -> Statistics:
        """Statistics of the region similarity."""
        return statistics(self.j_by_frame)

    @cached_property
    def f(self) -> Statistics:
        """Statistics of the boundary measure."""
        return statistics(self.f_by_frame)


@dataclass(frozen=True)
class Summary:
    """The global numbers: means over all objects of all sequences, whatever their length."""

    j: Statistics
    f: Statistics

    @property
    def jf_mean(self) -> float:
        """J&F-Mean, the mean of J-Mean and F-Mean."""
        return (self.j.mean + self.f.mean) / 2


@dataclass(frozen=True)
class FrameScores:
    """J and F of objects 1 ... K in one frame; position k - 1 is object k."""

    j: tuple[float, ...]
    f: tuple[float, ...]


def region_similarity(
    truth_HW: ArrayLike, pred_HW: ArrayLike, void_HW: ArrayLike | None = None
) -> float:
    """Jaccard index of two masks outside void, 1 if both are empty there.

    Raises:
        UserError: the shapes differ or are not [H, W].
    """
    return _jaccard(*_without_void(truth_HW, pred_HW, void_HW))


def boundary_measure(
    truth_HW: ArrayLike,
    pred_HW: ArrayLike,
    void_HW: ArrayLike | None = None,
    bound_th: float = BOUND_TH,
) -> float:
    """F-measure of boundary precision and recall within a tolerance radius.

    The radius in pixels is `bound_th` if that is at least 1, else
    ceil(`bound_th` x image diagonal). Void pixels become background before boundaries are drawn.

    Raises:
        UserError: the shapes differ or are not [H, W].
    """
    truth_HW, pred_HW = _without_void(truth_HW, pred_HW, void_HW)
    radius_px = bound_th if bound_th >= 1 else _tolerance_px(truth_HW.shape, bound_th)
    return f_measure(*crop_to_content(truth_HW, pred_HW), radius_px)


def statistics(values_N: Sequence[float]) -> Statistics:
    """Mean, recall and decay of one object's per-frame values.

    Recall is the share of values strictly above 0.5. Decay is the mean of the first quarter of the
    frames minus that of the last; neighbouring quarters share a frame.

    As in the official tool the quarter edges are cast to unsigned 8 bits. DAVIS validation never
    notices; from N = 257 on the edges wrap around, so that decay compares wrong frames, and is NaN
    where the wrapped quarter is empty (N = 300, for one). The `edge + 1` that ends a slice does not
    wrap, as under NumPy 1; under NumPy 2 the tool also gets NaN where an edge is 255 (N = 256).

    Raises:
        UserError: there are no values.
    """
    values = np.asarray(values_N, dtype=np.float64)
    if values.size == 0:
        raise UserError("no frame to score: mean, recall and decay need at least one value")
    edges = np.round(np.linspace(1, len(values), DECAY_QUARTERS + 1) + 1e-10) - 1
    first, second, *_, fourth, last = (int(edge) for edge in edges.astype(np.int64) % 256)
    return Statistics(
        mean=_nan_mean(values),
        recall=float(np.mean(values > RECALL_THRESHOLD)),
        decay=_nan_mean(values[first : second + 1]) - _nan_mean(values[fourth : last + 1]),
    )


def object_count(first_truth_HW: IndexMask) -> int:
    """Number of objects K of a sequence: the largest index of its first truth frame, void apart.

    Raises:
        UserError: the frame holds no object.
    """
    count = int(np.max(first_truth_HW, initial=0, where=first_truth_HW != VOID_INDEX))
    if count == 0:
        raise UserError(
            "the first truth frame holds no object (0 is background, 255 is void), "
            "so there is nothing to score"
        )
    return count


def score_frame(truth_HW: IndexMask, pred_HW: IndexMask, count: int) -> FrameScores:
    """J and F of objects 1 ... `count` in one frame of index masks.

    They are `region_similarity` and `boundary_measure` of each object, computed where there is one.
    Truth indices above `count` (void, objects that appear later) are background.

    Raises:
        UserError: the sizes differ, or the prediction holds an index above `count`.
    """
    _check_same_shape(truth_HW, pred_HW)
    largest = int(np.max(pred_HW, initial=0))
    if largest > count:
        raise UserError(
            f"index {largest} is predicted, but the first truth frame has objects 1 to {count} only"
        )
    radius_px = _tolerance_px(truth_HW.shape)
    truth_HW, pred_HW = crop_to_content(truth_HW, pred_HW)
    j, f = [], []
    for index in range(1, count + 1):
        pair = truth_HW == index, pred_HW == index
        if count > 1:
            pair = crop_to_content(*pair)
        j.append(_jaccard(*pair))
        f.append(f_measure(*pair, radius_px))
    return FrameScores(tuple(j), tuple(f))


def single_foreground(mask_HW: IndexMask) -> NDArray[np.uint8]:
    """All objects as object 1: what DAVIS-2016 scores, where 255 is the object and not void.

    The rest of its tool (github.com/fperazzi/davis) is as above: frames, statistics, means.
    """
    return (mask_HW != 0).astype(np.uint8)


def collect_objects(frames: Sequence[FrameScores]) -> dict[int, ObjectScores]:
    """Frame scores of one sequence, turned into scores by object id (1 ... K)."""
    j_KT = zip(*(frame.j for frame in frames), strict=True)
    f_KT = zip(*(frame.f for frame in frames), strict=True)
    return {k: ObjectScores(j, f) for k, (j, f) in enumerate(zip(j_KT, f_KT, strict=True), start=1)}


def evaluate_sequence(truth_THW: IndexMask, pred_THW: IndexMask) -> dict[int, ObjectScores]:
    """Scores of every object of one sequence of index masks, by object id.

    The first and the last frame of both are dropped. Objects that the prediction lacks count as
    empty masks.

    Raises:
        UserError: sizes differ, fewer than three frames, no object in the first truth frame, or a
            predicted index above the number of objects.
    """
    if truth_THW.ndim != 3 or truth_THW.shape != pred_THW.shape:
        raise UserError(
            f"truth {truth_THW.shape} and prediction {pred_THW.shape} must be [T, H, W] alike"
        )
    check_frame_count(len(truth_THW))
    count = object_count(truth_THW[0])
    return collect_objects(
        [
            score_frame(truth_HW, pred_HW, count)
            for truth_HW, pred_HW in zip(truth_THW[1:-1], pred_THW[1:-1], strict=True)
        ]
    )


def check_frame_count(frames: int) -> None:
    """Raise a UserError if nothing is left of `frames` without the first and the last."""
    if frames < 3:
        raise UserError(
            f"{frames} truth frame(s): without the first and the last none is left to score"
        )


def summarise(objects: Iterable[ObjectScores]) -> Summary:
    """Global numbers of all objects of all sequences, each object weighing the same.

    A NaN decay of one object makes the global decay NaN, as in the official tool.

    Raises:
        UserError: there is no object.
    """
    objects = list(objects)
    if not objects:
        raise UserError("no object to summarise")
    return Summary(
        j=_mean_statistics([scores.j for scores in objects]),
        f=_mean_statistics([scores.f for scores in objects]),
    )


def _jaccard(truth_HW: BoolArray, pred_HW: BoolArray) -> float:
    union = np.count_nonzero(truth_HW | pred_HW)
    return np.count_nonzero(truth_HW & pred_HW) / union if union else 1.0


def _tolerance_px(shape_hw: tuple[int, ...], share: float = BOUND_TH) -> int:
    return math.ceil(share * math.hypot(*shape_hw))


def _mean_statistics(parts: Sequence[Statistics]) -> Statistics:
    return Statistics(
        mean=float(np.mean([part.mean for part in parts])),
        recall=float(np.mean([part.recall for part in parts])),
        decay=float(np.mean([part.decay for part in parts])),
    )


def _nan_mean(values: NDArray[np.float64]) -> float:
    """`np.nanmean` without its warning: NaN if nothing but NaN is there."""
    values = values[~np.isnan(values)]
    return float(values.mean()) if values.size else math.nan


def _check_same_shape(truth_HW: NDArray[Any], pred_HW: NDArray[Any]) -> None:
    if truth_HW.ndim != 2 or pred_HW.ndim != 2:
        raise UserError(f"masks must be [H, W], got {truth_HW.shape} and {pred_HW.shape}")
    if truth_HW.shape != pred_HW.shape:
        (truth_h, truth_w), (pred_h, pred_w) = truth_HW.shape, pred_HW.shape
        raise UserError(
            f"the prediction is {pred_w}x{pred_h} pixels, the truth {truth_w}x{truth_h}; "
            "masks are never resized here"
        )


def _without_void(
    truth: ArrayLike, pred: ArrayLike, void: ArrayLike | None
) -> tuple[BoolArray, BoolArray]:
    """Both masks as bool [H, W] with void pixels set to background."""
    truth_HW, pred_HW = np.asarray(truth, dtype=bool), np.asarray(pred, dtype=bool)
    _check_same_shape(truth_HW, pred_HW)
    if void is None:
        return truth_HW, pred_HW
    void_HW = np.asarray(void, dtype=bool)
    _check_same_shape(truth_HW, void_HW)
    return truth_HW & ~void_HW, pred_HW & ~void_HW
