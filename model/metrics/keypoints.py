"""PCK, the share of joints predicted near enough, as methods of label propagation report it on J-HMDB.

Two modes:

- `reference` equals the script that Contrastive Random Walk, CycleTime and UVC share
  (github.com/ajabri/videowalk, code/eval/eval_pck.py): a joint whose predicted x is negative, the
  script's sign of a failure, is *dropped*. It counts neither as right nor as wrong, and does not
  enlarge the person either;
- `strict` counts every annotated joint: a failed one (NaN or negative) is wrong.

In both, an error is the distance in pixels over 0.6 times the diagonal of the box around the person's
true joints; the first frame, which is given, is not scored; a score is the share of errors of at most
alpha over all frames of all videos for each joint, and then the mean over the joints.

Shape suffixes: T frames, F scored frames (T - 1), K joints, A alphas, 2 (x, y).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from model.errors import UserError

FloatArray = NDArray[np.float64]
PckMode = Literal["reference", "strict"]

ALPHAS = (0.1, 0.2, 0.3, 0.4, 0.5)
PERSON_SHARE = 0.6
"""An error of 1 is this share of the diagonal around the person."""


@dataclass(frozen=True)
class PckScores:
    """Shares of joints within each alpha, from 0 to 1."""

    alphas: tuple[float, ...]
    by_joint_AK: FloatArray
    """NaN for a joint that was never counted."""
    counted_K: NDArray[np.int64]
    """How many errors each joint's shares are made of."""

    @property
    def mean(self) -> FloatArray:
        """Mean over the joints that were counted, each weighing the same, by alpha [A]; NaN without any."""
        counted_AK = self.by_joint_AK[:, self.counted_K > 0]
        return counted_AK.mean(axis=1) if counted_AK.size else np.full(len(counted_AK), np.nan)


def joint_errors(
    truth_TK2: NDArray[Any], pred_TK2: NDArray[Any], mode: PckMode = "reference"
) -> FloatArray:
    """Normalised errors of one video without its first frame, float [F, K].

    NaN stands for a joint that does not count: one that is not annotated (NaN in the truth) or, in
    reference mode, one whose prediction failed (x negative or NaN). Infinity is a joint that is
    wrong at any alpha. Positions are in pixels from 0; only their differences and the sign of the
    predictions matter.

    Raises:
        UserError: the shapes differ or are not [T, K, 2], or there are fewer than two frames.
    """
    if truth_TK2.ndim != 3 or truth_TK2.shape[2] != 2 or truth_TK2.shape != pred_TK2.shape:
        raise UserError(
            f"truth {truth_TK2.shape} and prediction {pred_TK2.shape} must be [T, K, 2] alike"
        )
    if len(truth_TK2) < 2:
        raise UserError(f"{len(truth_TK2)} frame(s): without the first none is left to score")
    truth = np.asarray(truth_TK2[1:], dtype=np.float64)
    pred = np.asarray(pred_TK2[1:], dtype=np.float64)
    annotated = np.logical_not(np.isnan(truth).any(axis=2))
    if mode == "reference":
        failed = np.any(np.isnan(pred), axis=2)
        counted = annotated & (pred[..., 0] >= 0)
    else:
        failed = np.logical_not((pred >= 0).all(axis=2))
        counted = annotated
    unit_px = PERSON_SHARE * _diagonal_px(truth, counted)
    with np.errstate(invalid="ignore", divide="ignore"):
        errors = np.linalg.norm(pred - truth, axis=2) / unit_px[:, None]
    errors[failed | np.isnan(errors)] = np.inf
    errors[~counted] = np.nan
    return errors


def pck(errors: Sequence[FloatArray], alphas: Sequence[float] = ALPHAS) -> PckScores:
    """Scores of the errors [F, K] of one or more videos.

    Raises:
        UserError: there are no videos, or they differ in their joints.
    """
    if not errors:
        raise UserError("no video to score")
    if len({video.shape[1] for video in errors}) > 1:
        raise UserError("the videos differ in their number of joints")
    errors_NK = np.concatenate(errors)
    counted_K = (~np.isnan(errors_NK)).sum(axis=0)
    right_AK = np.stack([(errors_NK <= alpha).sum(axis=0) for alpha in alphas])
    shares_AK = np.full(right_AK.shape, np.nan)
    np.divide(right_AK, counted_K, out=shares_AK, where=counted_K > 0)
    return PckScores(tuple(alphas), shares_AK, counted_K)


def _diagonal_px(xy_FK2: FloatArray, counted_FK: NDArray[np.bool_]) -> FloatArray:
    """Diagonal of the box around the counted joints of each frame, float [F]; 0 without any."""
    inside_FK2 = np.broadcast_to(counted_FK[..., None], xy_FK2.shape)
    least = np.min(xy_FK2, axis=1, initial=np.inf, where=inside_FK2)
    most = np.max(xy_FK2, axis=1, initial=-np.inf, where=inside_FK2)
    some_F1 = counted_FK.any(axis=1, keepdims=True)
    return np.hypot(*np.subtract(most, least, out=np.zeros_like(most), where=some_F1).T)
