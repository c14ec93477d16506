"""Colours carried through a video as labels are: what tracking by colourising looks like.

Vondrick et al. 2018 show recoloured video beside tracked masks: both come from one affinity. Here the
columns are ab values of CIE Lab in place of masks; since a carried label is a weighted mean of labels,
carrying the two values is carrying any soft code of them.

Shape suffixes: 2 (a, b) of CIE Lab, H, W pixels, h, w cells.
"""

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from model.color import rgb_to_lab
from model.errors import UserError
from model.propagation.affinity import ContextFrame, carry
from model.propagation.engine import Encoder
from model.propagation.grid import CellGrid
from model.propagation.memory import Memory
from model.propagation.protocols import MatchingProtocol


class ColourPropagator:
    """Carries the colours of a video's first frame through the others, a frame at a time.

    Every later frame is coloured from frames that were coloured before, under the protocol's context,
    so errors add up as they do for labels. Of its own colours nothing is used, unless the encoder
    looks at them.
    """

    def __init__(
        self, encoder: Encoder, protocol: MatchingProtocol, device: torch.device | str = "cpu"
    ) -> None:
        self._encoder = encoder
        self._protocol = protocol
        self._device = torch.device(device)
        self._memory = Memory(protocol)
        self._grid: CellGrid | None = None
        self._frame_index = 0

    @torch.inference_mode()
    def start(self, frame_HW3: np.ndarray) -> Tensor:
        """Begin a video with its first frame, uint8 RGB [H, W, 3]; returns the colours of its cells,
        float32 [2, h, w].

        Raises UserError for a `frame_size_px` of the protocol that does not fit the encoder.
        """
        size_px = (frame_HW3.shape[0], frame_HW3.shape[1])
        self._grid = CellGrid(size_px, self._encoder.stride_px, self._protocol.frame_size_px)
        self._memory = Memory(self._protocol)
        self._frame_index = 0
        given = self._grid.encoder_input(frame_HW3, self._device)
        colours_2hw = cell_colours(given, self._grid)
        self._memory.add(0, self._encoder.encode(given), colours_2hw, anchor=True)
        return colours_2hw

    @torch.inference_mode()
    def step(self, frame_HW3: np.ndarray) -> tuple[Tensor, Tensor]:
        """The next frame's colours, carried and true, each float32 [2, h, w].

        Raises UserError for a frame of another size than the first, RuntimeError before `start`.
        """
        if self._grid is None:
            raise RuntimeError("step() needs start() with a coloured frame first")
        self._frame_index += 1
        if frame_HW3.shape[:2] != self._grid.frame_size_px:
            raise UserError(f"frame {self._frame_index} has another size than the first")
        given = self._grid.encoder_input(frame_HW3, self._device)
        features = self._encoder.encode(given)
        frames = self._memory.context()
        keys, query = self._encoder.match([frame.features_CHW for frame in frames], features)
        carried_2hw = carry(
            query,
            [
                ContextFrame(key, frame.labels_LHW, frame.windowed)
                for key, frame in zip(keys, frames, strict=True)
            ],
            top_k=self._protocol.top_k,
            radius_cells=self._protocol.radius_cells,
        )
        self._memory.add(self._frame_index, features, carried_2hw, anchor=False)
        return carried_2hw, cell_colours(given, self._grid)

    def to_pixels(self, colours_2hw: Tensor) -> Tensor:
        """Colours of cells -> of the frame's pixels, float32 [2, H, W], bilinear (align_corners False)."""
        if self._grid is None:
            raise RuntimeError("to_pixels() needs start() first")
        height, width = self._grid.frame_size_px
        covered = F.interpolate(
            colours_2hw[None], size=self._grid.covered_px, mode="bilinear", align_corners=False
        )
        return covered[0, :, :height, :width]


def cell_colours(given_3HW: Tensor, grid: CellGrid) -> Tensor:
    """Mean ab of every cell, float32 [2, h, w], of what the encoder is given."""
    ab_2HW = rgb_to_lab(given_3HW)[1:]
    return F.adaptive_avg_pool2d(ab_2HW, grid.size_cells)
