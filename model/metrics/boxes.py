"""Success and precision of single-object tracking, as on OTB.

Wu et al., *Online Object Tracking: A Benchmark* (CVPR 2013), in the form in which Python tools have it
(UDT, the GOT-10k toolkit): IoU of continuous boxes; success is the share of frames whose IoU is
*above* each of 21 thresholds from 0 to 1, and its area under curve the mean of these 21 shares;
precision is the share of frames whose centres are *at most* a distance apart, quoted at 20 px. All
frames count, the first, which is given, included. Scores of a benchmark are means over its sequences.

Frames whose true box is NaN or has no area are not annotated and left out. A predicted box that is NaN
or has no area is a miss at every threshold.

Shape suffixes: T frames, 4 (x, y, width, height), in pixels. Where x and y start does not matter.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model.errors import UserError

FloatArray = NDArray[np.float64]

IOU_THRESHOLDS = tuple(float(threshold) for threshold in np.linspace(0, 1, 21))
DISTANCES_PX = tuple(range(51))
PRECISION_PX = 20


@dataclass(frozen=True)
class BoxScores:
    """Curves of one sequence, or their means over several; shares of frames from 0 to 1."""

    success: tuple[float, ...]
    """By threshold of `IOU_THRESHOLDS`."""
    precision: tuple[float, ...]
    """By distance of `DISTANCES_PX`."""

    @property
    def success_auc(self) -> float:
        """Area under the success curve, the number that OTB ranks by."""
        return float(np.mean(self.success))

    @property
    def precision_at_20_px(self) -> float:
        """Share of frames whose centre is at most 20 px off."""
        return self.precision[PRECISION_PX]


def overlap(truth_T4: NDArray[Any], pred_T4: NDArray[Any]) -> FloatArray:
    """IoU of every frame, float [T]; NaN where the truth has no box.

    Raises:
        UserError: the shapes differ or are not [T, 4].
    """
    truth, pred, annotated, predicted = _checked(truth_T4, pred_T4)
    both = annotated & predicted
    least = np.maximum(truth[:, :2], pred[:, :2])
    most = np.minimum(truth[:, :2] + truth[:, 2:], pred[:, :2] + pred[:, 2:])
    shared_px2 = np.clip(most - least, 0, None).prod(axis=1)
    union_px2 = truth[:, 2:].prod(axis=1) + pred[:, 2:].prod(axis=1) - shared_px2
    iou = np.where(annotated, 0.0, np.nan)
    return np.divide(shared_px2, union_px2, out=iou, where=both)


def centre_error_px(truth_T4: NDArray[Any], pred_T4: NDArray[Any]) -> FloatArray:
    """Distance of the boxes' centres in every frame, float [T]; NaN where the truth has no box,
    infinite where the prediction has none.

    Raises:
        UserError: the shapes differ or are not [T, 4].
    """
    truth, pred, annotated, predicted = _checked(truth_T4, pred_T4)
    offset = (pred[:, :2] + pred[:, 2:] / 2) - (truth[:, :2] + truth[:, 2:] / 2)
    error_px = np.where(annotated, np.inf, np.nan)
    error_px[annotated & predicted] = np.linalg.norm(offset[annotated & predicted], axis=1)
    return error_px


def box_scores(iou_T: FloatArray, error_px_T: FloatArray) -> BoxScores:
    """Curves of one sequence from the two functions above.

    Raises:
        UserError: no frame has a true box.
    """
    annotated = ~np.isnan(iou_T)
    if not annotated.any():
        raise UserError("no frame has a true box, so there is nothing to score")
    iou, error_px = iou_T[annotated], error_px_T[annotated]
    return BoxScores(
        success=tuple(float(np.mean(iou > threshold)) for threshold in IOU_THRESHOLDS),
        precision=tuple(float(np.mean(error_px <= distance)) for distance in DISTANCES_PX),
    )


def mean_scores(sequences: Sequence[BoxScores]) -> BoxScores:
    """Means over sequences, each weighing the same.

    Raises:
        UserError: there is no sequence.
    """
    if not sequences:
        raise UserError("no sequence to summarise")
    return BoxScores(
        success=tuple(np.mean([scores.success for scores in sequences], axis=0).tolist()),
        precision=tuple(np.mean([scores.precision for scores in sequences], axis=0).tolist()),
    )


def _checked(
    truth_T4: NDArray[Any], pred_T4: NDArray[Any]
) -> tuple[FloatArray, FloatArray, NDArray[np.bool_], NDArray[np.bool_]]:
    """Both as float with zeros where they have no box, and which frames have one."""
    if truth_T4.ndim != 2 or truth_T4.shape[1] != 4 or truth_T4.shape != pred_T4.shape:
        raise UserError(
            f"truth {truth_T4.shape} and prediction {pred_T4.shape} must be [T, 4] alike"
        )
    truth: FloatArray = truth_T4.astype(np.float64)
    pred: FloatArray = pred_T4.astype(np.float64)
    annotated, predicted = _has_box(truth), _has_box(pred)
    return (
        np.where(annotated[:, None], truth, 0.0),
        np.where(predicted[:, None], pred, 0.0),
        annotated,
        predicted,
    )


def _has_box(boxes_T4: FloatArray) -> NDArray[np.bool_]:
    fine = np.isfinite(boxes_T4).all(axis=1) & (boxes_T4[:, 2:] > 0).all(axis=1)
    return np.asarray(fine)
