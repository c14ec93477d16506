"""What a pass backwards needs and memory should not hold: frames and soft labels in temporary files.

The files have no name, so that nothing is left of them when the process is killed.

Shape suffixes: H W rows and columns of pixels, L label columns, h w cells.
"""

import tempfile
from collections.abc import Iterator, MutableMapping, Sequence
from types import TracebackType
from typing import Any

import cv2
import numpy as np
import torch

from model.errors import UserError
from model.propagation.both_ways import SoftLabels

_PNG_FAST = [cv2.IMWRITE_PNG_COMPRESSION, 1]


class Spill:
    """Pieces of bytes in one temporary file. Raises `OSError` where the disk is full."""

    def __init__(self) -> None:
        self._file = tempfile.TemporaryFile()  # noqa: SIM115  # closed by __exit__
        self._end = 0

    def __enter__(self) -> "Spill":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._file.close()

    def add(self, content: bytes) -> tuple[int, int]:
        """Where it begins, and its length."""
        try:
            self._file.seek(self._end)
            self._file.write(content)
        except OSError as error:
            raise OSError(error.errno, error.strerror, tempfile.gettempdir()) from error
        place = self._end, len(content)
        self._end += len(content)
        return place

    def read(self, place: tuple[int, int]) -> bytes:
        self._file.seek(place[0])
        return self._file.read(place[1])


class SpilledFrames(Sequence[np.ndarray]):
    """Frames, uint8 RGB [H, W, 3], as lossless PNG, each decoded when it is asked for."""

    def __init__(self, spill: Spill) -> None:
        self._spill = spill
        self._places: list[tuple[int, int]] = []

    def append(self, frame_HW3: np.ndarray) -> None:
        """Raises `UserError` for a frame that is not of this kind."""
        if frame_HW3.dtype != np.uint8 or frame_HW3.ndim != 3 or 0 in frame_HW3.shape:
            raise UserError(f"a frame of shape {frame_HW3.shape} and type {frame_HW3.dtype}")
        _, content = cv2.imencode(".png", frame_HW3[..., ::-1], _PNG_FAST)
        self._places.append(self._spill.add(content.tobytes()))

    def __len__(self) -> int:
        return len(self._places)

    def __getitem__(self, index: Any) -> Any:
        content = np.frombuffer(self._spill.read(self._places[index]), np.uint8)
        frame_HW3 = cv2.imdecode(content, cv2.IMREAD_COLOR)
        assert frame_HW3 is not None  # it was written by append
        return np.ascontiguousarray(frame_HW3[..., ::-1])


class SpilledLabels(MutableMapping[int, SoftLabels]):
    """The soft labels of frames, as they are, by number."""

    def __init__(self, spill: Spill) -> None:
        self._spill = spill
        self._places: dict[int, dict[Any, tuple[tuple[int, int], torch.Tensor, Any]]] = {}

    def __setitem__(self, index: int, labels: SoftLabels) -> None:
        self._places[index] = {
            kind: (
                self._spill.add(soft_Lhw.cpu().numpy().tobytes()),
                torch.empty(soft_Lhw.shape, dtype=soft_Lhw.dtype, device="meta"),
                (names, soft_Lhw.device),
            )
            for kind, (soft_Lhw, names) in labels.items()
        }

    def __getitem__(self, index: int) -> SoftLabels:
        found = {}
        for kind, (place, like, (names, device)) in self._places[index].items():
            content = bytearray(self._spill.read(place))
            soft_Lhw = torch.frombuffer(content, dtype=like.dtype).reshape(like.shape)
            found[kind] = soft_Lhw.to(device), names
        return found

    def __delitem__(self, index: int) -> None:
        del self._places[index]

    def __iter__(self) -> Iterator[int]:
        return iter(self._places)

    def __len__(self) -> int:
        return len(self._places)
