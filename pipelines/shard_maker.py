"""The Ray Data stage that makes shards: decode, targets, JPEG, Parquet, commit.

A video either enters the dataset whole or is a row of `errors.parquet`.
"""

import time
import traceback
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from model.errors import UserError
from pipelines.codebook import Codebook
from pipelines.corpus import Video
from pipelines.decode import DecodeConfig, DecodeError, Decoder, peak_rss_bytes
from pipelines.shards import (
    Clip,
    ClipFormat,
    Marker,
    ShardWriter,
    VideoError,
    clip_schema,
    marker_path,
    shard_name,
    write_marker,
)
from pipelines.storage import write_atomically
from pipelines.targets import colour_codes, pack_one_hot


@dataclass(frozen=True)
class ShardConfig:
    """How clips are cut and stored."""

    clip_frames: int = 4
    """Frames in a clip: three references and a target."""
    jpeg_quality: int = 90
    """Quality of the stored frames, 1 to 100."""
    videos_per_shard: int = 16
    """Videos in a shard, the unit of commit and resume (about 11 MB for ten-second videos)."""

    def __post_init__(self) -> None:
        if self.clip_frames < 2:
            raise UserError(f"clip_frames must be at least 2, not {self.clip_frames}")
        if not 1 <= self.jpeg_quality <= 100:
            raise UserError(f"jpeg_quality must lie in 1..100, not {self.jpeg_quality}")
        if self.videos_per_shard < 1:
            raise UserError("videos_per_shard must be at least 1")


@dataclass(frozen=True)
class ShardPlan:
    """Which videos go into a shard."""

    index: int
    videos: list[Video]

    @property
    def name(self) -> str:
        return shard_name(self.index)


def plan_shards(videos: Sequence[Video], videos_per_shard: int) -> list[ShardPlan]:
    """Consecutive videos of the manifest, so that shards depend on nothing else."""
    starts = range(0, len(videos), videos_per_shard)
    return [ShardPlan(i, list(videos[s : s + videos_per_shard])) for i, s in enumerate(starts)]


class _LateFailure(Exception):
    """A video failed after some of its clips were flushed: the shard starts again without it."""


class ShardMaker:
    """Ray Data stage: the row of a `ShardPlan` -> the row of what was committed."""

    def __init__(
        self,
        decode: DecodeConfig,
        config: ShardConfig,
        codebook: Codebook,
        folder: str,
        fingerprint: str,
    ) -> None:
        cv2.setNumThreads(1)
        self._decoder = Decoder(decode)
        self._config = config
        self._folder = Path(folder)
        self._fingerprint = fingerprint
        self._format = ClipFormat(config.clip_frames, decode.size_px, len(codebook.centroids))
        self._centroids_K2 = codebook.centroids_K2
        self._schema = clip_schema(self._format, codebook.fingerprint)

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        plan = ShardPlan(int(row["index"]), [Video(**video) for video in row["videos"]])
        started_s = time.monotonic()
        shard = self._folder / plan.name
        marker_path(shard).unlink(missing_ok=True)
        failures: dict[str, VideoError] = {}
        rows = 0

        def write(temporary: Path) -> None:
            nonlocal rows
            while True:
                try:
                    rows = self._write(temporary, plan, failures)
                    return
                except _LateFailure:
                    continue

        write_atomically(shard, write)
        errors = sorted(failures.values(), key=lambda error: error.video_id)
        write_marker(
            Marker(
                shard=plan.name,
                rows=rows,
                bytes=shard.stat().st_size,
                frames=rows * self._format.frames,
                videos=len(plan.videos),
                seconds=round(time.monotonic() - started_s, 3),
                errors=dict(sorted(Counter(error.kind for error in errors).items())),
                error_rows=errors,
                fingerprint=self._fingerprint,
                peak_rss_mb=(peak_rss_bytes("self") + self._decoder.peak_rss_bytes()) >> 20,
            ),
            shard,
        )
        return {"shard": plan.name}

    def _write(self, path: Path, plan: ShardPlan, failures: dict[str, VideoError]) -> int:
        writer = ShardWriter(path, self._schema)
        try:
            for video in plan.videos:
                if video.video_id in failures:
                    continue
                before = writer.total_rows
                try:
                    for clip in self._clips(video):
                        writer.add(clip)
                except DecodeError as error:
                    failures[video.video_id] = VideoError(
                        video.video_id, video.uri, error.kind, error.message, attempts=1
                    )
                    if writer.flushed_rows > before:
                        raise _LateFailure from error
                    writer.drop_waiting(before)
        finally:
            writer.close()
        return writer.rows

    def _clips(self, video: Video) -> Iterator[Clip]:
        """Consecutive clips that share no frame. Raises `DecodeError`, also for a short video."""
        if not Path(video.uri).is_file():
            raise DecodeError("missing", "the file does not exist")
        if video.bytes == 0:
            raise DecodeError("empty", "the file is empty")
        length = self._config.clip_frames
        times: list[float] = []
        jpegs: list[bytes] = []
        codes: list[np.ndarray] = []
        clips = frames = 0
        try:
            for chunk in self._decoder.chunks(Path(video.uri)):
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
