"""Success and precision of predicted boxes against true ones, from files of OTB (`pipelines.labels.mot`).

Shape suffixes: T frames, 4 (x, y, width, height).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model.errors import UserError
from model.metrics.boxes import (
    DISTANCES_PX,
    IOU_THRESHOLDS,
    BoxScores,
    box_scores,
    centre_error_px,
    mean_scores,
    overlap,
)
from model.propagation.annotations import BoxAnnotation
from pipelines.evaluation_files import json_numbers, names_to_score, predictions_in
from pipelines.labels.codec import LabelReader
from pipelines.labels.formats import open_labels
from pipelines.storage import Location

FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class SequenceBoxes:
    """One sequence: IoU and distance of centres in every frame, and the curves made of them."""

    name: str
    iou_T: FloatArray
    """NaN where the truth has no box."""
    centre_error_px_T: FloatArray
    """NaN where the truth has no box, infinite where the prediction has none."""
    scores: BoxScores


@dataclass(frozen=True)
class BoxEvaluation:
    """Scores of all sequences, in order of their names."""

    sequences: tuple[SequenceBoxes, ...]

    @cached_property
    def summary(self) -> BoxScores:
        """Means over the sequences."""
        return mean_scores([sequence.scores for sequence in self.sequences])

    def to_json(self) -> dict[str, Any]:
        """All numbers, ready for `json.dumps`; null where there is no box."""
        return {
            "metric": "OTB success and precision",
            "thresholds": {"iou": list(IOU_THRESHOLDS), "distance_px": list(DISTANCES_PX)},
            "global": _scores_json(self.summary),
            "per_sequence": {s.name: _scores_json(s.scores) for s in self.sequences},
            "per_frame": {
                sequence.name: {
                    "iou": json_numbers(sequence.iou_T),
                    "centre_error_px": json_numbers(sequence.centre_error_px_T),
                }
                for sequence in self.sequences
            },
        }


def evaluate_boxes(
    truth: Location, pred: Location, sequences: Sequence[str] | None = None
) -> BoxEvaluation:
    """Score the boxes below `pred` against those below `truth`.

    Raises:
        UserError: a folder has no boxes, or not those of a sequence; a line is not four numbers; the
            numbers of frames differ; a sequence has no true box.
    """
    true_labels, predicted = open_labels(truth, "otb"), open_labels(predictions_in(pred), "otb")
    names = names_to_score(
        truth, true_labels.videos(), pred, predicted.videos(), sequences, "boxes"
    )
    scored = []
    for name in names:
        truth_T4, pred_T4 = _boxes(true_labels, name), _boxes(predicted, name)
        if len(truth_T4) != len(pred_T4):
            raise UserError(
                f"{pred}: {len(pred_T4)} boxes for sequence {name!r}, the truth has {len(truth_T4)}"
            )
        iou_T, error_px_T = overlap(truth_T4, pred_T4), centre_error_px(truth_T4, pred_T4)
        try:
            scores = box_scores(iou_T, error_px_T)
        except UserError as error:
            raise UserError(f"{truth}, sequence {name!r}: {error}") from error
        scored.append(SequenceBoxes(name, iou_T, error_px_T, scores))
    return BoxEvaluation(tuple(scored))


def _boxes(labels: LabelReader, name: str) -> FloatArray:
    """The box of every frame [T, 4]; NaN where there is none."""
    frames = [labels.read(name, frame) for frame in labels.frames(name)]
    boxes_T4 = np.full((len(frames), 4), np.nan)
    for box_4, annotation in zip(boxes_T4, frames, strict=True):
        assert isinstance(annotation, BoxAnnotation)
        if annotation.ids:
            box_4[:] = annotation.xywh_px_N4[0]
    return boxes_T4


def _scores_json(scores: BoxScores) -> dict[str, Any]:
    return {
        "success AUC": scores.success_auc,
        "precision@20px": scores.precision_at_20_px,
        "success": list(scores.success),
        "precision": list(scores.precision),
    }
