"""Labels over an archive: every video's first mask carried through its frames, as Ray Data stages.

A video is the unit of commit and resume (`pipelines/propagation_folder.py`). A video that fails is a row
of `errors.parquet`.
"""

import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import cv2
import numpy as np
import pyarrow as pa
import ray
import torch

from model.errors import UserError
from model.propagation.protocols import MatchingProtocol
from pipelines.footage import Footage, find_footage
from pipelines.labels.davis import read_mask, write_mask
from pipelines.labels.layout import mask_files
from pipelines.models import ModelSpec, build_propagator
from pipelines.pictures import overlay
from pipelines.propagation_folder import finished_videos, prepare_propagation, video_output
from pipelines.s3 import StorageError
from pipelines.shards import ERROR_SCHEMA, VideoError
from pipelines.storage import Location, fingerprint, write_json, write_table
from pipelines.video import write_h264


@dataclass(frozen=True)
class PropagationTask:
    """One video to label."""

    footage: Footage
    mask: Location
    """The mask of its first frame."""


@dataclass(frozen=True)
class ArchiveConfig:
    """What decides the masks."""

    model: ModelSpec
    protocol: MatchingProtocol
    overlays: bool

    def content(self) -> dict[str, Any]:
        return {
            "model": self.model.describe(),
            "protocol": self.model.describe_protocol(self.protocol),
            "overlays": self.overlays,
        }


@dataclass(frozen=True)
class ArchiveSummary:
    """`summary.json` of a propagation."""

    config: dict[str, Any]
    fingerprint: str
    archive: str
    labels: str
    videos: int
    """Videos of the archive, and labels whose video is not there."""
    videos_failed: int
    videos_made: int
    """Videos labelled by this run; the others were there already."""
    frames_made: int
    seconds: float
    frames_per_s: float

    @property
    def error_rate(self) -> float:
        return self.videos_failed / self.videos if self.videos else 0.0


@dataclass(frozen=True)
class Plan:
    """What there is to do."""

    tasks: list[PropagationTask]
    errors: list[VideoError]
    """Videos that cannot be labelled, and labels whose video is not there."""
    items: int
    """All of both."""


def plan(archive: Location, labels: Location) -> Plan:
    """Pair videos with their first masks.

    A video without labels, or labels without a video, is an error row. Raises `UserError` naming the
    file for a mask whose size differs from its frame, and when nothing pairs.
    """
    masks = mask_files(labels)
    footage = {item.video_id: item for item in find_footage(archive)}
    errors = [
        VideoError(name, str(labels), "no_video", "labels for a video that is not there", 1)
        for name in sorted(masks.keys() - footage.keys())
        if masks[name]
    ]
    tasks: list[PropagationTask] = []
    for name, item in footage.items():
        stems = masks.get(name, {})
        if not stems:
            errors.append(VideoError(name, str(item.path), "no_labels", "no mask for it", 1))
            continue
        try:
            first, size = item.first_frame()
        except UserError as error:
            errors.append(VideoError(name, str(item.path), "unreadable", str(error), 1))
            continue
        if first not in stems:
            message = f"its masks begin at {next(iter(stems))}, its frames at {first}"
            errors.append(VideoError(name, str(item.path), "no_first_mask", message, 1))
            continue
        mask = read_mask(stems[first])
        if mask.shape != size:
            raise UserError(
                f"{stems[first]}: {mask.shape[1]}x{mask.shape[0]} px, "
                f"its frame in {item.path} is {size[1]}x{size[0]} px"
            )
        tasks.append(PropagationTask(item, stems[first]))
    if not tasks:
        raise UserError(f"{labels}: no mask belongs to the first frame of a video in {archive}")
    return Plan(tasks, errors, len(tasks) + len(errors))


def propagate_archive(
    archive: Location,
    labels: Location,
    out: Location,
    config: ArchiveConfig,
    *,
    workers: int,
    overwrite: bool = False,
    progress: Callable[[str, int, int, str], None] = lambda *_: None,
) -> ArchiveSummary:
    """Label every video that has a first mask. Ray must be connected.

    Raises `UserError` for input that cannot work, and for an output folder that was made with
    another configuration.
    """
    started_s = time.monotonic()
    planned = plan(archive, labels)
    tasks, errors = planned.tasks, list(planned.errors)
    prepare_propagation(out, config.content(), overwrite)
    finished = finished_videos(out)
    pending = [task for task in tasks if task.footage.video_id not in finished]
    pending.sort(
        key=lambda task: -task.footage.bytes
    )  # longest first, so that none is left to the end
    made = frames = 0
    if pending:
        dataset = ray.data.from_items(
            [{"task": i} for i in range(len(pending))], override_num_blocks=len(pending)
        ).map(
            VideoLabeller,  # type: ignore[arg-type]  # Ray takes classes too
            fn_constructor_args=(config, pending, out, workers),
            compute=ray.data.ActorPoolStrategy(
                size=min(workers, len(pending)), max_tasks_in_flight_per_actor=1
            ),
            num_cpus=1,
            num_gpus=_gpus_per_worker(workers),
        )
        for done, row in enumerate(dataset.iter_rows(), start=len(tasks) - len(pending) + 1):
            if row["kind"]:
                errors.append(
                    VideoError(row["video_id"], row["uri"], row["kind"], row["message"], 1)
                )
            else:
                made += 1
                frames += row["frames"]
            rate = frames / (time.monotonic() - started_s)
            progress("propagate", done, len(tasks), f"{rate:.1f} frames/s")
    rows = [asdict(error) for error in sorted(errors, key=lambda error: error.video_id)]
    write_table(out / "errors.parquet", pa.Table.from_pylist(rows, schema=ERROR_SCHEMA))
    seconds = time.monotonic() - started_s
    summary = ArchiveSummary(
        config=config.content(),
        fingerprint=fingerprint(config.content()),
        archive=str(archive),
        labels=str(labels),
        videos=planned.items,
        videos_failed=len(errors),
        videos_made=made,
        frames_made=frames,
        seconds=round(seconds, 3),
        frames_per_s=round(frames / seconds, 3),
    )
    write_json(out / "summary.json", asdict(summary))
    return summary


def _gpus_per_worker(workers: int) -> float:
    gpus = float(ray.cluster_resources().get("GPU", 0)) if torch.cuda.is_available() else 0.0
    return min(1.0, gpus / workers)


class VideoLabeller:
    """Ray Data stage: the index of a task -> what became of it."""

    def __init__(
        self, config: ArchiveConfig, tasks: Sequence[PropagationTask], out: Location, workers: int
    ) -> None:
        self._config = config
        self._tasks = tasks
        self._out = out
        on_gpu = torch.cuda.is_available() and bool(ray.get_gpu_ids())
        if not on_gpu:
            torch.set_num_threads(max(1, len(os.sched_getaffinity(0)) // workers))
        cv2.setNumThreads(1)
        device = "cuda" if on_gpu else "cpu"
        self._propagator = build_propagator(config.model, config.protocol, device)

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        task = self._tasks[int(row["task"])]
        result: dict[str, Any] = {
            "video_id": task.footage.video_id,
            "uri": str(task.footage.path),
            "frames": 0,
            "kind": "",
            "message": "",
        }
        try:
            result["frames"] = self._label(task)
        except UserError as error:
            result |= {"kind": "unusable", "message": str(error)}
        except (OSError, StorageError) as error:
            result |= {"kind": "storage", "message": str(error)}
        except Exception as error:  # one video must not cost the others
            result |= {"kind": "internal", "message": f"{type(error).__name__}: {error}"}
        return result

    def _label(self, task: PropagationTask) -> int:
        """Write masks and overlay of one video; returns its number of frames."""
        frames = 0

        def labelled() -> Iterator[np.ndarray]:
            nonlocal frames
            for name, frame in task.footage.frames():
                if frames == 0:
                    mask = read_mask(task.mask)
                    self._propagator.start(frame, mask)
                else:
                    mask = self._propagator.step(frame).mask_HW
                write_mask(output.masks / f"{name}.png", mask)
                frames += 1
                yield overlay(frame, mask)

        with video_output(self._out, task.footage.video_id) as output:
            if self._config.overlays:
                write_h264(output.film, labelled(), task.footage.fps_hz())
            else:
                for _ in labelled():
                    pass
        return frames
