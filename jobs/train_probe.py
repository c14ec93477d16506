"""A look at a training from outside: pictures of held-out clips, and J&F on annotated videos.

A probe is Ray Train's asynchronous validation of a checkpoint that was handed in: one at a time, while
training goes on. It counts as no CPU for Ray, so that it need not wait for one that training holds, and
runs at the lowest priority of the machine.
"""

import json
import logging
import os
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import cv2
import numpy as np
import ray
import torch
from ray.train import Checkpoint, ValidationConfig

from jobs.probe_options import ProbeConfig
from jobs.tracking import TrackedRun, Tracker
from jobs.train_checkpoint import colorizer_of
from model.colorizer import Colorizer, ColorizerConfig
from model.propagation.encoders import ColorizerEncoder
from model.propagation.engine import Propagator
from model.propagation.matching_protocol import MatchingProtocol
from model.propagation.protocols import get_protocol
from pipelines.archive_plan import AnnotatedVideo, LabelSource, annotated_videos
from pipelines.codebook import load_codebook
from pipelines.evaluation import global_numbers
from pipelines.held_out import HeldOutClip
from pipelines.run_folder import CODEBOOK_FILE, History, read_history
from pipelines.sequence_probe import SequenceProbe, probe_sequences
from pipelines.storage import Location, files_in, write_bytes, write_json
from pipelines.training_pictures import view_clip
from pipelines.training_sheet import Tile, clip_sheet, tile_sheet

PICTURES = "pictures"
_LOWEST_PRIORITY = 19

log = logging.getLogger("huetrack.probe")


@dataclass(frozen=True)
class ProbeSpec:
    """Everything that a look needs to know."""

    clips: Sequence[HeldOutClip]
    run: Location
    model: ColorizerConfig
    probe: ProbeConfig
    tracked: TrackedRun


def check_probe(config: ProbeConfig) -> None:
    """Raises `UserError` when the annotated videos are not there or do not fit their masks."""
    if config.sequences is not None:
        annotated_videos(config.sequences, LabelSource(config.sequences))


def probing(spec: ProbeSpec) -> ValidationConfig:
    """What Ray Train calls with the checkpoints that are reported with `validation=True`."""
    return ValidationConfig(
        fn=partial(_guarded_probe, spec=spec), ray_remote_kwargs={"num_cpus": 0}
    )


def record_probes(run: Location) -> None:
    """Add the scores that probes left to the history of a training that has ended."""
    records = [
        json.loads(file.read_text(encoding="utf-8"))
        for name, file in files_in(run / PICTURES).items()
        if name.endswith(".json")
    ]
    add_scores(run, records)


def add_scores(run: Location, records: Sequence[dict[str, Any]]) -> None:
    """Add records of kind `probe` to a history that no training writes; known ones are left out."""
    probes = [record for record in read_history(run) if record["kind"] == "probe"]
    known = {(record["step"], record["protocol"]) for record in probes}
    history = History(run, sys.maxsize)
    for record in records:
        if (record["step"], record["protocol"]) not in known:
            history.append(record)
    history.flush()


def _guarded_probe(checkpoint: Checkpoint, *, spec: ProbeSpec) -> dict[str, Any]:
    """The probe in a task of its own: should its process die, Ray Train would start the training anew."""
    try:
        ray.get(_probe.remote(checkpoint, spec))
    except ray.exceptions.RayError as error:
        cause = getattr(error, "cause", None) or error
        log.warning("no look at %s: %s: %s", checkpoint.path, type(cause).__name__, cause)
    return {}


@ray.remote(num_cpus=0, max_calls=1, max_retries=0)  # a slow process serves no other
def _probe(checkpoint: Checkpoint, spec: ProbeSpec) -> None:
    os.nice(_LOWEST_PRIORITY)
    # Ray's workers have niceness 15 already, so that 19 alone would leave them two thirds of a core.
    os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
    torch.set_num_threads(spec.probe.threads)
    cv2.setNumThreads(spec.probe.threads)
    colorizer, step = colorizer_of(checkpoint, spec.model)
    look = _Look(spec, colorizer, step)
    look.at_clips()
    if spec.probe.sequences is not None:
        look.at_sequences(spec.probe.sequences)


def scored(
    colorizer: Colorizer,
    step: int,
    videos: Sequence[AnnotatedVideo],
    truth: Location,
    protocol: MatchingProtocol,
) -> tuple[dict[str, Any], SequenceProbe]:
    """Carry the masks of annotated videos; returns the record for the history, and how each came out."""
    started_s = time.monotonic()
    propagator = Propagator(ColorizerEncoder(colorizer, protocol), protocol)
    probe = probe_sequences(videos, truth, propagator)
    numbers = dict(global_numbers(probe.evaluation.summary))
    record = {
        "kind": "probe",
        "step": step,
        "protocol": protocol.name,
        "jf_mean": numbers["J&F-Mean"],
        "j_mean": numbers["J-Mean"],
        "f_mean": numbers["F-Mean"],
        "jf_by_sequence": {s.name: s.jf_mean for s in probe.sequences},
        "seconds": round(time.monotonic() - started_s, 1),
    }
    return record, probe


class _Look:
    """One network, looked at."""

    def __init__(self, spec: ProbeSpec, colorizer: Colorizer, step: int) -> None:
        self._spec = spec
        self._colorizer = colorizer
        self._step = step
        self._tracker = Tracker(spec.tracked)

    def at_clips(self) -> None:
        centroids_K2 = load_codebook(self._spec.run / CODEBOOK_FILE).centroids_K2
        views = [view_clip(clip, self._colorizer, centroids_K2) for clip in self._spec.clips]
        if views:
            self._publish("clips", clip_sheet(views, f"step {self._step:,}"))

    def at_sequences(self, folder: Location) -> None:
        protocol = get_protocol(self._spec.probe.protocol)
        videos = annotated_videos(folder, LabelSource(folder))
        record, probe = scored(self._colorizer, self._step, videos, folder, protocol)
        write_json(self._spec.run / PICTURES / f"{self._name}.json", record)
        means = {f"probe/{k}": record[k] for k in ("jf_mean", "j_mean", "f_mean")}
        self._tracker.metrics(means, self._step)
        tiles = [Tile(s.last_frame_HW3, f"{s.name}: {s.jf_mean:.3f}") for s in probe.sequences]
        title = f"step {self._step:,}, last frames; J&F {record['jf_mean']:.3f} ({protocol.name})"
        self._publish("sequences", tile_sheet(tiles, 3, title))

    @property
    def _name(self) -> str:
        return f"step-{self._step:06d}"

    def _publish(self, kind: str, picture_HW3: np.ndarray) -> None:
        """As a file in the run's folder and as an image in MLflow."""
        _, png = cv2.imencode(".png", cv2.cvtColor(picture_HW3, cv2.COLOR_RGB2BGR))
        file = self._spec.run / PICTURES / f"{self._name}-{kind}.png"
        write_bytes(file, png.tobytes())
        self._tracker.image(picture_HW3, kind, self._step)
