"""Fixtures shared by all tests."""

import os
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import pytest

from jobs.cluster import connected_ray  # sets Ray's environment before anything imports Ray
from pipelines.video import write_h264

REPOSITORY = Path(__file__).resolve().parent.parent

MakeVideo = Callable[..., Path]
"""(path, frames=24, fps_hz=12, seed=0, size_hw=(48, 64)) -> path."""


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of real clips and annotated sequences: `HUETRACK_DATA`, by default `../shared/data`."""
    folder = Path(os.environ.get("HUETRACK_DATA", REPOSITORY.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"real clips are not at {folder} (set HUETRACK_DATA)")
    return folder


@pytest.fixture(scope="session")
def ray_session() -> Iterator[None]:
    """One local Ray for all tests; commands called inside it use it as well."""
    with connected_ray(2):
        yield


@pytest.fixture(scope="session")
def make_video() -> MakeVideo:
    """Writes an H.264 video of a colourful plane that moves; the seed chooses its colours."""

    def make(
        path: Path,
        frames: int = 24,
        fps_hz: float | Fraction = 12,
        seed: int = 0,
        size_hw: tuple[int, int] = (48, 64),
    ) -> Path:
        height, width = size_hw
        coarse = np.random.default_rng(seed).integers(0, 256, (10, 10, 3)).astype(np.uint8)
        plane = cv2.resize(coarse, (width + 64, height + 32), interpolation=cv2.INTER_CUBIC)
        offsets = [(i % 32, 2 * (i % 32)) for i in range(frames)]
        path.parent.mkdir(parents=True, exist_ok=True)
        write_h264(path, [plane[y : y + height, x : x + width] for y, x in offsets], fps_hz)
        return path

    return make


@pytest.fixture(autouse=True, scope="session")
def one_thread() -> None:
    """Small tensors: threads cost more than they bring, above all on a busy machine."""
    import torch

    torch.set_num_threads(1)
