"""Colours carried through a video as labels are: what tracking by colourising looks like.

Vondrick et al. 2018 show recoloured video beside tracked masks: both come from one affinity. Here the
columns are ab values of CIE Lab in place of masks; since a carried label is a weighted mean of labels,
carrying the two values is carrying any soft code of them.

Shape suffixes: 2 (a, b) of CIE Lab, H, W pixels, h, w cells.
"""

import numpy as np
import torch
from torch import Tensor

from model.color import rgb_to_lab
from model.errors import UserError
from model.propagation.annotations import ColourAnnotation
from model.propagation.engine import Propagator
from model.propagation.frame_encoder import Encoder
from model.propagation.grid import CellGrid
from model.propagation.matching_protocol import MatchingProtocol
from model.propagation.results import PropagationResult


class ColourPropagator:
    """Carries the colours of a video's first frame through the others, a frame at a time.

    Every later frame is coloured from frames that were coloured before, under the protocol's context,
    so errors add up as they do for labels. Of its own colours nothing is used, unless the encoder
    looks at them.
    """

    def __init__(
        self, encoder: Encoder, protocol: MatchingProtocol, device: torch.device | str = "cpu"
    ) -> None:
        self._propagator = Propagator(encoder, protocol, device)
        self._encoder = encoder
        self._protocol = protocol
        self._device = torch.device(device)
        self._grid: CellGrid | None = None

    def start(self, frame_HW3: np.ndarray) -> Tensor:
        """Begin a video with its first frame, uint8 RGB [H, W, 3]; returns the colours of its cells,
        float32 [2, h, w].

        Raises UserError for a `frame_size_px` of the protocol that does not fit the encoder.
        """
        if frame_HW3.ndim != 3 or 0 in frame_HW3.shape:
            raise UserError(f"the first frame has shape {frame_HW3.shape}, expected [H, W, 3]")
        size_px = (frame_HW3.shape[0], frame_HW3.shape[1])
        result = self._propagator.start(frame_HW3, (ColourAnnotation(_ab_of(frame_HW3)),))
        self._grid = CellGrid(size_px, self._encoder.stride_px, self._protocol.frame_size_px)
        return _colours_of(result)

    def step(self, frame_HW3: np.ndarray) -> tuple[Tensor, Tensor]:
        """The next frame's colours, carried and true, each float32 [2, h, w].

        Raises UserError for a frame of another size than the first, RuntimeError before `start`.
        """
        if self._grid is None:
            raise RuntimeError("step() needs start() with a coloured frame first")
        carried_2hw = _colours_of(self._propagator.step(frame_HW3))
        true_2HW = np.ascontiguousarray(np.moveaxis(_ab_of(frame_HW3), 2, 0))
        return carried_2hw, self._grid.mean_in_cells(true_2HW, self._device)

    def to_pixels(self, colours_2hw: Tensor) -> Tensor:
        """Colours of cells -> of the frame's pixels, float32 [2, H, W], bilinear (align_corners False)."""
        if self._grid is None:
            raise RuntimeError("to_pixels() needs start() first")
        return torch.stack([self._grid.to_pixels(plane_hw) for plane_hw in colours_2hw])


def _colours_of(result: PropagationResult) -> Tensor:
    colours = result.of(ColourAnnotation)
    assert colours is not None
    return colours.soft_Lhw


def _ab_of(frame_HW3: np.ndarray) -> np.ndarray:
    """CIE Lab's a and b of every pixel, float32."""
    lab_3HW = rgb_to_lab(torch.from_numpy(np.ascontiguousarray(frame_HW3)).permute(2, 0, 1))
    return lab_3HW[1:].permute(1, 2, 0).numpy()
