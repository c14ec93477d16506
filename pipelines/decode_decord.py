"""Sampled frames through decord."""

import sys
from collections.abc import Iterator

import av
import numpy as np

from pipelines.decode_protocol import RawChunk, Request, Unreadable
from pipelines.sampling import sample_indices

_LONGEST_S = 7 * 24 * 3600.0


def decord_chunks(request: Request) -> Iterator[RawChunk]:
    """One thread, resized inside the decoder.

    Raises `Unreadable` where decord is known to be wrong: MPEG streams, MPEG-4 Part 2 (with B-frames
    it is a few frames off), and timestamps that are no times.
    """
    _refuse_known_errors(request.path)
    # decord2 loads every CUDA library that pip installed (500 MB a process); decoding here is on the
    # CPU, so it is told that there are none.
    sys.modules.setdefault("nvidia", None)  # type: ignore[arg-type]
    import decord

    reader = decord.VideoReader(
        request.path,
        ctx=decord.cpu(0),
        width=request.size_px,
        height=request.size_px,
        num_threads=1,
    )
    if len(reader) == 0:
        raise Unreadable("no_video_stream", "the container reports no frames")
    starts_s = reader.get_frame_timestamp(range(len(reader)))[:, 0].astype(np.float64)
    if not np.isfinite(starts_s).all() or np.ptp(starts_s) > _LONGEST_S:
        raise Unreadable("unreadable", "decord reports impossible timestamps")
    if (np.diff(starts_s) < 0).any():
        raise Unreadable("unreadable", "decord reports timestamps that run backwards")
    if len(reader) > 2 and starts_s[-1] == starts_s[0]:
        raise Unreadable("unreadable", "decord reports the same timestamp for every frame")
    indices = sample_indices(starts_s, request.fps_hz)[: request.max_frames]
    for begin in range(0, len(indices), request.chunk_frames):
        part = indices[begin : begin + request.chunk_frames]
        frames = reader.get_batch(part).asnumpy()
        times_s = np.round(starts_s[part] - starts_s[0], 6).tolist()
        yield RawChunk(times_s, "rgb24", frames)


def _refuse_known_errors(path: str) -> None:
    """Videos of which decord hands out wrong frames without a word."""
    with av.open(f"file:{path}") as container:
        if container.format.name in ("mpegts", "mpeg"):  # no index, so it seeks to other frames
            raise Unreadable("unreadable", "decord repeats frames of MPEG streams")
        if any(stream.codec.name == "mpeg4" for stream in container.streams.video):
            raise Unreadable("unreadable", "decord mixes up the frames of MPEG-4 Part 2")
