"""`huetrack confidence fit`."""

from dataclasses import KW_ONLY, dataclass
from typing import Annotated

import numpy as np
from cyclopts import Parameter
from sklearn.metrics import brier_score_loss, roc_auc_score

from jobs.console import print_facts
from jobs.options import LocationOption
from model.errors import UserError
from pipelines.confidence_files import propagated_with, samples_in
from pipelines.confidence_fit import (
    check_enough,
    features_of,
    fit_confidence,
    good_samples,
    held_out_probabilities,
)
from pipelines.labels.formats import open_labels
from pipelines.storage import write_text


@dataclass(frozen=True)
class ConfidenceFitOptions:
    """Options of `huetrack confidence fit`."""

    out: tuple[LocationOption, ...]
    """Output folders of `huetrack propagate`, of videos whose masks are known."""
    _: KW_ONLY
    truth: LocationOption
    """The true masks, in any format of docs/labels.md."""
    truth_format: str = "auto"
    """Format of the true masks, where `auto` does not tell it."""
    to: LocationOption
    """File to write (JSON)."""


def confidence_fit_command(
    options: Annotated[ConfidenceFitOptions, Parameter(name="*")],
) -> int:
    """Fit the confidence on annotated videos of your own.

    Propagate from the first annotated frame of videos whose other frames are annotated too; what is
    learnt is which signals went with J below 0.5. The table says how well that works on videos that
    were left out. Ten videos with some failures are a start. With --return-check in those propagations
    the way back is one more signal.

    Example: huetrack confidence fit out --truth masks --to confidence.json
    """
    truth = open_labels(options.truth, options.truth_format)
    samples, made_with = [], []
    for out in options.out:
        made_with.append(propagated_with(out))
        samples += list(samples_in(out, truth))
    videos = {sample.video_id for sample in samples}
    if not videos:
        raise UserError(f"{options.truth}: has no true mask for any predicted frame")
    check_enough([sample for sample in samples if sample.signals.cells != 0], 3)
    fitted_on = {
        "propagations": made_with,
        "videos": len(videos),
        "objects": len({(sample.video_id, sample.object_id) for sample in samples}),
        "samples": len(samples),
        "share_failed": round(1 - float(np.mean(good_samples(samples))), 4),
    }
    features = features_of(samples)
    model = fit_confidence(samples, fitted_on, features)
    write_text(options.to, model.to_json())
    good_N, p_N = good_samples(samples), held_out_probabilities(samples, features)
    print_facts(
        f"Confidence {options.to}",
        {
            "videos": fitted_on["videos"],
            "objects x frames": len(samples),
            "J below 0.5": f"{1 - good_N.mean():.1%}",
            "signals": ", ".join(features),
            "on videos left out": f"AUROC {roc_auc_score(good_N, p_N):.3f}, "
            f"Brier score {brier_score_loss(good_N, p_N):.3f}",
        },
    )
    return 0
