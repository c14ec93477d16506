"""The child process that decodes: `python -m pipelines.decode_child`.

It reads one JSON request a line from standard input, puts frames into memory that it shares with its
parent (`pipelines/decode.py`), and announces them on standard output, a JSON line a chunk. An empty
line of input gives a half of that memory back to it. Nothing is pickled. The parent kills it when it
hangs; when the parent dies it is killed too.

`auto` is PyAV, which decodes fewer frames than decord to get the same ones; where it cannot read a
container decord gets a try. With `decord` it is the other way round.
"""

import ctypes
import json
import mmap
import os
import re
import resource
import signal
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from pipelines.decode_decord import decord_chunks
from pipelines.decode_dummy import dummy_chunks
from pipelines.decode_protocol import (
    HALVES,
    ChunkHeader,
    DecoderName,
    NotOpened,
    RawChunk,
    Request,
    Unreadable,
)
from pipelines.decode_pyav import pyav_chunks

_PR_SET_PDEATHSIG = 1
_TOO_MUCH_MEMORY = {
    "error": "out_of_memory",
    "message": "the decoder asked for more memory than it may have",
}
# "[12:34:56] /build/path/file.cc:292: " differs from run to run and says nothing to a user.
_NATIVE_PREFIX = re.compile(r"(\[\d\d:\d\d:\d\d\] )?\S+\.(cc|h):\d+: |\[\d\d:\d\d:\d\d\] ")


Reader = Callable[[Request], Iterator[RawChunk]]
_READERS: dict[DecoderName, tuple[tuple[str, Reader], ...]] = {
    "auto": (("PyAV", pyav_chunks), ("decord", decord_chunks)),
    "pyav": (("PyAV", pyav_chunks),),
    "decord": (("decord", decord_chunks), ("PyAV", pyav_chunks)),
    "dummy": (("dummy", dummy_chunks),),
}


def chunks(request: Request) -> Iterator[RawChunk]:
    """From the first reader that gets as far as its first chunk.

    Raises `Unreadable` when none does. What PyAV says of a file that it could open is the last word: of
    damaged streams decord's threads make now this, now that.
    """
    causes: list[str] = []
    for name, reader in _READERS[request.decoder]:
        source = reader(request)
        try:
            first = next(source, None)
        except MemoryError:
            raise
        except NotOpened as error:
            causes.append(f"{name}: {one_line(error)}")
        except Exception as error:
            if name == "PyAV" and isinstance(error, Unreadable):
                raise
            causes.append(f"{name}: {one_line(error)}")
            if name == "PyAV":
                break
        else:
            if first is None:
                raise Unreadable("no_video_stream", "no frame could be decoded")
            yield first
            yield from source
            return
    raise Unreadable("unreadable", "; ".join(causes))


def one_line(error: BaseException) -> str:
    """The telling line of an error, without the native stack below it."""
    # FFmpeg's errors end in the file's name, which stands in the error's row already.
    text = _NATIVE_PREFIX.sub("", getattr(error, "strerror", None) or str(error))
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return (lines[0] if lines else type(error).__name__)[:300]


def memory_ran_short() -> bool:
    """Whether the address space was nearly used up at some time: FFmpeg calls a video invalid when it
    gets no memory for its frames."""
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    status = Path("/proc/self/status").read_text(encoding="ascii", errors="replace")
    peak = next(
        (line for line in status.splitlines() if line.startswith("VmPeak:")), "VmPeak: 0 kB"
    )
    return limit != resource.RLIM_INFINITY and int(peak.split()[1]) << 10 > limit * 15 // 16


class Child:
    """The answering side of `pipelines.decode.Decoder`."""

    def __init__(self, requests: BinaryIO, answers: BinaryIO, shared: np.ndarray) -> None:
        self._requests = requests
        self._answers = answers
        self._shared = shared.reshape(HALVES, -1)

    def serve(self) -> None:
        """Answer requests until the input closes."""
        for line in self._requests:
            if line.strip():  # an empty line gives back a half of which the request has ended
                self._answer(Request(**json.loads(line)))

    def _answer(self, request: Request) -> None:
        """Decode one video and send its chunks, an end mark or an error."""
        sent = 0
        try:
            for index, chunk in enumerate(chunks(request)):
                if index >= HALVES:
                    self._requests.readline()
                self._send_chunk(chunk, index % HALVES)
                sent += len(chunk.timestamps_s)
        except MemoryError:
            self._send(_TOO_MUCH_MEMORY)
        except Exception as error:
            if memory_ran_short():
                self._send(_TOO_MUCH_MEMORY)
            elif isinstance(error, Unreadable):
                self._send({"error": error.kind, "message": str(error)})
            else:
                kind = "truncated" if sent else "unreadable"
                self._send({"error": kind, "message": f"after {sent} frames: {one_line(error)}"})
        else:
            self._send({"end": True})

    def _send_chunk(self, chunk: RawChunk, half: int) -> None:
        place = self._shared[half, : chunk.frames.size].reshape(chunk.frames.shape)
        np.copyto(place, chunk.frames)
        self._send(asdict(ChunkHeader(chunk.timestamps_s, chunk.layout, half)))

    def _send(self, header: dict[str, Any]) -> None:
        self._answers.write(json.dumps(header).encode() + b"\n")
        self._answers.flush()


def main() -> None:
    """`decode_child MEMORY_MB DESCRIPTOR`: limits, shared memory, then `Child.serve`."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    memory_mb, descriptor = int(sys.argv[1]), int(sys.argv[2])
    resource.setrlimit(resource.RLIMIT_AS, (memory_mb << 20, memory_mb << 20))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    # Native libraries may print: keep the real standard output for the protocol alone.
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    shared = np.frombuffer(mmap.mmap(descriptor, 0), dtype=np.uint8)
    Child(sys.stdin.buffer, answers, shared).serve()


if __name__ == "__main__":
    main()
