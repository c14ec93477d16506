"""The Ray Data stage that makes shards: decode, targets, JPEG, Parquet, commit.

A video either enters the dataset whole or is a row of `errors.parquet`.
"""

import os
import time
import traceback
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow.compute as pc

from model.errors import UserError
from pipelines.codebook import Codebook
from pipelines.columns import values_of
from pipelines.decode import DecodeConfig, DecodeError, Decoder, peak_rss_bytes
from pipelines.fetch import Fetcher
from pipelines.manifest import Manifest, ManifestFile, Video, archive_of
from pipelines.s3 import StorageError
from pipelines.shards import (
    Clip,
    ClipFormat,
    Marker,
    ShardWriter,
    VideoError,
    clip_schema,
    marker_to_json,
    read_marker,
    shard_name,
    write_marker,
)
from pipelines.storage import Location, write_atomically
from pipelines.targets import colour_codes, pack_one_hot

PASSING_KINDS = frozenset({"crashed", "storage"})
"""Failures that another try may not meet. (A video that hangs or asks for too much memory does so
again; `--retry-errors` tries those, with other limits perhaps.)"""


@dataclass(frozen=True)
class ShardConfig:
    """How clips are cut and stored."""

    clip_frames: int = 4
    """Frames in a clip: three references and a target."""
    jpeg_quality: int = 90
    """Quality of the stored frames, 1 to 100."""
    attempts: int = 3
    """Tries of a video whose failure may pass: its decoder was killed, or its storage failed."""
    videos_per_shard: int = 16
    """Videos in a shard, the unit of commit and resume (about 11 MB for ten-second videos)."""

    def __post_init__(self) -> None:
        if self.clip_frames < 2:
            raise UserError(f"clip_frames must be at least 2, not {self.clip_frames}")
        if not 1 <= self.jpeg_quality <= 100:
            raise UserError(f"jpeg_quality must lie in 1..100, not {self.jpeg_quality}")
        if min(self.videos_per_shard, self.attempts) < 1:
            raise UserError("videos_per_shard and attempts must be at least 1")


@dataclass(frozen=True, slots=True)
class ShardPlan:
    """Which videos go into a shard."""

    index: int
    start: int
    """Row of the manifest that holds its first video."""
    stop: int
    """The row after its last video."""
    archive: str | None
    """The archive that holds the videos."""

    @property
    def name(self) -> str:
        return shard_name(self.index)


def plan_shards(videos: Iterable[Video], videos_per_shard: int) -> list[ShardPlan]:
    """Consecutive videos of the manifest, so that shards depend on nothing else. No shard takes from
    two archives, or from an archive and from files."""
    uris = Manifest.of(videos).table["uri"]
    runs: list[tuple[str | None, int]] = [(None, len(uris))]
    if pc.any(pc.starts_with(uris, "tar://")).as_py():
        archives = groupby(map(archive_of, values_of(uris)))
        runs = [(archive, sum(1 for _ in run)) for archive, run in archives]
    plans: list[ShardPlan] = []
    start = 0
    for archive, length in runs:
        end = start + length
        while start < end:
            stop = min(start + videos_per_shard, end)
            plans.append(ShardPlan(len(plans), start, stop, archive))
            start = stop
    return plans


class _LateFailure(Exception):
    """A video failed after some of its clips were flushed: the shard starts again."""


class ShardMaker:
    """Ray Data stage: plans whose videos are fetched in a row -> for each what was committed."""

    def __init__(
        self,
        decode: DecodeConfig,
        config: ShardConfig,
        codebook: Codebook,
        manifest: Location,
        folder: Location,
        fingerprint: str,
    ) -> None:
        cv2.setNumThreads(1)
        self._decoder = Decoder(decode)
        self._fetcher = Fetcher()
        self._manifest = ManifestFile(manifest)
        self._config = config
        self._folder = folder
        self._fingerprint = fingerprint
        self._format = ClipFormat(config.clip_frames, decode.size_px, len(codebook.centroids))
        self._centroids_K2 = codebook.centroids_K2
        self._schema = clip_schema(self._format, codebook.fingerprint)

    def __call__(self, row: dict[str, Any]) -> Iterator[dict[str, Any]]:
        """Column `failed` says why a shard could not be stored; it is empty when all is well, and `marker`
        is the shard's marker."""
        for record in row["plans"]:
            plan = ShardPlan(**record)
            try:
                marker = self._made_before(plan) or self._make(plan)
            except StorageError as error:
                yield {"failed": str(error), "marker": ""}
                return
            except OSError as error:  # a full disk, for one
                cause = os.strerror(error.errno) if error.errno else str(error)
                where = f"{self._folder / plan.name}: {cause}"
                yield {"failed": where, "marker": ""}
                return
            yield {"failed": "", "marker": marker_to_json(marker)}

    def _made_before(self, plan: ShardPlan) -> Marker | None:
        """Of a shard that was committed before this task's worker died, and the task began anew."""
        marker = read_marker(self._folder / plan.name)
        return marker if marker is not None and marker.fingerprint == self._fingerprint else None

    def _make(self, plan: ShardPlan) -> Marker:
        started_s = time.monotonic()
        videos = self._manifest.videos(plan.start, plan.stop)
        shard = self._folder / plan.name
        failures: dict[str, VideoError] = {}
        tries: Counter[str] = Counter()
        rows = 0

        def write(temporary: Path) -> None:
            nonlocal rows
            while True:
                try:
                    rows = self._write(temporary, videos, failures, tries)
                    return
                except _LateFailure:
                    continue

        size = write_atomically(shard, write)
        errors = sorted(failures.values(), key=lambda error: error.video_id)
        marker = Marker(
            shard=plan.name,
            rows=rows,
            bytes=size,
            frames=rows * self._format.frames,
            videos=len(videos),
            seconds=round(time.monotonic() - started_s, 3),
            errors=dict(sorted(Counter(error.kind for error in errors).items())),
            error_rows=errors,
            fingerprint=self._fingerprint,
            peak_rss_mb=(peak_rss_bytes("self") + self._decoder.peak_rss_bytes()) >> 20,
        )
        write_marker(marker, shard)
        return marker

    def _write(
        self, path: Path, videos: Manifest, failures: dict[str, VideoError], tries: Counter[str]
    ) -> int:
        """Rows written. Adds to `failures` and to the failed `tries` by video id."""
        writer = ShardWriter(path, self._schema)
        try:
            for video in videos:
                added = False
                while not added and video.video_id not in failures:
                    before = writer.total_rows
                    try:
                        for clip in self._clips(video):
                            writer.add(clip)
                        added = True
                    except DecodeError as error:
                        tries[video.video_id] += 1
                        passing = error.kind in PASSING_KINDS
                        if not passing or tries[video.video_id] >= self._config.attempts:
                            failures[video.video_id] = VideoError(
                                video.video_id,
                                video.uri,
                                error.kind,
                                error.message,
                                tries[video.video_id],
                            )
                        if writer.flushed_rows > before:
                            raise _LateFailure from error
                        writer.drop_waiting(before)
        finally:
            writer.close()
        return writer.rows

    def _clips(self, video: Video) -> Iterator[Clip]:
        """Consecutive clips that share no frame. Raises `DecodeError`, also for a short video."""
        length = self._config.clip_frames
        times: list[float] = []
        jpegs: list[bytes] = []
        codes: list[np.ndarray] = []
        clips = frames = 0
        try:
            with self._fetcher.local(video) as path:
                for chunk in self._decoder.chunks(path):
                    for time_s, frame in zip(chunk.timestamps_s, chunk.frames_NHW3, strict=True):
                        frames += 1
                        times.append(time_s)
                        jpegs.append(self._jpeg(frame))
                        codes.append(colour_codes(frame, self._centroids_K2))
                        if len(times) == length:
                            target = pack_one_hot(np.stack(codes), self._format.clusters)
                            clip_id = f"{video.video_id}/{clips:05d}"
                            yield Clip(clip_id, video.video_id, times, jpegs, target)
                            times, jpegs, codes = [], [], []
                            clips += 1
        except (DecodeError, GeneratorExit):
            raise
        except Exception as error:  # a bug must not cost the other videos of the shard
            where = traceback.extract_tb(error.__traceback__)[-1]
            message = (
                f"{type(error).__name__}: {error} ({Path(where.filename).name}:{where.lineno})"
            )
            raise DecodeError("internal", message) from error
        if clips == 0:
            raise DecodeError("too_short", f"{frames} sampled frames, a clip needs {length}")

    def _jpeg(self, frame_HW3: np.ndarray) -> bytes:
        bgr = cv2.cvtColor(frame_HW3, cv2.COLOR_RGB2BGR)
        ok, data = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, self._config.jpeg_quality])
        if not ok:
            raise DecodeError("internal", "JPEG encoding failed")
        return bytes(data)
