"""Decoding that cannot take the job down: a persistent child process with a deadline.

Decoders have been seen to hang in native code that ignores SIGTERM and holds the GIL, so no timeout
inside the process works. The child (`pipelines/decode_child.py`) is killed with SIGKILL when it gives
no sign of progress before the deadline, and replaced for the next video.
"""

import json
import mmap
import os
import select
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType

import cv2
import numpy as np

from model.errors import UserError
from pipelines.decode_protocol import (
    HALVES,
    ChunkHeader,
    DecoderName,
    Request,
    frame_shape,
)


@dataclass(frozen=True)
class DecodeConfig:
    """How videos are read."""

    fps_hz: float = 6.0
    """Frames per second to keep, sampled by timestamp."""
    size_px: int = 256
    """Side of the square to which frames are resized (aspect not kept, as in the paper)."""
    decoder: DecoderName = "auto"
    """auto: PyAV, and decord for containers that PyAV cannot open; decord: the other way round;
    pyav: PyAV alone; dummy: made-up frames, to measure everything but decoding."""
    deadline_s: float = 60.0
    """The decoder is killed after this long without a sign of progress on a video."""
    memory_mb: int = 6144
    """Address space of the decoding process."""

    def __post_init__(self) -> None:
        if self.fps_hz <= 0 or self.deadline_s <= 0:
            raise UserError("fps_hz and deadline_s must be above 0")
        if self.size_px < 8 or self.size_px % 8:
            raise UserError(f"size_px must be a multiple of 8, not {self.size_px}")


@dataclass(frozen=True)
class Chunk:
    """Some sampled frames in order."""

    timestamps_s: list[float]
    """From the video's first frame."""
    frames_NHW3: np.ndarray
    """uint8 RGB."""


class DecodeError(Exception):
    """A video failed. `kind` is the word that goes into `errors.parquet`."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind
        self.message = message


class Decoder:
    """A decoding child process, started at the first request and after every death."""

    CHUNK_FRAMES = 32

    def __init__(self, config: DecodeConfig) -> None:
        self.config = config
        self._process: subprocess.Popen[bytes] | None = None
        self._shared = np.zeros((HALVES, 0), dtype=np.uint8)
        self._unread = b""

    def __enter__(self) -> "Decoder":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Kill the child, if there is one."""
        if self._process is None:
            return
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()
        self._process = None
        self._unread = b""

    def peak_rss_bytes(self) -> int:
        """Largest resident set of the current child."""
        return 0 if self._process is None else peak_rss_bytes(self._process.pid)

    def chunks(self, path: Path, max_frames: int | None = None) -> Iterator[Chunk]:
        """Sampled frames of one video, in order, some at a time.

        Yields `Chunk(timestamps_s, frames_NHW3)` with times from the video's first frame and RGB
        uint8 frames of `size_px` squared. Raises `DecodeError` with kind `unreadable`,
        `no_video_stream`, `truncated`, `timeout`, `crashed` or `out_of_memory`.
        """
        config = self.config
        request = Request(
            str(path),
            config.decoder,
            config.fps_hz,
            config.size_px,
            max_frames,
            self.CHUNK_FRAMES,
        )
        process = self._ready()
        finished = False
        try:
            self._send(process, json.dumps(asdict(request)).encode() + b"\n")
            while True:
                deadline = time.monotonic() + config.deadline_s
                header = json.loads(self._read_line(process, deadline))
                if "error" in header:
                    # A child that ran out of memory once would always seem to have done so.
                    finished = header["error"] != "out_of_memory"
                    raise DecodeError(header["error"], header["message"])
                if "end" in header:
                    finished = True
                    return
                chunk = self._copy(ChunkHeader(**header))
                self._send(process, b"\n")
                yield chunk
        finally:
            if not finished:  # the consumer left early, or the child is in an unknown state
                self.close()

    def _ready(self) -> "subprocess.Popen[bytes]":
        if self._process is not None and self._process.poll() is not None:
            self.close()
        if self._process is None:
            self._start()
        assert self._process is not None
        return self._process

    def _start(self) -> None:
        """A child with memory to share; the kernel frees that when both are gone."""
        root = str(Path(__file__).resolve().parent.parent)
        path = os.pathsep.join(filter(None, (root, os.environ.get("PYTHONPATH"))))
        half = self.CHUNK_FRAMES * self.config.size_px**2 * 3
        descriptor = os.memfd_create("huetrack-frames")
        try:
            os.ftruncate(descriptor, HALVES * half)
            mapped = mmap.mmap(descriptor, HALVES * half)
            self._shared = np.frombuffer(mapped, dtype=np.uint8).reshape(HALVES, half)
            command = [sys.executable, "-m", "pipelines.decode_child"]
            self._process = subprocess.Popen(
                [*command, str(self.config.memory_mb), str(descriptor)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env={**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"},
                bufsize=0,
                pass_fds=[descriptor],
            )
        finally:
            os.close(descriptor)

    def _send(self, process: "subprocess.Popen[bytes]", line: bytes) -> None:
        assert process.stdin is not None
        try:
            process.stdin.write(line)
        except BrokenPipeError:
            raise self._death(process) from None

    def _death(self, process: "subprocess.Popen[bytes]") -> DecodeError:
        code = process.wait()
        return DecodeError("crashed", f"the decoder died (exit status {code})")

    def _read_line(self, process: "subprocess.Popen[bytes]", deadline: float) -> bytes:
        """The next line of the child's answer."""
        assert process.stdout is not None
        descriptor = process.stdout.fileno()
        while b"\n" not in self._unread:
            wait_s = deadline - time.monotonic()
            if wait_s <= 0 or not select.select([descriptor], [], [], wait_s)[0]:
                raise DecodeError(
                    "timeout", f"no progress for {self.config.deadline_s:g} s; decoder killed"
                )
            part = os.read(descriptor, 1 << 16)
            if not part:
                raise self._death(process)
            self._unread += part
        line, _, self._unread = self._unread.partition(b"\n")
        return line

    def _copy(self, header: ChunkHeader) -> Chunk:
        """The announced frames as RGB, out of the shared memory."""
        count, side = len(header.timestamps_s), self.config.size_px
        shape = (count, *frame_shape(header.layout, side))
        source = self._shared[header.half, : int(np.prod(shape))].reshape(shape)
        if header.layout == "rgb24":
            return Chunk(header.timestamps_s, source.copy())
        frames = np.empty((count, side, side, 3), dtype=np.uint8)
        for planes, frame in zip(source, frames, strict=True):
            cv2.cvtColor(planes, cv2.COLOR_YUV2RGB_I420, dst=frame)
        return Chunk(header.timestamps_s, frames)


def peak_rss_bytes(process: str | int) -> int:
    """Largest resident set of a process so far (`/proc/PID/status`, VmHWM); 0 when it is gone."""
    try:
        text = Path(f"/proc/{process}/status").read_text(encoding="ascii", errors="replace")
    except OSError:
        return 0
    line = next((line for line in text.splitlines() if line.startswith("VmHWM:")), "VmHWM: 0 kB")
    return int(line.split()[1]) << 10
