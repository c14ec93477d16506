"""The frames of an archive that most need a person."""

from dataclasses import dataclass

import numpy as np

from model.confidence.flags import FLAGS
from model.errors import UserError
from pipelines.review.archive import ReviewedArchive
from pipelines.review.next_frame import NextFrame
from pipelines.review.reviewed import ReviewedVideo


@dataclass(frozen=True)
class NeededFrame:
    """A frame that somebody should correct."""

    video_id: str
    frame: str
    """Its name."""
    index: int
    """Its place in the video, from 0 on."""
    expected_help: float
    """Labels (an object in a frame) that are expected to turn from wrong to right."""
    begin: int
    end: int
    """[begin, end): the frames whose labels will change."""
    confidence: float
    """The lowest of any object in this frame."""
    reason: str


def most_needed(archive: ReviewedArchive, most: int, per_video: int) -> tuple[NeededFrame, ...]:
    """At most `most` frames, and `per_video` of one video, the most helpful first.

    Each frame of a video counts as corrected when the next one is chosen. Raises `UserError` when no
    confidence was computed.
    """
    if archive.videos and not any(np.isfinite(v.confidence_OT).any() for v in archive.videos):
        raise UserError(
            f"{archive.out}: its predictions have no confidence, so no frame stands out"
        )
    found = [
        _needed(video, frame)
        for video in archive.videos
        for frame in archive.next_frames(video, per_video)
    ]
    found.sort(key=lambda needed: -needed.expected_help)
    return tuple(found[:most])


def _needed(video: ReviewedVideo, frame: NextFrame) -> NeededFrame:
    return NeededFrame(
        video_id=video.video_id,
        frame=video.frames[frame.index],
        index=frame.index,
        expected_help=round(frame.help, 1),
        begin=frame.begin,
        end=frame.end,
        confidence=round(float(video.least_confidence[frame.index]), 3),
        reason=_reason(video, frame),
    )


def _reason(video: ReviewedVideo, frame: NextFrame) -> str:
    """What is wrong with which object here, or how low its confidence falls in what follows."""
    parts = []
    for row, object_id in enumerate(video.object_ids):
        bits = int(video.bits_OT[row, frame.index])
        if bits:
            flags = [name for bit, name in enumerate(FLAGS) if bits & (1 << bit)]
            confidence = video.confidence_OT[row, frame.index]
            known = "" if np.isnan(confidence) else f", confidence {confidence:.2f}"
            parts.append(f"{video.label(object_id)}: {', '.join(flags) or 'not sure'}{known}")
    if not parts:
        lowest = float(np.nanmin(video.confidence_OT[:, frame.begin : frame.end]))
        parts.append(f"confidence falls to {lowest:.2f} by {video.frames[frame.end - 1]}")
    return "; ".join(parts)
