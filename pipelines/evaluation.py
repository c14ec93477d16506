"""DAVIS scores of a folder of predicted masks against one of true masks.

The metric itself, with the quirks of the official tools, is `model.metrics.davis`. Folders are
paired by video id and frames by file stem; what only the prediction has is left alone.
"""

import math
import multiprocessing
import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any, Literal

from model.errors import UserError
from model.metrics.davis import (
    FrameScores,
    ObjectScores,
    Statistics,
    Summary,
    check_frame_count,
    collect_objects,
    object_count,
    score_frame,
    single_foreground,
    summarise,
)
from pipelines.evaluation_files import json_number, names_to_score, refuse_missing
from pipelines.labels.davis import read_mask
from pipelines.labels.layout import mask_files
from pipelines.storage import Location

DavisDataset = Literal["davis2017", "davis2016"]
"""The objects one by one, or all of them together as a single foreground."""

DAVIS_TITLES: Mapping[DavisDataset, str] = {
    "davis2017": "DAVIS-2017 semi-supervised",
    "davis2016": "DAVIS-2016, single foreground",
}

# Starting a worker takes about as long as scoring this many frames of 854x480.
FRAMES_PER_WORKER = 500


@dataclass(frozen=True)
class FramePair:
    """The true and the predicted mask file of one scored frame."""

    stem: str
    truth: Location
    pred: Location


@dataclass(frozen=True)
class SequencePair:
    """One sequence to score: the first truth frame, which names the objects, and scored frames."""

    name: str
    first_truth: Location
    scored: tuple[FramePair, ...]


@dataclass(frozen=True)
class SequenceScores:
    """Scores of one sequence: stems of the scored frames, and scores by object id."""

    name: str
    frames: tuple[str, ...]
    objects: Mapping[int, ObjectScores]


@dataclass(frozen=True)
class MaskEvaluation:
    """Scores of all sequences, in order of their names."""

    sequences: tuple[SequenceScores, ...]
    dataset: DavisDataset = "davis2017"

    @cached_property
    def summary(self) -> Summary:
        """The global numbers."""
        return summarise(
            scores for sequence in self.sequences for scores in sequence.objects.values()
        )

    def to_json(self) -> dict[str, Any]:
        """All numbers under the official names, ready for `json.dumps`; NaN becomes null."""
        return {
            "metric": DAVIS_TITLES[self.dataset],
            "global": {name: json_number(value) for name, value in global_numbers(self.summary)},
            "per_object": {
                f"{sequence.name}_{index}": {
                    "J-Mean": json_number(scores.j.mean),
                    "F-Mean": json_number(scores.f.mean),
                }
                for sequence in self.sequences
                for index, scores in sequence.objects.items()
            },
            "per_frame": {
                sequence.name: {
                    str(index): {
                        "frames": list(sequence.frames),
                        "J": list(scores.j_by_frame),
                        "F": list(scores.f_by_frame),
                    }
                    for index, scores in sequence.objects.items()
                }
                for sequence in self.sequences
            },
        }


def global_numbers(summary: Summary) -> list[tuple[str, float]]:
    """The seven columns of the official table, in its order and under its names."""

    def columns(letter: str, numbers: Statistics) -> list[tuple[str, float]]:
        return [
            (f"{letter}-Mean", numbers.mean),
            (f"{letter}-Recall", numbers.recall),
            (f"{letter}-Decay", numbers.decay),
        ]

    return [("J&F-Mean", summary.jf_mean), *columns("J", summary.j), *columns("F", summary.f)]


def evaluate_masks(
    truth: Location,
    pred: Location,
    processes: int = os.cpu_count() or 1,
    sequences: Sequence[str] | None = None,
    dataset: DavisDataset = "davis2017",
) -> MaskEvaluation:
    """Score the masks below `pred` against those below `truth`, sequences in parallel.

    Either folder has any layout of `pipelines.labels.layout`. The first and the last truth frame of
    a sequence are not scored and need no prediction.

    Args:
        truth: folder of true masks; its file names say which frames are scored.
        pred: folder of predicted masks.
        processes: worker processes at most; small work is done in this process.
        sequences: the sequences to score; all of `truth` if None.
        dataset: whose tool to follow. DAVIS-2016 takes every pixel that is not 0 as the object.

    Raises:
        UserError: a folder has no masks; a sequence or a scored frame has no prediction; a
            sequence has fewer than three frames or, in DAVIS-2017, no object in its first; a file
            is damaged, of another size, or holds an index above the number of objects.
    """
    if processes < 1:
        raise UserError(f"processes must be at least 1, not {processes}")
    pairs = pair_sequences(truth, pred, sequences)
    frames = sum(len(pair.scored) for pair in pairs)
    workers = min(processes, len(pairs), math.ceil(frames / FRAMES_PER_WORKER))
    score = partial(_score_sequence, dataset)
    if workers == 1:
        return MaskEvaluation(tuple(map(score, pairs)), dataset)
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(workers, mp_context=context)
    try:
        return MaskEvaluation(tuple(pool.map(score, pairs)), dataset)
    finally:
        pool.shutdown(cancel_futures=True)


def pair_sequences(
    truth: Location, pred: Location, sequences: Sequence[str] | None = None
) -> list[SequencePair]:
    """The sequences to score, in order of their names, with the files of every scored frame.

    Raises:
        UserError: as `evaluate_masks`, as far as folder listings show it.
    """
    truth_files, pred_files = mask_files(truth), mask_files(pred)
    names = names_to_score(truth, truth_files, pred, pred_files, sequences, "mask")
    pairs = []
    for name in names:
        frames, predicted = truth_files[name], pred_files[name]
        try:
            check_frame_count(len(frames))
        except UserError as error:
            raise UserError(f"{truth}: sequence {name!r}: {error}") from error
        stems = list(frames)
        scored = stems[1:-1]
        missing = (stem for stem in scored if stem not in predicted)
        refuse_missing(pred, missing, f"mask for frame of sequence {name!r}:")
        pairs.append(
            SequencePair(
                name=name,
                first_truth=frames[stems[0]],
                scored=tuple(FramePair(stem, frames[stem], predicted[stem]) for stem in scored),
            )
        )
    return pairs


def _score_sequence(dataset: DavisDataset, pair: SequencePair) -> SequenceScores:
    count = 1 if dataset == "davis2016" else _object_count(pair.first_truth)
    return SequenceScores(
        name=pair.name,
        frames=tuple(frame.stem for frame in pair.scored),
        objects=collect_objects([_score_pair(frame, count, dataset) for frame in pair.scored]),
    )


def _object_count(first_truth: Location) -> int:
    first_HW = read_mask(first_truth)
    try:
        return object_count(first_HW)
    except UserError as error:
        raise UserError(f"{first_truth}: {error}") from error


def _score_pair(frame: FramePair, count: int, dataset: DavisDataset) -> FrameScores:
    truth_HW, pred_HW = read_mask(frame.truth), read_mask(frame.pred)
    if dataset == "davis2016":
        truth_HW, pred_HW = single_foreground(truth_HW), single_foreground(pred_HW)
    try:
        return score_frame(truth_HW, pred_HW, count)
    except UserError as error:
        raise UserError(f"{frame.pred}: {error}") from error
