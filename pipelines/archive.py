"""Labels over an archive: what somebody annotated in each video carried through its frames, as a stage of
Ray Data.

A video is the unit of commit and resume (`pipelines/propagation_folder.py`). A video that fails is a row
of `errors.parquet`.
"""

import time
from dataclasses import asdict, dataclass
from typing import Any, Literal

import pyarrow as pa
import ray
import torch

from model.errors import UserError
from model.propagation.protocols import MatchingProtocol
from pipelines.archive_plan import Direction, LabelSource, plan
from pipelines.labels.formats import known_format
from pipelines.models import WITHOUT_MATCHING, ModelSpec
from pipelines.progress import Meter, Progress
from pipelines.propagation_folder import finished_videos, prepare_propagation
from pipelines.shards import ERROR_SCHEMA, VideoError
from pipelines.storage import Location, fingerprint, write_json, write_table
from pipelines.video_labeller import VideoLabeller


@dataclass(frozen=True)
class ArchiveConfig:
    """What decides the masks."""

    model: ModelSpec
    protocol: MatchingProtocol
    overlays: bool
    anchors: Literal["first", "all"] = "first"
    """Whether the first annotated frame of a video is used, or every one."""
    direction: Direction = "forwards"
    """From an annotated frame on, or to both sides of it."""
    labels_format: str = "auto"
    out_format: str = "auto"

    def __post_init__(self) -> None:
        if self.direction == "both" and self.model.kind in WITHOUT_MATCHING:
            raise UserError(f"--model {self.model.kind} goes forwards only, not --direction both")
        for name in (self.labels_format, self.out_format):
            if name != "auto":
                known_format(name)

    def content(self) -> dict[str, Any]:
        return {
            "model": self.model.describe(),
            "protocol": self.model.describe_protocol(self.protocol),
            "overlays": self.overlays,
            "anchors": self.anchors,
            "direction": self.direction,
            "out_format": self.out_format,
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


def propagate_archive(
    archive: Location,
    labels: Location,
    out: Location,
    config: ArchiveConfig,
    *,
    workers: int,
    overwrite: bool = False,
    progress: Progress = lambda *_: None,
) -> ArchiveSummary:
    """Label every video that has a first mask. Ray must be connected.

    Raises `UserError` for input that cannot work, and for an output folder that was made with
    another configuration.
    """
    started_s = time.monotonic()
    source = LabelSource(labels, config.labels_format, config.anchors, config.direction)
    planned = plan(archive, source)
    tasks, errors = planned.tasks, list(planned.errors)
    prepare_propagation(out, config.content(), overwrite)
    finished = finished_videos(out)
    pending = [task for task in tasks if task.footage.video_id not in finished]
    pending.sort(
        key=lambda task: -task.footage.bytes
    )  # longest first, so that none is left to the end
    made = frames = 0
    meter = Meter()
    if pending:
        dataset = ray.data.from_items(
            [{"task": i} for i in range(len(pending))], override_num_blocks=len(pending)
        ).map(
            VideoLabeller,  # type: ignore[arg-type]  # Ray takes classes too
            fn_constructor_args=(
                config.model,
                config.protocol,
                source,
                config.out_format,
                config.overlays,
                pending,
                out,
                workers,
            ),
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
            failed = [row["kind"]] if row["kind"] else []
            work = meter.add(videos=1, errors=failed, frames=row["frames"])
            progress("propagate", done, len(tasks), work)
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
