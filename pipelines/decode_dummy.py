"""Made-up frames, so that everything around decoding can be measured by itself.

The file is not opened. What comes out depends on the path alone.
"""

import zlib
from collections.abc import Iterator
from functools import cache

import numpy as np

from pipelines.decode_protocol import RawChunk, Request

FRAMES = 4
"""A video's sampled frames: one clip of the default length."""
_PALETTE = 64


def dummy_chunks(request: Request) -> Iterator[RawChunk]:
    """Four plain frames of one of 64 pictures."""
    count = min(FRAMES, request.max_frames or FRAMES)
    frame = _picture(request.size_px, zlib.crc32(request.path.encode()) % _PALETTE)
    times_s = [round(i / request.fps_hz, 6) for i in range(count)]
    yield RawChunk(times_s, "rgb24", np.broadcast_to(frame, (count, *frame.shape)))


@cache
def _picture(size_px: int, seed: int) -> np.ndarray:
    """uint8 [size_px, size_px, 3]: eight by eight squares of random colours."""
    squares = np.random.default_rng(seed).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    return squares.repeat(size_px // 8, axis=0).repeat(size_px // 8, axis=1)
