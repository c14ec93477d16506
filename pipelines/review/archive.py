"""A labelled archive as a whole: all its videos, and what failed."""

from dataclasses import dataclass
from typing import Any

import pyarrow.parquet as pq

from model.errors import UserError
from pipelines.propagation_folder import LABEL_FOLDERS
from pipelines.review.next_frame import NextFrame, next_frames
from pipelines.review.reviewed import (
    FailedVideo,
    ReviewedVideo,
    prediction_files,
    reviewed_videos,
)
from pipelines.storage import Location, parquet_source, read_json


@dataclass(frozen=True)
class ReviewedArchive:
    """What `huetrack propagate` left in its output folder, for a reviewer."""

    out: Location
    summary: dict[str, Any]
    videos: tuple[ReviewedVideo, ...]
    failed: tuple[FailedVideo, ...]

    @property
    def both_ways(self) -> bool:
        """Whether labels were carried backwards too."""
        return bool(self.summary["config"].get("direction") == "both")

    def next_frames(self, video: ReviewedVideo, most: int) -> tuple[NextFrame, ...]:
        """The frames of a video to annotate, the most helpful first."""
        return next_frames(video, self.both_ways, most)


def review_of(out: Location) -> ReviewedArchive:
    """Raises `UserError` when the folder holds no propagation, or none with predictions."""
    summary = propagation_of(out)
    files = prediction_files(out)
    if not files and any((out / name).is_dir() for name in LABEL_FOLDERS):
        raise UserError(
            f"{out}: holds no predictions/*.parquet; propagate again, with --overwrite or to another "
            "folder"
        )
    videos = tuple(reviewed_videos(files))
    return ReviewedArchive(out, summary, videos, _failed(out))


def propagation_of(out: Location) -> dict[str, Any]:
    """`summary.json` of a finished propagation. Raises `UserError`."""
    summary: dict[str, Any] = read_json(out / "summary.json")
    if "fingerprint" not in summary or "protocol" not in summary.get("config", {}):
        raise UserError(f"{out}: holds no finished propagation")
    return summary


def _failed(out: Location) -> tuple[FailedVideo, ...]:
    path = out / "errors.parquet"
    if not path.is_file():
        return ()
    rows = pq.read_table(parquet_source(path)).to_pylist()
    return tuple(FailedVideo(row["video_id"], row["kind"], row["message"]) for row in rows)
