"""The stage of Ray Data that labels videos: one at a time, frame by frame."""

import contextlib
import errno
import os
import time
import traceback
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import ray
import torch

from model.confidence.return_check import ReturnCheck
from model.confidence.scorer import ConfidenceModel
from model.errors import UserError
from model.propagation.protocols import MatchingProtocol
from pipelines.archive_plan import LabelSource, UnfitVideo
from pipelines.footage import Footage
from pipelines.labelled_video import Made, VideoMaker, Wanted
from pipelines.models import WITHOUT_MATCHING, ModelSpec, build_encoder, build_propagator
from pipelines.predictions import read_facts
from pipelines.propagation_folder import Attempts, predictions_of
from pipelines.s3 import StorageError
from pipelines.span_carrier import SpanCarrier
from pipelines.storage import Location, location

MOST_ATTEMPTS = 3
"""Of a video whose worker was killed."""
PASSING_KINDS = frozenset({"crashed", "storage", "no_labels", "no_video"})
"""Failures that the next run tries again by itself: what was missing may be there by then."""
_NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS})


@dataclass(frozen=True)
class LabelJob:
    """What every worker is told once."""

    model: ModelSpec
    protocol: MatchingProtocol
    labels: LabelSource
    corrections: LabelSource | None
    wanted: Wanted
    confidence: ConfidenceModel | None
    """None: predictions say nothing of how far they can be trusted."""
    return_check: bool
    """Whether predictions are also carried back to the annotated frame."""
    workers: int


@dataclass(frozen=True)
class LabelledRow:
    """What became of one video: the row that the stage answers with."""

    video_id: str
    uri: str
    state: str = "failed"
    """made, corrected, unchanged or failed."""
    frames: int = 0
    bytes: int = 0
    seconds: float = 0.0
    """That the worker was at it."""
    kind: str = ""
    """Of a failure."""
    message: str = ""
    attempts: int = 1
    fatal: bool = False
    """Whether a disk is full or the worker cannot begin at all, so that going on makes no sense."""


class VideoLabeller:
    """Videos -> what became of them."""

    def __init__(self, job: LabelJob) -> None:
        self._attempts = Attempts(job.wanted.out)
        self._out = job.wanted.out
        self._maker: VideoMaker | None = None
        try:
            self._maker = _maker(job)
        except (UserError, StorageError) as error:  # Ray would bury it in traces of its own
            self._refusal = str(error)

    def __call__(self, row: dict[str, Any]) -> Iterator[dict[str, Any]]:
        for record in row["videos"]:
            started_s = time.monotonic()
            footage = Footage(record["video_id"], location(record["path"]), 0)
            labelled = self._label(footage, bool(record["correct"]))
            yield asdict(replace(labelled, seconds=time.monotonic() - started_s))

    def _label(self, footage: Footage, correct: bool) -> LabelledRow:
        video_id, uri = footage.video_id, str(footage.path)
        if self._maker is None:
            return LabelledRow(video_id, uri, kind="storage", message=self._refusal, fatal=True)
        try:
            attempt = self._attempts.begin(video_id)
            if attempt > MOST_ATTEMPTS:
                message = f"a worker ended {MOST_ATTEMPTS} times while it labelled this video"
                return LabelledRow(
                    video_id, uri, kind="crashed", message=message, attempts=MOST_ATTEMPTS
                )
            made = None if correct else self._committed_before(video_id)
            made = made or self._maker.make(footage, correct=correct)
        except Exception as error:  # one video must not cost the others
            row = _failure(LabelledRow(video_id, uri), error, self._out)
        else:
            row = LabelledRow(video_id, uri, made.state, frames=made.frames, bytes=made.bytes)
        with contextlib.suppress(OSError, StorageError):  # then it counts as one attempt more
            self._attempts.end(video_id)
        return row

    def _committed_before(self, video_id: str) -> Made | None:
        """A video that was finished before this task's worker died, and the task began anew."""
        facts = read_facts(predictions_of(self._out, video_id))
        return None if facts is None else Made("made", facts.video.frames)


def _maker(job: LabelJob) -> VideoMaker:
    """What labels the videos. Raises `UserError` and `StorageError` for a model or labels that are gone."""
    on_gpu = torch.cuda.is_available() and bool(ray.get_gpu_ids())
    if not on_gpu:
        torch.set_num_threads(max(1, len(os.sched_getaffinity(0)) // job.workers))
    cv2.setNumThreads(1)
    device = "cuda" if on_gpu else "cpu"
    matches = job.model.kind not in WITHOUT_MATCHING
    diagnose = job.confidence is not None and matches
    encoder = build_encoder(job.model, job.protocol, device) if matches else None
    carrier = SpanCarrier(
        build_propagator(job.model, job.protocol, device, diagnose=diagnose),
        encoder,
        job.protocol,
        device,
        diagnose=diagnose,
    )
    check = None
    if job.return_check and encoder is not None:
        check = ReturnCheck(encoder, job.protocol, device)
    return VideoMaker(
        carrier,
        (job.labels, job.labels.open()),
        None if job.corrections is None else job.corrections.open(),
        job.wanted,
        job.confidence,
        check,
    )


def _failure(row: LabelledRow, error: Exception, out: Location) -> LabelledRow:
    fatal = False
    match error:
        case UnfitVideo():
            kind, message = error.kind, str(error)
        case UserError():
            kind, message = "unusable", str(error)
        case StorageError():
            kind, message = "storage", str(error)
        case OSError():
            cause = os.strerror(error.errno) if error.errno else str(error)
            # What names no file was being written.
            kind, message = "storage", f"{error.filename or out}: {cause}"
            fatal = error.errno in _NO_ROOM
        case _:
            where = traceback.extract_tb(error.__traceback__)[-1]
            place = f"{Path(where.filename).name}:{where.lineno}"
            kind, message = "internal", f"{type(error).__name__}: {error} ({place})"
    return replace(row, kind=kind, message=message, fatal=fatal)
