"""Streaming label propagation: one annotated frame in, then one mask per frame.

Shape suffixes: C channels of base features, D channels of matching vectors, L labels (background
first), H W rows and columns (of pixels for frames and masks, else of cells).
"""

import typing
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from model.errors import UserError
from model.propagation.affinity import ContextFrame, carry
from model.propagation.grid import CellGrid
from model.propagation.memory import Memory
from model.propagation.protocols import MatchingProtocol

IDENTITY_CELL_PX = 8  # grid of the identity baseline's soft labels


class Encoder(typing.Protocol):
    """What turns frames into vectors whose dot product is the logit of the affinity."""

    stride_px: int
    """Pixels per cell, both ways."""

    def encode(self, frame_3HW: Tensor) -> Tensor:
        """uint8 RGB frame, sides a multiple of the stride -> base features [C,h,w].

        Called once for every frame; the result stays in the memory.
        """
        ...

    def match(self, references: Sequence[Tensor], target: Tensor) -> tuple[list[Tensor], Tensor]:
        """Base features of the context frames, oldest first, and of the target -> keys and query.

        Each is [D,h,w]. Normalisation, temperature and heads that see several frames belong here.
        """
        ...


class LabelPropagator(typing.Protocol):
    """What carries the mask of a video's first frame through its frames, one video at a time."""

    def start(self, frame_HW3: np.ndarray, mask_HW: np.ndarray) -> None: ...
    def step(self, frame_HW3: np.ndarray) -> "PropagationResult": ...


@dataclass(frozen=True)
class PropagationResult:
    """The labels of one frame."""

    mask_HW: np.ndarray
    """uint8, frame size, the ids of the first mask."""
    probabilities_LHW: Tensor
    """float32 on the cell grid, in the order of `object_ids`."""
    object_ids: tuple[int, ...]
    """0 for background, then the ids of the first mask in ascending order."""


class Propagator:
    """Carries the mask of a video's first frame to every later one, a frame at a time.

    Memory is bounded by the protocol: the features and soft labels of its context frames.
    """

    def __init__(
        self, encoder: Encoder, protocol: MatchingProtocol, device: torch.device | str = "cpu"
    ) -> None:
        self._encoder = encoder
        self._protocol = protocol
        self._device = torch.device(device)
        self._memory = Memory(protocol)
        self._grid: CellGrid | None = None
        self._ids: tuple[int, ...] = ()
        self._frame_index = 0

    @torch.inference_mode()
    def start(self, frame_HW3: np.ndarray, mask_HW: np.ndarray) -> None:
        """Begin a video: its first frame, uint8 RGB [H,W,3], and the mask of it, uint8 [H,W].

        Every value of the mask but 0 is an object; ids need not be contiguous. Forgets the video
        before. Raises UserError for a mask without objects, a mask whose size differs from the
        frame's, other shapes or types, or a `frame_size_px` that does not fit the encoder.
        """
        ids = check_first(frame_HW3, mask_HW)
        size_px = (frame_HW3.shape[0], frame_HW3.shape[1])
        grid = CellGrid(size_px, self._encoder.stride_px, self._protocol.frame_size_px)
        features = self._encode(grid, frame_HW3)
        labels = grid.to_cells(mask_HW, ids, self._protocol.label_resize, self._device)
        self._grid, self._ids, self._frame_index = grid, ids, 0
        self._memory = Memory(self._protocol)
        self._memory.add(0, features, labels, anchor=True)

    @torch.inference_mode()
    def step(self, frame_HW3: np.ndarray) -> PropagationResult:
        """Labels of the next frame, uint8 RGB [H,W,3].

        Raises UserError for a frame of another size than the first, RuntimeError before `start`.
        """
        if self._grid is None:
            raise RuntimeError("step() needs start() with an annotated frame first")
        frame_index = self._frame_index + 1
        check_next(frame_HW3, self._grid.frame_size_px, frame_index)
        features = self._encode(self._grid, frame_HW3)
        frames = self._memory.context()
        keys, query = self._encoder.match([frame.features_CHW for frame in frames], features)
        labels = carry(
            query,
            [
                ContextFrame(key, frame.labels_LHW, frame.windowed)
                for key, frame in zip(keys, frames, strict=True)
            ],
            top_k=self._protocol.top_k,
            radius_cells=self._protocol.radius_cells,
        )
        self._memory.add(frame_index, features, labels, anchor=False)
        self._frame_index = frame_index
        return PropagationResult(self._grid.to_mask(labels, self._ids), labels, self._ids)

    def _encode(self, grid: CellGrid, frame_HW3: np.ndarray) -> Tensor:
        features = self._encoder.encode(grid.encoder_input(frame_HW3, self._device))
        if tuple(features.shape[-2:]) != grid.size_cells:
            raise ValueError(
                f"the encoder gave {tuple(features.shape[-2:])} cells for a frame of "
                f"{grid.size_cells} cells of {grid.stride_px} px"
            )
        return features


class IdentityPropagator:
    """The baseline that does not look at the frames: every mask is the first one."""

    def __init__(self) -> None:
        self._size_px = (0, 0)
        self._frame_index = 0
        self._result: PropagationResult | None = None

    def start(self, frame_HW3: np.ndarray, mask_HW: np.ndarray) -> None:
        """As `Propagator.start`, with the same errors for the same input."""
        ids = check_first(frame_HW3, mask_HW)
        self._size_px = (frame_HW3.shape[0], frame_HW3.shape[1])
        self._frame_index = 0
        grid = CellGrid(self._size_px, IDENTITY_CELL_PX)
        soft = grid.to_cells(mask_HW, ids, "bilinear", torch.device("cpu"))
        self._result = PropagationResult(mask_HW.copy(), soft, ids)

    def step(self, frame_HW3: np.ndarray) -> PropagationResult:
        """The first mask again; errors as `Propagator.step`."""
        if self._result is None:
            raise RuntimeError("step() needs start() with an annotated frame first")
        check_next(frame_HW3, self._size_px, self._frame_index + 1)
        self._frame_index += 1
        return PropagationResult(
            self._result.mask_HW.copy(), self._result.probabilities_LHW, self._result.object_ids
        )


def check_first(frame_HW3: np.ndarray, mask_HW: np.ndarray) -> tuple[int, ...]:
    """The labels of a video (background, then its objects); UserError for what `start` refuses."""
    _check_frame(frame_HW3, 0)
    if mask_HW.ndim != 2 or mask_HW.dtype != np.uint8:
        raise UserError(
            f"the first mask has shape {mask_HW.shape} and type {mask_HW.dtype}, "
            "expected one uint8 id per pixel"
        )
    if mask_HW.shape != frame_HW3.shape[:2]:
        raise UserError(
            f"the first mask is {_size(mask_HW.shape)}, its frame {_size(frame_HW3.shape)}"
        )
    objects = [int(label) for label in np.unique(mask_HW) if label != 0]
    if not objects:
        raise UserError("the first mask has no object: every pixel is 0 (background)")
    return (0, *objects)


def check_next(frame_HW3: np.ndarray, size_px: tuple[int, ...], frame_index: int) -> None:
    """UserError for a frame that `step` refuses: another size than the first frame's, or no frame."""
    _check_frame(frame_HW3, frame_index)
    if frame_HW3.shape[:2] != size_px:
        raise UserError(
            f"frame {frame_index} is {_size(frame_HW3.shape)}, the first frame {_size(size_px)}"
        )


def _check_frame(frame_HW3: np.ndarray, frame_index: int) -> None:
    if frame_HW3.ndim != 3 or frame_HW3.shape[2] != 3 or frame_HW3.dtype != np.uint8:
        raise UserError(
            f"frame {frame_index} has shape {frame_HW3.shape} and type {frame_HW3.dtype}, "
            "expected uint8 RGB [height, width, 3]"
        )


def _size(shape: Sequence[int]) -> str:
    return f"{shape[1]}x{shape[0]} px (width x height)"
