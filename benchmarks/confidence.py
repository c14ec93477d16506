"""Does the confidence know where labels fail? Fitted on some sequences, measured on the others.

The mask of the first frame of every sequence in HUETRACK_DATA/eval is carried through it; a failure is an
object in a frame with J below 0.5. Frames of one sequence are alike, so each sequence is judged by a model
that was fitted without it, and intervals come from drawing whole sequences again and again.

    python -m benchmarks.confidence --model runs/first --cache build/alone --check-return
    python -m benchmarks.confidence --model runs/first+lab --cache build/joined --check-return \
        --also build/alone --transfer build/vidcolor --picture confidence.png --to confidence.json

Signals of a sequence are measured once and kept in --cache. With `--also` the confidence is fitted on the
samples of several propagations together; what it is measured on is always left out of all of them.

Shape suffixes: N samples.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, dataclass
from pathlib import Path
from typing import Annotated, Any

import cv2
import numpy as np
import pyarrow.parquet as pq
import torch
from cyclopts import App, Parameter
from numpy.typing import NDArray

from benchmarks.confidence_scores import REVIEWED, calibration, draw, judged, signals_alone
from benchmarks.figures import show
from model.confidence.return_check import ReturnCheck
from model.confidence.scorer import Transform
from model.propagation.engine import Propagator
from model.propagation.protocols import get_protocol
from pipelines.confidence_fit import (
    FEATURES,
    RETURN,
    fit_confidence,
    good_samples,
    split_by_video,
)
from pipelines.confidence_samples import Sample, from_table, samples_of_video, to_table
from pipelines.footage import find_footage
from pipelines.labels.mask_folders import MaskFolders
from pipelines.models import build_encoder, parse_model

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
    also: tuple[Path, ...] = ()
    """Caches of other models and protocols whose samples the confidence is fitted on as well."""
    transfer: tuple[Path, ...] = ()
    """Caches of others that it is measured on as well."""
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
    fitted = [*samples, *(sample for cache in options.also for sample in cached(cache))]
    good_N = good_samples(samples)
    figures: dict[str, Any] = {
        "model": options.model,
        "fitted also on": ", ".join(cache.name for cache in options.also) or "nothing else",
        "protocol": options.protocol,
        "sequences": len({s.video_id for s in samples}),
        "objects x frames": len(samples),
        "J below 0.5": 1 - float(good_N.mean()),
        "worst tenth can find at most": min(1.0, REVIEWED / (1 - float(good_N.mean()))),
    }
    for name, values_N in signals_alone(samples).items():
        figures[f"alone: {name}"] = judged(values_N, good_N, samples)
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
        sets |= {
            "the return alone": RETURN,
            "the margin and the return": {"margin": "identity", **RETURN},
            "with the return": {**FEATURES, **RETURN},
        }
    for name, features in sets.items():
        p_N = transferred(fitted, samples, features)
        figures[name] = f"{judged(p_N, good_N, samples)}; {calibration(p_N, good_N)}"
    figures["Brier score of the base rate"] = float(good_N.mean() * (1 - good_N.mean()))
    for cache in (*options.also, *options.transfer):
        others = cached(cache)
        good_others_N = good_samples(others)
        for name, source in ((f"on {cache.name}", fitted), (f"{cache.name}, fitted there", others)):
            p_N = transferred(source, others)
            found = f"{judged(p_N, good_others_N, others)}; {calibration(p_N, good_others_N)}"
            figures[name] = f"{found}; J below 0.5 in {1 - good_others_N.mean():.3f}"
    if options.picture is not None:
        draw(transferred(fitted, samples), samples, options.picture)
    if options.to is not None:
        model = fit_confidence(fitted, description(options, fitted))
        options.to.write_text(model.to_json())
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


def transferred(
    fitted_on: Sequence[Sample],
    samples: Sequence[Sample],
    features: Mapping[str, Transform] = FEATURES,
) -> NDArray[np.float64]:
    """P of each sample from a model fitted on the other sequences, of whatever propagations."""
    p_N = np.full(len(samples), np.nan)
    for _, test_N in split_by_video(samples, len(samples)):
        videos = {samples[i].video_id for i in test_N}
        others = [sample for sample in fitted_on if sample.video_id not in videos]
        model = fit_confidence(others, {}, features)
        p_N[test_N] = [model.probability(samples[i].signals) for i in test_N]
    return p_N


def description(options: Options, samples: Sequence[Sample]) -> dict[str, Any]:
    """For people who read the model's file."""
    return {
        "model": Path(options.model).name.replace(".safetensors", ""),
        "and": [cache.name for cache in options.also],
        "protocol": options.protocol,
        "short_side_px": options.short_side_px,
        "sequences": sorted({s.video_id for s in samples}),
        "objects": len({(s.video_id, s.object_id) for s in samples}),
        "samples": len(samples),
        "share_failed": round(1 - float(good_samples(samples).mean()), 4),
    }


if __name__ == "__main__":
    torch.set_num_threads(1)
    App(default_command=main)()
