"""The child process that decodes: `python -m pipelines.decode_child`.

It reads one JSON request a line from standard input and answers on standard output with header lines
of JSON, each followed by the raw RGB bytes of the frames that it announces. Nothing is pickled. The
parent (`pipelines/decode.py`) kills it when it hangs; when the parent dies it is killed too.

decord reads the video; PyAV takes over where decord cannot open it, reports timestamps that are no
times (AVI files with packed B-frames, for one) or is known to repeat frames (MPEG streams).
"""

import ctypes
import json
import os
import re
import resource
import signal
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from pipelines.sampling import StreamSampler, sample_indices

_PR_SET_PDEATHSIG = 1
_LONGEST_S = 7 * 24 * 3600.0
# "[12:34:56] /build/path/file.cc:292: " differs from run to run and says nothing to a user.
_NATIVE_PREFIX = re.compile(r"(\[\d\d:\d\d:\d\d\] )?\S+\.(cc|h):\d+: |\[\d\d:\d\d:\d\d\] ")


@dataclass(frozen=True)
class Request:
    """One video to read."""

    path: str
    fps_hz: float
    size_px: int
    max_frames: int | None
    chunk_frames: int


@dataclass(frozen=True)
class Chunk:
    """Some sampled frames in order."""

    timestamps_s: list[float]
    frames_NHW3: np.ndarray


class Unreadable(Exception):
    """The video cannot be decoded; `kind` is the word that `errors.parquet` uses."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


def decord_chunks(request: Request) -> Iterator[Chunk]:
    """Sampled frames through decord (one thread, resized inside the decoder)."""
    if is_mpeg_stream(request.path):
        raise Unreadable("unreadable", "decord repeats frames of MPEG streams")
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
        yield Chunk(np.round(starts_s[part] - starts_s[0], 6).tolist(), frames)


def is_mpeg_stream(path: str) -> bool:
    """Whether the file is an MPEG transport or program stream. These have no index; decord seeks
    past key frames in them and fills in the nearest frames it has without reporting an error."""
    with Path(path).open("rb") as file:
        head = file.read(197)
    if head.startswith(b"\0\0\1\xba"):
        return True
    # Packets of 188 bytes begin with a sync byte; in M2TS a four-byte time stands before each.
    return any(head[at : at + 1] == head[at + 188 : at + 189] == b"\x47" for at in (0, 4))


def pyav_chunks(request: Request) -> Iterator[Chunk]:
    """Sampled frames through PyAV: slower, reads what decord does not."""
    import av

    with av.open(request.path) as container:
        if not container.streams.video:
            raise Unreadable("no_video_stream", "the file holds no video stream")
        stream = container.streams.video[0]
        # AVI stores no presentation times, and what the demuxer makes up is wrong around B-frames.
        # The decoder hands out frames in presentation order with the decoding times in order.
        only_dts = container.format.name == "avi"
        sampler = StreamSampler(request.fps_hz)
        first_s: float | None = None
        times: list[float] = []
        frames: list[np.ndarray] = []
        emitted = 0
        for frame in container.decode(stream):
            stamp = frame.dts if only_dts else frame.pts
            if stamp is None or frame.time_base is None:
                continue
            time_s = float(stamp * frame.time_base)
            first_s = time_s if first_s is None else first_s
            if not sampler.keep(time_s):
                continue
            image = frame.reformat(request.size_px, request.size_px, format="rgb24").to_ndarray()
            turns = round(frame.rotation / 90) % 4
            frames.append(np.ascontiguousarray(np.rot90(image, turns)))
            times.append(round(time_s - first_s, 6))
            emitted += 1
            if len(frames) == request.chunk_frames or emitted == request.max_frames:
                yield Chunk(times, np.stack(frames))
                times, frames = [], []
            if emitted == request.max_frames:
                break
        if frames:
            yield Chunk(times, np.stack(frames))
        if emitted == 0:
            raise Unreadable("no_video_stream", "no frame could be decoded")


def chunks(request: Request) -> Iterator[Chunk]:
    """decord, or PyAV from the start where decord fails before its first frame."""
    source = decord_chunks(request)
    try:
        first = next(source, None)
    except MemoryError:
        raise
    except Exception as decord_error:
        try:
            yield from pyav_chunks(request)
        except MemoryError:
            raise
        except Unreadable:
            raise
        except Exception as pyav_error:
            raise Unreadable(
                "unreadable", f"decord: {one_line(decord_error)}; PyAV: {one_line(pyav_error)}"
            ) from pyav_error
        return
    if first is None:
        raise Unreadable("no_video_stream", "no frame could be decoded")
    yield first
    yield from source


def one_line(error: BaseException) -> str:
    """The telling line of an error, without the native stack below it."""
    text = _NATIVE_PREFIX.sub("", str(error))
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return (lines[0] if lines else type(error).__name__)[:300]


def send(out: BinaryIO, header: dict[str, Any], payload: np.ndarray | None = None) -> None:
    """One header line, then the payload's bytes."""
    out.write(json.dumps(header).encode() + b"\n")
    if payload is not None:
        out.write(np.ascontiguousarray(payload).data.cast("B"))
    out.flush()


def answer(request: Request, out: BinaryIO) -> None:
    """Decode one video and send its chunks, an end mark or an error."""
    sent = 0
    try:
        for chunk in chunks(request):
            sent += len(chunk.timestamps_s)
            send(out, {"timestamps_s": chunk.timestamps_s}, chunk.frames_NHW3)
    except MemoryError:
        send(out, {"error": "out_of_memory", "message": "the decoder asked for too much memory"})
    except Unreadable as error:
        send(out, {"error": error.kind, "message": str(error)})
    except Exception as error:
        kind = "truncated" if sent else "unreadable"
        send(out, {"error": kind, "message": f"after {sent} frames: {one_line(error)}"})
    else:
        send(out, {"end": True})


def main() -> None:
    """Serve requests until standard input closes."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    memory_mb = int(sys.argv[1])
    resource.setrlimit(resource.RLIMIT_AS, (memory_mb << 20, memory_mb << 20))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    # Native libraries may print: keep the real standard output for the protocol alone.
    out = os.fdopen(os.dup(1), "wb", buffering=1 << 16)
    os.dup2(2, 1)
    for line in sys.stdin:
        answer(Request(**json.loads(line)), out)


if __name__ == "__main__":
    main()
