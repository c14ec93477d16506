"""Frames to base features: what an encoder is, and frames through it in batches.

Shape suffixes: C channels of base features, D channels of matching vectors, T frames, H W rows and
columns of pixels, h w of cells.
"""

import typing
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from model.errors import UserError
from model.propagation.grid import CellGrid

GPU_BATCH_PX = 8 * 480 * 854  # that a GPU encodes at once: a batch of large frames is a small one


class Encoder(typing.Protocol):
    """What turns frames into vectors whose dot product is the logit of the affinity."""

    stride_px: int
    """Pixels per cell, both ways."""

    def encode(self, frame_3HW: Tensor) -> Tensor:
        """uint8 RGB frame, sides a multiple of the stride -> base features [C,h,w].

        Called once for every frame; the result stays in the memory. A batch [T,3,H,W] gives [T,C,h,w],
        each frame as it would be alone.
        """
        ...

    def match(self, references: Sequence[Tensor], target: Tensor) -> tuple[list[Tensor], Tensor]:
        """Base features of the context frames, oldest first, and of the target -> keys and query.

        Each is [D,h,w]. Normalisation, temperature and heads that see several frames belong here.
        """
        ...


class FrameEncoder:
    """The frames of a video through an encoder, one or several at once."""

    def __init__(
        self, encoder: Encoder, device: torch.device, batch_frames: int | None = None
    ) -> None:
        """`batch_frames` as of `Propagator`. Raises UserError for none."""
        if batch_frames is not None and batch_frames < 1:
            raise UserError(f"batch_frames must be at least 1, not {batch_frames}")
        self._encoder = encoder
        self._device = device
        self._batch_frames = batch_frames

    def batch_frames(self, grid: CellGrid) -> int:
        """How many frames of a video go through the encoder at once."""
        if self._batch_frames is not None:
            return self._batch_frames
        if self._device.type == "cpu":
            return 1
        height, width = grid.squash_px or grid.covered_px
        return max(1, GPU_BATCH_PX // (height * width))

    def encode(self, grid: CellGrid, frames: Sequence[np.ndarray]) -> Sequence[Tensor]:
        """Base features [C,h,w] of each frame, uint8 RGB [H,W,3], in one pass."""
        inputs = [grid.encoder_input(frame_HW3, self._device) for frame_HW3 in frames]
        if not inputs:
            return []
        if len(inputs) == 1:
            features = [self._encoder.encode(inputs[0])]
        else:  # clones, so that a frame in the memory does not keep its whole batch
            features = [each.clone() for each in self._encoder.encode(torch.stack(inputs))]
        if tuple(features[0].shape[-2:]) != grid.size_cells:
            raise ValueError(
                f"the encoder gave {tuple(features[0].shape[-2:])} cells for a frame of "
                f"{grid.size_cells} cells of {grid.stride_px} px"
            )
        return features
