"""DAVIS scores of a folder of predicted masks against one of true masks.

The metric itself, with the quirks of the official tools, is `model.metrics.davis`. Folders are
paired by video id and frames by file stem; what only the prediction has is left alone.
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
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

_FRAMES_AT_ONCE = 16
"""Of a sequence, in one thread: handing them out one by one would cost a tenth of the scoring."""


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
    workers: int = os.cpu_count() or 1,
    sequences: Sequence[str] | None = None,
    dataset: DavisDataset = "davis2017",
) -> MaskEvaluation:
    """Score the masks below `pred` against those below `truth`, frames in parallel.

    Threads are enough: what takes time (reading, inflating, arithmetic on whole masks) lets go of
    Python's lock, and they start at once.

    Either folder has any layout of `pipelines.labels.layout`. The first and the last truth frame of
    a sequence are not scored and need no prediction.

    Args:
        truth: folder of true masks; its file names say which frames are scored.
        pred: folder of predicted masks.
        workers: threads.
        sequences: the sequences to score; all of `truth` if None.
        dataset: whose tool to follow. DAVIS-2016 takes every pixel that is not 0 as the object.

    Raises:
        UserError: a folder has no masks; a sequence or a scored frame has no prediction; a
            sequence has fewer than three frames or, in DAVIS-2017, no object in its first; a file
            is damaged, of another size, or holds an index above the number of objects.
    """
    if workers < 1:
        raise UserError(f"there must be at least 1 worker, not {workers}")
    pairs = pair_sequences(truth, pred, sequences)
    pool = ThreadPoolExecutor(workers)
    try:
        counts = pool.map(lambda pair: _object_count(pair.first_truth, dataset), pairs)
        scored = [
            _scored_in_parts(pool, *each, dataset) for each in zip(pairs, counts, strict=True)
        ]
        return MaskEvaluation(
            tuple(
                SequenceScores(
                    pair.name,
                    tuple(frame.stem for frame in pair.scored),
                    collect_objects(list(chain.from_iterable(parts))),
                )
                for pair, parts in zip(pairs, scored, strict=True)
            ),
            dataset,
        )
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


def _object_count(first_truth: Location, dataset: DavisDataset) -> int:
    if dataset == "davis2016":
        return 1
    first_HW = read_mask(first_truth)
    try:
        return object_count(first_HW)
    except UserError as error:
        raise UserError(f"{first_truth}: {error}") from error


def _scored_in_parts(
    pool: ThreadPoolExecutor, pair: SequencePair, count: int, dataset: DavisDataset
) -> Iterator[list[FrameScores]]:
    """Starts the scoring of a sequence; its scores come in the order of its frames."""
    starts = range(0, len(pair.scored), _FRAMES_AT_ONCE)
    parts = [pair.scored[start : start + _FRAMES_AT_ONCE] for start in starts]
    return pool.map(lambda part: [_score_pair(frame, count, dataset) for frame in part], parts)


def _score_pair(frame: FramePair, count: int, dataset: DavisDataset) -> FrameScores:
    truth_HW, pred_HW = read_mask(frame.truth), read_mask(frame.pred)
    if dataset == "davis2016":
        truth_HW, pred_HW = single_foreground(truth_HW), single_foreground(pred_HW)
    try:
        return score_frame(truth_HW, pred_HW, count)
    except UserError as error:
        raise UserError(f"{frame.pred}: {error}") from error
