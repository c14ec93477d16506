"""Between pixels and cells: frames to what an encoder reads, masks to cells, soft maps to masks.

Shape suffixes: H W rows and columns (of pixels or of cells, as said), L labels.

A frame of its own size is padded on the right and at the bottom (edge pixels repeated) up to a
multiple of the stride, never cropped, so cell (y, x) always covers the pixels from
(y*stride, x*stride) on, and the grid has ceil(H/stride) x ceil(W/stride) cells. Labels go to the
grid over the same padding, and on the way back the padding is cut off after up-sampling.
A frame squashed to a fixed size needs no padding; its labels go straight between the frame's
pixels and the grid.
"""

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from model.errors import UserError

LABEL_MODES = {"nearest": "nearest-exact", "bilinear": "bilinear", "strided": "nearest"}
LARGEST_BYTE = 255  # masks with larger ids are int32, the others uint8


@dataclass(frozen=True)
class CellGrid:
    """The geometry of one video: all sizes are (height, width)."""

    frame_size_px: tuple[int, int]
    stride_px: int
    squash_px: tuple[int, int] | None = None
    """Size the frames are resized to, a multiple of the stride; None: their own size."""

    def __post_init__(self) -> None:
        if self.squash_px is not None and any(side % self.stride_px for side in self.squash_px):
            height, width = self.squash_px
            raise UserError(
                f"protocol setting frame_size_px={height}x{width} is not a multiple of the "
                f"model's stride of {self.stride_px} px"
            )

    @property
    def size_cells(self) -> tuple[int, int]:
        height, width = self.squash_px or self.frame_size_px
        return -(-height // self.stride_px), -(-width // self.stride_px)

    @property
    def covered_px(self) -> tuple[int, int]:
        """Pixels of the frame, padding included, that the grid stands for."""
        if self.squash_px is not None:
            return self.frame_size_px
        height, width = self.size_cells
        return height * self.stride_px, width * self.stride_px

    @property
    def cell_size_px(self) -> tuple[float, float]:
        """Height and width of a cell in pixels of the frame."""
        (covered_y, covered_x), (rows, columns) = self.covered_px, self.size_cells
        return covered_y / rows, covered_x / columns

    def encoder_input(self, frame_HW3: np.ndarray, device: torch.device) -> Tensor:
        """uint8 RGB frame [H,W,3] -> uint8 [3,H',W'], sides a multiple of the stride."""
        frame_3HW = torch.from_numpy(np.ascontiguousarray(frame_HW3)).to(device).permute(2, 0, 1)
        if self.squash_px is None:
            return self._pad(frame_3HW).contiguous()
        squashed = F.interpolate(
            frame_3HW[None].float(),
            size=self.squash_px,
            mode="bilinear",
            align_corners=False,
            antialias=True,
        )[0]
        return squashed.round_().clamp_(0, 255).to(torch.uint8)

    def to_cells(
        self, mask_HW: np.ndarray, ids: tuple[int, ...], label_resize: str, device: torch.device
    ) -> Tensor:
        """uint8 or int32 mask [H,W] in pixels -> share of each of `ids` in each cell, float32 [L,H,W]."""
        mask = self._pad(torch.from_numpy(np.ascontiguousarray(mask_HW)).to(device))
        mode = LABEL_MODES[label_resize]
        planes = [  # one plane at a time: a one-hot mask of a large frame would not be small
            F.interpolate(
                (mask == label)[None, None].float(),
                size=self.size_cells,
                mode=mode,
                align_corners=False if mode == "bilinear" else None,
            )[0, 0]
            for label in ids
        ]
        return torch.stack(planes)

    def mean_in_cells(self, planes_LHW: np.ndarray, device: torch.device) -> Tensor:
        """Mean of each cell's pixels, float32 [L,h,w]; no pixel of the padding is a new value."""
        planes = self._pad(torch.from_numpy(np.ascontiguousarray(planes_LHW)).to(device).float())
        return F.interpolate(planes[None], size=self.size_cells, mode="area")[0]

    def to_pixels(self, soft_HW: Tensor) -> Tensor:
        """A map on the grid up-sampled bilinearly (align_corners False), float32 [H,W] in pixels."""
        height, width = self.frame_size_px
        covered = F.interpolate(
            soft_HW[None, None].float(), size=self.covered_px, mode="bilinear", align_corners=False
        )
        return covered[0, 0, :height, :width]

    def to_mask(
        self, soft_LHW: Tensor, ids: tuple[int, ...], *, rescale: bool = False
    ) -> np.ndarray:
        """Soft labels on the grid [L,H,W] -> mask [H,W] in pixels, uint8, or int32 for ids above 255.

        Each map is up-sampled as `to_pixels` says, with `rescale` also scaled to [0, 1], and the label
        with the largest value wins, among equal ones the first of `ids`.
        """
        best = torch.full(self.frame_size_px, -torch.inf, device=soft_LHW.device)
        dtype = torch.uint8 if max(ids) <= LARGEST_BYTE else torch.int32
        mask = torch.zeros(self.frame_size_px, dtype=dtype, device=soft_LHW.device)
        for label, soft_HW in zip(ids, soft_LHW, strict=True):
            value = self.to_pixels(soft_HW)
            if rescale:
                value = rescaled(value[None])[0]
            mask[value > best] = label
            best = torch.maximum(best, value)
        return mask.cpu().numpy()

    def _pad(self, pixels: Tensor) -> Tensor:
        """Repeat the last row and column of [...,H,W] up to `covered_px`."""
        (height, width), (rows, columns) = self.frame_size_px, self.covered_px
        row = torch.arange(rows, device=pixels.device).clamp_(max=height - 1)
        column = torch.arange(columns, device=pixels.device).clamp_(max=width - 1)
        return pixels[..., row[:, None], column]


def rescaled(soft_LHW: Tensor) -> Tensor:
    """Every map scaled to [0, 1] by its least and greatest value; a map of one value stays as it is."""
    least = soft_LHW.amin((1, 2), keepdim=True)
    span = soft_LHW.amax((1, 2), keepdim=True) - least
    return torch.where(span > 0, (soft_LHW - least) / span, soft_LHW)
