"""Success and precision of predicted boxes against true ones, from text files as OTB has them.

Both sides hold one file a sequence: `SEQUENCE/groundtruth.txt`, `SEQUENCE/groundtruth_rect.txt` or
`SEQUENCE.txt`. A line is a frame: x, y, width and height, between commas, semicolons, tabs or spaces.
NaN, or no area, means no box.

Shape suffixes: T frames, 4 (x, y, width, height).
"""

import re
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
from pipelines.evaluation_files import (
    json_numbers,
    names_to_score,
    predictions_in,
    read_file,
    refuse_no_folder,
)
from pipelines.storage import Location, files_in, folders_in

FloatArray = NDArray[np.float64]

FILE_NAMES = ("groundtruth.txt", "groundtruth_rect.txt")
_SEPARATOR = re.compile(r"[\s,;]+")


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
    true_files, predicted_files = box_files(truth), box_files(predictions_in(pred))
    names = names_to_score(truth, true_files, pred, predicted_files, sequences, "boxes")
    scored = []
    for name in names:
        truth_T4, pred_T4 = read_boxes(true_files[name]), read_boxes(predicted_files[name])
        if len(truth_T4) != len(pred_T4):
            raise UserError(
                f"{predicted_files[name]}: {len(pred_T4)} boxes, the truth has {len(truth_T4)}"
            )
        iou_T, error_px_T = overlap(truth_T4, pred_T4), centre_error_px(truth_T4, pred_T4)
        try:
            scores = box_scores(iou_T, error_px_T)
        except UserError as error:
            raise UserError(f"{true_files[name]}: {error}") from error
        scored.append(SequenceBoxes(name, iou_T, error_px_T, scores))
    return BoxEvaluation(tuple(scored))


def box_files(root: Location) -> dict[str, Location]:
    """The file of each sequence below `root`.

    Raises:
        UserError: `root` is no folder, there is no such file, or a sequence has two.
    """
    refuse_no_folder(root)
    files = {file.stem: file for file in files_in(root).values() if file.suffix == ".txt"}
    for name, folder in folders_in(root).items():
        found = [folder / file for file in FILE_NAMES if (folder / file).is_file()]
        if len(found) + (name in files and bool(found)) > 1:
            raise UserError(f"{folder}: sequence {name!r} has more than one file of boxes")
        if found:
            files[name] = found[0]
    if not files:
        raise UserError(f"{root}: no boxes; understood are SEQUENCE/groundtruth.txt, SEQUENCE.txt")
    return files


def read_boxes(path: Location) -> FloatArray:
    """The boxes of a file, float [T, 4].

    Raises:
        UserError: the file is missing or empty, or a line is not four numbers.
    """
    try:
        lines = read_file(path).decode("utf-8-sig").rstrip().splitlines()
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not a text file ({error.reason})") from error
    boxes = []
    for number, line in enumerate(lines, start=1):
        try:
            x, y, width, height = map(float, _SEPARATOR.split(line.strip()))
        except ValueError:
            raise UserError(f"{path}: line {number} is not x, y, width, height") from None
        boxes.append((x, y, width, height))
    if not boxes:
        raise UserError(f"{path}: no boxes in it")
    return np.array(boxes)


def _scores_json(scores: BoxScores) -> dict[str, Any]:
    return {
        "success AUC": scores.success_auc,
        "precision@20px": scores.precision_at_20_px,
        "success": list(scores.success),
        "precision": list(scores.precision),
    }
