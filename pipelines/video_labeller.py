"""The stage of Ray Data that labels videos: one at a time, frame by frame."""

import contextlib
import os
from collections.abc import Iterator, Mapping, Sequence
from itertools import tee
from typing import Any

import cv2
import numpy as np
import ray
import torch

from model.errors import UserError
from model.propagation.annotations import Annotation
from model.propagation.both_ways import propagate_both_ways
from model.propagation.protocols import MatchingProtocol
from model.propagation.results import PropagationResult
from pipelines.archive_plan import LabelSource, PropagationTask
from pipelines.label_output import format_for, frame_key
from pipelines.labels.codec import Frame, VideoInfo
from pipelines.labels.formats import write_labels
from pipelines.models import ModelSpec, build_encoder, build_propagator
from pipelines.pictures import drawn
from pipelines.propagation_folder import VideoOutput, video_output
from pipelines.s3 import StorageError
from pipelines.storage import Location
from pipelines.video import H264Writer


class VideoLabeller:
    """The index of a task -> what became of it."""

    def __init__(
        self,
        model: ModelSpec,
        protocol: MatchingProtocol,
        labels: LabelSource,
        out_format: str,
        overlays: bool,
        tasks: Sequence[PropagationTask],
        out: Location,
        workers: int,
    ) -> None:
        on_gpu = torch.cuda.is_available() and bool(ray.get_gpu_ids())
        if not on_gpu:
            torch.set_num_threads(max(1, len(os.sched_getaffinity(0)) // workers))
        cv2.setNumThreads(1)
        self._device = "cuda" if on_gpu else "cpu"
        self._protocol = protocol
        if labels.direction == "both":
            self._encoder = build_encoder(model, protocol, self._device)
        else:
            self._propagator = build_propagator(model, protocol, self._device)
        self._both_ways = labels.direction == "both"
        self._reader = labels.open()
        self._out_format = out_format
        self._overlays = overlays
        self._tasks = tasks
        self._out = out

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
        """Write labels and film of one video; returns its number of frames."""
        anchors = task.annotations(self._reader)
        first = next(iter(anchors.values()))[0]
        format_name = format_for(first, self._out_format)
        video_id = task.footage.video_id
        known = self._reader.info(video_id)
        frames = 0

        def carried(film: H264Writer | None) -> Iterator[tuple[Frame, Annotation]]:
            nonlocal frames
            for stem, frame_HW3, result in self._results(task, anchors):
                record = next(each.record for each in result.carried)
                if film is not None:
                    film.write(drawn(frame_HW3, record))
                yield frame_key(format_name, stem, frames), record
                frames += 1

        with video_output(self._out, video_id, format_name) as output:
            info = VideoInfo(
                video_id,
                size_hw=task.footage.first_frame()[1],
                object_names=known.object_names,
                joint_names=known.joint_names,
            )
            with self._film(task, output) as film:
                write_labels(format_name, output.place, info, carried(film))
        return frames

    @contextlib.contextmanager
    def _film(self, task: PropagationTask, output: VideoOutput) -> Iterator[H264Writer | None]:
        if not self._overlays:
            yield None
            return
        with H264Writer(output.film, task.footage.fps_hz()) as film:
            yield film

    def _results(
        self, task: PropagationTask, anchors: Mapping[int, Sequence[Annotation]]
    ) -> Iterator[tuple[str, np.ndarray, PropagationResult]]:
        """Name, picture and labels of every frame. Raises `UserError` for an anchor behind the end."""
        if self._both_ways:
            names, pictures = task.footage.sequence()
            results = propagate_both_ways(
                pictures, anchors, self._encoder, self._protocol, self._device
            )
            for index, result in enumerate(results):
                yield names[index], pictures[index], result
            return
        shown, carried = tee(task.footage.frames())  # a batch is encoded ahead of what is shown
        results = self._propagator.run((picture for _, picture in carried), anchors)
        frames = 0
        for result, (name, picture) in zip(results, shown, strict=True):
            yield name, picture, result
            frames += 1
        if max(anchors) >= frames:
            raise UserError(
                f"{task.footage.path}: frame {max(anchors)} is annotated, it has {frames} frames"
            )
