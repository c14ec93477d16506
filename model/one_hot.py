"""One-hot targets as they are stored, eight cells a byte, unpacked where the network runs.

Bits travel to the device, and become planes there: an eighth of the bytes.

Shape suffixes: B clips, T frames, K clusters, h, w cells, `...` any leading axes.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from model.objectives.colorization import ClipBatch


def unpack_bits(packed: Tensor, shape: tuple[int, ...]) -> Tensor:
    """uint8 [..., bytes] -> uint8 0/1 of [..., *shape], the most significant bit of a byte first.

    The inverse of `numpy.packbits` over the flattened `shape`, whose product must be 8 x bytes.
    """
    shifts = torch.arange(7, -1, -1, dtype=torch.uint8, device=packed.device)
    bits = packed.unsqueeze(-1).bitwise_right_shift(shifts).bitwise_and_(1)
    return bits.reshape(*packed.shape[:-1], *shape)


def reduce_one_hot(one_hot_BTKhw: Tensor, factor: int) -> Tensor:
    """Majority vote over factor x factor cells: uint8 one-hot [B, T, K, h / factor, w / factor].

    The lowest code wins a tie.
    """
    if factor == 1:
        return one_hot_BTKhw
    clusters = one_hot_BTKhw.shape[-3]
    votes = torch.stack(
        [one_hot_BTKhw[..., y::factor, x::factor] for y in range(factor) for x in range(factor)]
    ).sum(dim=0, dtype=torch.int16)
    # Votes first, then the lower code: no two clusters of a cell have the same rank.
    order = torch.arange(clusters - 1, -1, -1, dtype=torch.int16, device=votes.device)
    rank = votes * clusters + order[:, None, None]
    return (rank == rank.amax(dim=-3, keepdim=True)).to(torch.uint8)


def take_cells(one_hot_BTKhw: Tensor, rows_Bh: Tensor, columns_Bw: Tensor) -> Tensor:
    """Each clip's planes, rearranged: cell (i, j) becomes cell (rows[b, i], columns[b, j])."""
    frames, clusters, _, width = one_hot_BTKhw.shape[1:]
    rows = rows_Bh[:, None, None, :, None].expand(-1, frames, clusters, -1, width)
    columns = columns_Bw[:, None, None, None, :].expand(-1, frames, clusters, rows_Bh.shape[1], -1)
    return one_hot_BTKhw.gather(3, rows).gather(4, columns)


@dataclass(frozen=True)
class PackedClipBatch:
    """A batch as it comes out of storage."""

    grey_BTHW: Tensor
    """Luma of the frames, uint8 [B, T, H, W]."""
    packed_target: Tensor
    """One-hot colour codes of the stored cells, uint8 [B, bytes]."""
    target_shape: tuple[int, int, int, int]
    """(T, K, h, w) of the stored cells."""
    factor: int
    """Stored cells are put together, factor x factor, before `cells_B2h` chooses among them."""
    cells_B2h: Tensor | None = None
    """Of each row and of each column of the frames' cells, which one of the unchanged clip it shows:
    int64 [B, 2, H / 8]. None where clips are unchanged."""

    def to(self, device: torch.device) -> ClipBatch:
        """The batch on the device, its targets unpacked there."""
        grey = self.grey_BTHW.to(device, non_blocking=True)
        packed = self.packed_target.to(device, non_blocking=True)
        one_hot = reduce_one_hot(unpack_bits(packed, self.target_shape), self.factor)
        if self.cells_B2h is not None:
            rows, columns = self.cells_B2h.to(device, non_blocking=True).unbind(dim=1)
            one_hot = take_cells(one_hot, rows, columns)
        return ClipBatch(grey, one_hot)
