"""A confidence model from samples whose truth is known: logistic regression, calibrated on held-out videos.

Frames of one video are alike, so every split is by video.

Shape suffixes: N samples, F features.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GroupKFold

from model.confidence.scorer import (
    MOST_DEVIATIONS,
    ConfidenceModel,
    Feature,
    Transform,
    transformed,
)
from model.errors import UserError
from pipelines.confidence_samples import Sample

FAILED_BELOW_J = 0.5
STRENGTH = 0.1  # C of scikit-learn: the weights' prior is a Gaussian of this variance
CALIBRATION_FOLDS = 8

FEATURES: Mapping[str, Transform] = MappingProxyType(
    {
        "margin": "identity",
        "anchor_area_ratio": "abs_log",
        "recent_area_ratio": "abs_log",
        "centroid_jump": "log",
        "largest_part": "identity",
    }
)
"""The signals that are looked at, and how. docs/confidence.md says why not the others."""
MOSTLY = 0.9
RETURN: Mapping[str, Transform] = MappingProxyType({"return_overlap": "identity"})


def features_of(samples: Sequence[Sample]) -> Mapping[str, Transform]:
    """The usual signals, and the way back where nearly every prediction has gone it."""
    known = [math.isfinite(s.signals.return_overlap) for s in samples if s.signals.cells != 0]
    return {**FEATURES, **RETURN} if known and np.mean(known) > MOSTLY else FEATURES


def check_enough(samples: Sequence[Sample], least: int) -> None:
    """UserError for labels that fail, or do not, in fewer than `least` videos."""
    good_N = good_samples(samples)
    for wanted, sign in ((True, ">="), (False, "<")):
        videos = {s.video_id for s, good in zip(samples, good_N, strict=True) if good == wanted}
        if len(videos) < least:
            raise UserError(
                f"J is {sign} {FAILED_BELOW_J} in frames of {len(videos)} videos; "
                f"a confidence needs at least {least} such videos"
            )


def fit_confidence(
    samples: Sequence[Sample],
    fitted_on: Mapping[str, Any],
    features: Mapping[str, Transform] = FEATURES,
) -> ConfidenceModel:
    """A model of P(J >= 0.5). Raises UserError for fewer than two videos with or without failures, and
    where what some videos teach is worth nothing in the others."""
    present = [sample for sample in samples if sample.signals.cells != 0]
    check_enough(present, 2)
    good_N = good_samples(present)
    model = _regression(present, good_N, features)
    z_N, fold_good_N = _held_out_z(present, good_N, features)
    platt = LogisticRegression(C=np.inf).fit(z_N[:, None], fold_good_N)
    if platt.coef_[0, 0] <= 0:
        raise UserError(
            "on videos that were left out the signals do not tell where J is low; "
            "more videos, or others, are needed"
        )
    absent_N = good_samples([sample for sample in samples if sample.signals.cells == 0])
    return ConfidenceModel(
        features=model.features,
        intercept=model.intercept,
        slope=float(platt.coef_[0, 0]),
        offset=float(platt.intercept_[0]),
        absent=(int(absent_N.sum()) + 1) / (len(absent_N) + 2),  # Laplace's rule of succession
        fitted_on=fitted_on,
    )


def _regression(
    samples: Sequence[Sample], good_N: NDArray[np.bool_], features: Mapping[str, Transform]
) -> ConfidenceModel:
    """Not calibrated."""
    values_NF = np.array(
        [
            [transformed(getattr(s.signals, signal), how) for signal, how in features.items()]
            for s in samples
        ]
    )
    known_NF = np.isfinite(values_NF)
    mean_F = np.nanmean(np.where(known_NF.any(0), values_NF, 0.0), axis=0)
    std_F = np.nanstd(np.where(known_NF.any(0), values_NF, 0.0), axis=0)
    std_F[std_F < 1e-6] = 1.0
    standard_NF = np.where(known_NF, (values_NF - mean_F) / std_F, 0.0)
    standard_NF = standard_NF.clip(-MOST_DEVIATIONS, MOST_DEVIATIONS)
    fit = LogisticRegression(C=STRENGTH, max_iter=1000).fit(standard_NF, good_N)
    rows = zip(features.items(), mean_F, std_F, fit.coef_[0], strict=True)
    return ConfidenceModel(
        features=tuple(
            Feature(signal, how, float(mean), float(std), float(weight))
            for (signal, how), mean, std, weight in rows
        ),
        intercept=float(fit.intercept_[0]),
    )


def _held_out_z(
    samples: Sequence[Sample], good_N: NDArray[np.bool_], features: Mapping[str, Transform]
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """The regression's z of every sample, from a fit on other videos."""
    z: list[float] = []
    good: list[bool] = []
    for train_N, test_N in split_by_video(samples, CALIBRATION_FOLDS):
        if len(np.unique(good_N[train_N])) < 2:
            continue
        model = _regression([samples[i] for i in train_N], good_N[train_N], features)
        z += [model.z(samples[i].signals) for i in test_N]
        good += good_N[test_N].tolist()
    return np.array(z), np.array(good)


def split_by_video(
    samples: Sequence[Sample], folds: int
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Samples to fit on and to test on, no video in both; each is tested once."""
    videos = [sample.video_id for sample in samples]
    splitter = GroupKFold(min(folds, len(set(videos))))
    yield from splitter.split(np.zeros(len(samples)), groups=videos)


def held_out_probabilities(
    samples: Sequence[Sample], features: Mapping[str, Transform] = FEATURES
) -> NDArray[np.float64]:
    """P(J >= 0.5) of every sample from a model fitted on all other videos (leave one video out)."""
    p_N = np.full(len(samples), np.nan)
    for train_N, test_N in split_by_video(samples, len(samples)):
        model = fit_confidence([samples[i] for i in train_N], {}, features)
        p_N[test_N] = [model.probability(samples[i].signals) for i in test_N]
    return p_N


def good_samples(samples: Sequence[Sample]) -> NDArray[np.bool_]:
    """Whether J is 0.5 or more."""
    return np.array([sample.j >= FAILED_BELOW_J for sample in samples], dtype=bool)
