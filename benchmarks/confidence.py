"""Does the confidence know where labels fail? Fitted on some sequences, measured on the others.

The mask of the first frame of every sequence in HUETRACK_DATA/eval is carried through it; a failure is an
object in a frame with J below 0.5. Frames of one sequence are alike, so each sequence is judged by a model
that was fitted without it, and intervals come from drawing whole sequences again and again.

    python -m benchmarks.confidence --model runs/first --cache build/confidence --picture confidence.png

Signals of a sequence are measured once and kept in --cache.

Shape suffixes: N samples.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, dataclass
from pathlib import Path
from typing import Annotated, Any

import cv2
import matplotlib
import numpy as np
import pyarrow.parquet as pq
import torch
from cyclopts import App, Parameter
from matplotlib import pyplot as plt
from numpy.typing import NDArray
from sklearn.metrics import brier_score_loss, roc_auc_score

from benchmarks.figures import show
from model.confidence.return_check import ReturnCheck
from model.confidence.scorer import Transform
from model.confidence.signals import SIGNAL_NAMES
from model.propagation.engine import Propagator
from model.propagation.protocols import get_protocol
from pipelines.confidence_fit import (
    FEATURES,
    fit_confidence,
    good_samples,
    held_out_probabilities,
    split_by_video,
)
from pipelines.confidence_samples import Sample, from_table, samples_of_video, to_table
from pipelines.footage import find_footage
from pipelines.labels.mask_folders import MaskFolders
from pipelines.models import build_encoder, parse_model

DRAWS = 1000
REVIEWED = 0.1
COLOURS: Mapping[str, Transform] = {
    "colour_residual": "log",
    "colour_residual_ratio": "log",
    "colour_residual_spread": "log",
    "drift_residual": "log",
}
AFFINITY: Mapping[str, Transform] = {
    "entropy": "identity",
    "top1_weight": "log",
    "match_spread": "log",
}
OTHERS: Mapping[str, Transform] = {
    "image_share": "log",
    "border_share": "identity",
    "area_ratio": "abs_log",
    "likeness": "identity",
    "overlap": "identity",
    "frames_since_anchor": "log",
}


@dataclass(frozen=True)
class Options:
    """Options of this benchmark."""

    _: KW_ONLY
    model: str = "lab"
    """As for `huetrack propagate`."""
    protocol: str = "crw"
    data: Path = Path(os.environ.get("HUETRACK_DATA", "../shared/data")) / "eval"
    """Sequences with frames/ and masks/."""
    short_side_px: int = 240
    """Larger frames are made smaller first."""
    cache: Path = Path("build/confidence")
    """Folder for the signals that were measured, a file for each sequence."""
    check_return: Annotated[bool, Parameter(negative="")] = False
    """Also carry each prediction straight back to the first frame."""
    transfer: tuple[Path, ...] = ()
    """Caches of other models and protocols that the confidence fitted here is measured on."""
    picture: Path | None = None
    """Reliability diagram and review curve."""
    to: Path | None = None
    """Write the confidence model, fitted on all sequences."""
    json: Path | None = None
    """Also write the figures there."""


def main(options: Annotated[Options | None, Parameter(name="*")] = None) -> None:
    """Measure the confidence."""
    options = options or Options()
    samples = measured(options)
    good_N = good_samples(samples)
    figures: dict[str, Any] = {
        "model": options.model,
        "protocol": options.protocol,
        "sequences": len({s.video_id for s in samples}),
        "objects x frames": len(samples),
        "J below 0.5": 1 - float(good_N.mean()),
        "worst tenth can find at most": min(1.0, REVIEWED / (1 - float(good_N.mean()))),
    }
    for name, values_N in signals_alone(samples).items():
        figures[f"alone: {name}"] = judged(values_N, good_N, samples)
    back: Mapping[str, Transform] = {"return_overlap": "identity"}
    sets: dict[str, Mapping[str, Transform]] = {
        "shipped signals": FEATURES,
        "with the colour residual": {**FEATURES, "colour_residual": "log"},
        "with it relative to the object's spread": {
            **FEATURES,
            "colour_residual_spread": "log",
        },
        "with all of colour": {**FEATURES, **COLOURS},
        "with all of the affinity": {**FEATURES, **AFFINITY},
        "all of colour alone": COLOURS,
        "all signals together": {**FEATURES, **COLOURS, **AFFINITY, **OTHERS},
    }
    if any(np.isfinite(s.signals.return_overlap) for s in samples):
        sets |= {"return alone": back, "with the return": {**FEATURES, **back}}
    for name, features in sets.items():
        figures[name] = judged(held_out_probabilities(samples, features), good_N, samples)
    p_N = held_out_probabilities(samples)
    figures["Brier score"] = float(brier_score_loss(good_N, p_N))
    figures["Brier score of the base rate"] = float(good_N.mean() * (1 - good_N.mean()))
    for cache in options.transfer:
        others = cached(cache)
        p_others_N = transferred(samples, others)
        figures[f"transfer to {cache.name}"] = judged(p_others_N, good_samples(others), others)
        own = held_out_probabilities(others)
        figures[f"{cache.name}, fitted there"] = judged(own, good_samples(others), others)
    if options.picture is not None:
        draw(p_N, good_N, options.picture)
    if options.to is not None:
        options.to.write_text(fit_confidence(samples, description(options, samples)).to_json())
    show(f"Confidence, {options.model} under {options.protocol}", figures, options.json)


def measured(options: Options) -> list[Sample]:
    """Signals and J of every sequence; those in the cache are not measured again."""
    options.cache.mkdir(parents=True, exist_ok=True)
    protocol = get_protocol(options.protocol)
    encoder = build_encoder(parse_model(options.model, untrained_width=64, seed=0), protocol, "cpu")
    truth = MaskFolders(options.data)
    for footage in find_footage(options.data):
        file = options.cache / f"{footage.video_id}.parquet"
        if file.exists():
            continue
        names, frames = zip(*footage.frames(), strict=True)
        small = [_smaller(frame, options.short_side_px, cv2.INTER_AREA) for frame in frames]
        masks = [truth.read(footage.video_id, name).ids_HW for name in names]
        masks = [_smaller(mask, options.short_side_px, cv2.INTER_NEAREST) for mask in masks]
        found = samples_of_video(
            footage.video_id,
            small,
            masks,
            Propagator(encoder, protocol, diagnose=True),
            ReturnCheck(encoder, protocol) if options.check_return else None,
        )
        pq.write_table(to_table(found), file)
    return cached(options.cache)


def cached(folder: Path) -> list[Sample]:
    """All samples of a cache."""
    files = sorted(folder.glob("*.parquet"))
    return [sample for file in files for sample in from_table(pq.read_table(file))]


def _smaller(picture: NDArray[Any], short_side_px: int, how: int) -> NDArray[Any]:
    height, width = picture.shape[:2]
    scale = short_side_px / min(height, width)
    if scale >= 1:
        return picture
    return cv2.resize(picture, (round(width * scale), round(height * scale)), interpolation=how)


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
    """AUROC with its 95 % interval over sequences, and how many failures the worst tenth holds."""
    video_N = np.array([s.video_id for s in samples])
    rows = [np.flatnonzero(video_N == video) for video in np.unique(video_N)]
    rng = np.random.default_rng(0)
    drawn = []
    for _ in range(DRAWS):
        index = np.concatenate([rows[i] for i in rng.integers(0, len(rows), len(rows))])
        if 0 < good_N[index].mean() < 1:
            drawn.append(roc_auc_score(good_N[index], score_N[index]))
    low, high = np.quantile(drawn, (0.025, 0.975))
    found = failures_found(score_N, good_N, REVIEWED)
    auroc = roc_auc_score(good_N, score_N)
    return f"AUROC {auroc:.3f} [{low:.3f}, {high:.3f}], worst tenth finds {found:.3f}"


def failures_found(
    score_N: NDArray[np.float64], good_N: NDArray[np.bool_], reviewed: float
) -> float:
    """Share of all failures that is among the `reviewed` share of samples with the lowest score."""
    worst = np.argsort(score_N, kind="stable")[: round(reviewed * len(score_N))]
    return float((~good_N[worst]).sum() / (~good_N).sum())


def transferred(fitted_on: Sequence[Sample], samples: Sequence[Sample]) -> NDArray[np.float64]:
    """P of each sample from a model fitted on other sequences, of another propagation."""
    p_N = np.full(len(samples), np.nan)
    for _, test_N in split_by_video(samples, len(samples)):
        videos = {samples[i].video_id for i in test_N}
        model = fit_confidence([s for s in fitted_on if s.video_id not in videos], {})
        p_N[test_N] = [model.probability(samples[i].signals) for i in test_N]
    return p_N


def description(options: Options, samples: Sequence[Sample]) -> dict[str, Any]:
    """For people who read the model's file."""
    return {
        "model": Path(options.model).stem,
        "protocol": options.protocol,
        "short_side_px": options.short_side_px,
        "sequences": sorted({s.video_id for s in samples}),
        "objects": len({(s.video_id, s.object_id) for s in samples}),
        "samples": len(samples),
        "share_failed": round(1 - float(good_samples(samples).mean()), 4),
    }


def draw(p_N: NDArray[np.float64], good_N: NDArray[np.bool_], file: Path) -> None:
    """How often labels of a confidence are right, and how many failures a reviewer finds."""
    matplotlib.use("agg")
    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 4))
    edges = np.linspace(0, 1, 11)
    place_N = np.clip(np.digitize(p_N, edges) - 1, 0, 9)
    filled = [b for b in range(10) if (place_N == b).sum() >= 5]
    left.plot([0, 1], [0, 1], color="0.7", linewidth=1)
    left.plot(
        [p_N[place_N == b].mean() for b in filled],
        [good_N[place_N == b].mean() for b in filled],
        marker="o",
    )
    left.bar(edges[:-1] + 0.05, np.bincount(place_N, minlength=10) / len(p_N), 0.09, alpha=0.25)
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


if __name__ == "__main__":
    torch.set_num_threads(1)
    App(default_command=main)()
