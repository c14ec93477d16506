"""J and F of a network on a few annotated videos, in one process, and a picture of how each one ended."""

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from model.propagation.annotations import MaskAnnotation
from model.propagation.engine import LabelPropagator
from pipelines.archive_plan import AnnotatedVideo
from pipelines.evaluation import MaskEvaluation, SequenceScores, evaluate_masks
from pipelines.labels.davis import write_mask
from pipelines.labels.mask_folders import MaskFolders
from pipelines.pictures import overlay
from pipelines.storage import Location


@dataclass(frozen=True)
class ProbedSequence:
    """How a video came out."""

    name: str
    jf_mean: float
    """J&F-Mean over its objects, as the official DAVIS-2017 tool computes it."""
    last_frame_HW3: np.ndarray
    """The last frame under its predicted mask, uint8 RGB [H, W, 3]."""


@dataclass(frozen=True)
class SequenceProbe:
    """How all of them came out."""

    evaluation: MaskEvaluation
    sequences: tuple[ProbedSequence, ...]


def probe_sequences(
    tasks: Sequence[AnnotatedVideo], truth: Location, propagator: LabelPropagator
) -> SequenceProbe:
    """Carry the first mask of each video through it and score the others against `truth`.

    Raises `UserError` for a video that cannot be read, and where `evaluate_masks` does.
    """
    reader = MaskFolders(truth)
    with tempfile.TemporaryDirectory() as place:
        last_frames = {
            task.footage.video_id: _label(
                task,
                reader.read(task.footage.video_id, task.anchors[0][1]),
                propagator,
                Path(place),
            )
            for task in tasks
        }
        evaluation = evaluate_masks(truth, Path(place), workers=1, sequences=list(last_frames))
    sequences = tuple(
        ProbedSequence(scores.name, _jf_mean(scores), last_frames[scores.name])
        for scores in evaluation.sequences
    )
    return SequenceProbe(evaluation, sequences)


def _label(
    task: AnnotatedVideo, first: MaskAnnotation, propagator: LabelPropagator, place: Path
) -> np.ndarray:
    """Write the mask of every frame of a video; returns the last frame under its own."""
    picture = np.empty(0)
    for index, (stem, frame) in enumerate(task.footage.frames()):
        mask = first.ids_HW
        if index == 0:
            propagator.start(frame, mask)
        else:
            mask = propagator.step(frame).mask_HW
        write_mask(place / task.footage.video_id / f"{stem}.png", mask)
        picture = overlay(frame, mask)
    return picture


def _jf_mean(scores: SequenceScores) -> float:
    return float(np.mean([(o.j.mean + o.f.mean) / 2 for o in scores.objects.values()]))
