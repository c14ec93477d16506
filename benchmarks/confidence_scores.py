"""How good confidences are: AUROC with its interval, review, calibration, and the picture of them.

Shape suffixes: N samples.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib import pyplot as plt
from numpy.typing import NDArray
from sklearn.metrics import brier_score_loss, roc_auc_score

from model.confidence.signals import SIGNAL_NAMES
from pipelines.confidence_fit import good_samples
from pipelines.confidence_samples import Sample

DRAWS = 1000
LIMITS = (0.025, 0.975)
REVIEWED = 0.1
BINS = 10
LEAST_IN_BIN = 5


def signals_alone(samples: Sequence[Sample]) -> dict[str, NDArray[np.float64]]:
    """Each signal as a score, higher where it says that labels are right; the better direction is chosen
    on all samples. An object that is predicted nowhere comes last."""
    good_N = good_samples(samples)
    absent_N = np.array([s.signals.cells == 0 for s in samples])
    scores = {}
    for name in SIGNAL_NAMES:
        values_N = np.array([getattr(s.signals, name) for s in samples])
        known_N = np.isfinite(values_N) & ~absent_N
        if not known_N.any() or np.ptp(values_N[known_N]) == 0:
            continue
        if name.endswith("area_ratio") or name in ("width_ratio", "height_ratio"):
            values_N = np.abs(np.log(np.maximum(values_N, 1e-3)))
        if roc_auc_score(good_N[known_N], values_N[known_N]) < 0.5:
            values_N = -values_N
        middle = np.median(values_N[known_N])
        scores[name] = np.where(
            absent_N, values_N[known_N].min() - 1, np.where(known_N, values_N, middle)
        )
    return scores


def judged(
    score_N: NDArray[np.float64], good_N: NDArray[np.bool_], samples: Sequence[Sample]
) -> str:
    """AUROC with its 95 % interval over sequences, how many failures the worst tenth holds, and what has to
    be reviewed to find half of them."""
    drawn = [
        roc_auc_score(good_N[index_N], score_N[index_N])
        for index_N in _draws(samples)
        if 0 < good_N[index_N].mean() < 1
    ]
    low, high = np.quantile(drawn, LIMITS)
    found = failures_found(score_N, good_N, REVIEWED)
    auroc = roc_auc_score(good_N, score_N)
    half = np.searchsorted(
        np.cumsum(~good_N[np.argsort(score_N, kind="stable")]), (~good_N).sum() / 2
    )
    return (
        f"AUROC {auroc:.3f} [{low:.3f}, {high:.3f}], worst tenth finds {found:.3f}, "
        f"half in the worst {(half + 1) / len(good_N):.3f}"
    )


def _draws(samples: Sequence[Sample]) -> Iterator[NDArray[np.int64]]:
    """Samples of as many sequences as there are, drawn with replacement."""
    video_N = np.array([s.video_id for s in samples])
    rows = [np.flatnonzero(video_N == video) for video in np.unique(video_N)]
    rng = np.random.default_rng(0)
    for _ in range(DRAWS):
        yield np.concatenate([rows[i] for i in rng.integers(0, len(rows), len(rows))])


def failures_found(
    score_N: NDArray[np.float64], good_N: NDArray[np.bool_], reviewed: float
) -> float:
    """Share of all failures that is among the `reviewed` share of samples with the lowest score."""
    worst = np.argsort(score_N, kind="stable")[: round(reviewed * len(score_N))]
    return float((~good_N[worst]).sum() / (~good_N).sum())


def calibration(p_N: NDArray[np.float64], good_N: NDArray[np.bool_]) -> str:
    """Expected calibration error over ten equal intervals (Naeini, Cooper and Hauskrecht 2015): the mean
    distance of the share that is right from the mean confidence. And the Brier score."""
    place_N = _bins(p_N)
    count = np.bincount(place_N, minlength=BINS)
    gap = np.bincount(place_N, weights=p_N, minlength=BINS)
    gap -= np.bincount(place_N, weights=good_N, minlength=BINS)
    error = float(np.abs(gap).sum() / count.sum())
    return f"calibration error {error:.3f}, Brier score {brier_score_loss(good_N, p_N):.3f}"


def _bins(p_N: NDArray[np.float64]) -> NDArray[np.int64]:
    return np.clip((p_N * BINS).astype(int), 0, BINS - 1)


def draw(p_N: NDArray[np.float64], samples: Sequence[Sample], file: Path) -> None:
    """How often labels of a confidence are right, with 95 % intervals over sequences, and how many failures
    a reviewer finds."""
    good_N, place_N = good_samples(samples), _bins(p_N)
    shares = [_shares(place_N[index_N], good_N[index_N]) for index_N in _draws(samples)]
    low, high = np.nanquantile(shares, LIMITS, axis=0)
    matplotlib.use("agg")
    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 4))
    filled = [b for b in range(BINS) if (place_N == b).sum() >= LEAST_IN_BIN]
    left.plot([0, 1], [0, 1], color="0.7", linewidth=1)
    confidence = [p_N[place_N == b].mean() for b in filled]
    left.plot(confidence, _shares(place_N, good_N)[filled], marker="o")
    left.vlines(confidence, low[filled], high[filled], alpha=0.5)
    middle = (np.arange(BINS) + 0.5) / BINS
    left.bar(middle, np.bincount(place_N, minlength=BINS) / len(p_N), 0.9 / BINS, alpha=0.25)
    left.set(xlabel="confidence", ylabel="share with J >= 0.5 (bars: share of samples)")
    share = np.linspace(0, 1, 101)
    right.plot(
        share, [failures_found(p_N, good_N, s) if s else 0 for s in share], label="by confidence"
    )
    right.plot(
        [0, 1 - good_N.mean(), 1], [0, 1, 1], color="0.7", linewidth=1, label="best possible"
    )
    right.plot([0, 1], [0, 1], color="0.7", linestyle=":", label="at random")
    right.set(xlabel="share of objects x frames reviewed", ylabel="share of failures found")
    right.legend()
    figure.tight_layout()
    figure.savefig(file, dpi=100)


def _shares(place_N: NDArray[np.int64], good_N: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Of each interval of the confidence how many are right; NaN where there is none."""
    count = np.bincount(place_N, minlength=BINS)
    right = np.bincount(place_N, weights=good_N, minlength=BINS)
    return np.divide(right, count, out=np.full(BINS, np.nan), where=count > 0)
