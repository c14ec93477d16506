"""A gallery of any number of videos, whose films are a few small ones under many names."""

import os
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from model.confidence.flags import FLAGS
from pipelines.overlay_film import OverlayFilm
from pipelines.report.gallery import GalleryVideo, Heading, write_gallery
from pipelines.review.next_frame import next_frames
from pipelines.review.reviewed import LOW_BIT, LOW_CONFIDENCE, FailedVideo, ReviewedVideo

FRAMES, FPS_HZ = 48, 24.0
LOW, DRIFT, MERGED = range(20, 30), range(27, 30), range(24, 34)
"""Of every third video the frames in which the first object is lost, has drifted too, and in which the second
has merged."""
FLAGGED = 3 + len(range(LOW.start, MERGED.stop))
"""Frames of such a video; in three more the first object has a low confidence."""
OBJECTS = {"one object": 1, "six objects": 6}
"""By name of the video; all others have two."""
CATEGORIES = ("dog", "car", "person")
FAILED = (
    FailedVideo("broken/../x", "unreadable", "moov atom not found"),
    FailedVideo("alone", "no_labels", "none"),
)


def write_archive(out: Path, names: Sequence[str], films: int = 3) -> Path:
    """Films and the page; returns its path. Video k has confidence 1 - k / count at its lowest, and an object
    of category k % 3."""
    overlays = out / "overlays"
    overlays.mkdir(parents=True)
    made = [_film(out / f"film-{index}.mp4", index) for index in range(films)]
    for index, name in enumerate(names):
        for suffix in (".mp4", ".jpg"):
            os.link(made[index % films].with_suffix(suffix), overlays / f"{name}{suffix}")
    videos = (_video(index, name, len(names)) for index, name in enumerate(names))
    shown = (GalleryVideo(video, next_frames(video, False, 3)) for video in videos)
    heading = Heading(f"Labels of {len(names):,} videos", "model and protocol")
    write_gallery(out / "report", heading, shown, FAILED)
    return out / "report" / "index.html"


def _video(index: int, name: str, count: int) -> ReviewedVideo:
    lowest = 1 - (index + 1) / count
    objects = OBJECTS.get(name, 2)
    confidence_OT = np.full((objects, FRAMES), 0.97, np.float32)
    confidence_OT[0, 10:13] = lowest
    bits_OT = np.zeros((objects, FRAMES), np.uint8)
    if index % 3 == 0:
        confidence_OT[0, LOW.start : LOW.stop] = lowest
        for row, flag, frames in ((0, "lost", LOW), (0, "drift", DRIFT), (1, "merged", MERGED)):
            bits_OT[row : row + 1, frames.start : frames.stop] |= 1 << FLAGS.index(flag)
    bits_OT[confidence_OT < LOW_CONFIDENCE] |= LOW_BIT
    return ReviewedVideo(
        name,
        FPS_HZ,
        tuple(f"{frame:05d}" for frame in range(FRAMES)),
        np.arange(FRAMES) == 0,
        tuple(range(1, objects + 1)),
        ("mask",) * objects,
        confidence_OT,
        bits_OT,
        {1: CATEGORIES[index % 3]},
    )


def _film(path: Path, seed: int) -> Path:
    """A coloured plane that moves, 64 x 36."""
    coarse = np.random.default_rng(seed).integers(0, 256, (4, 6, 3)).astype(np.uint8)
    plane = cv2.resize(coarse, (64, 36), interpolation=cv2.INTER_CUBIC)
    with OverlayFilm(path, FPS_HZ) as film:
        for frame in range(FRAMES):
            film.write(np.roll(plane, frame, axis=1), flagged=frame in LOW)
    return path
