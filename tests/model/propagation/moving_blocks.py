"""Synthetic videos whose true masks are known."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Video:
    frames: list[np.ndarray]
    masks: list[np.ndarray]
    known: list[np.ndarray]
    """Pixels of the objects and of background that no object has covered yet: all of these were
    in every frame before, so any context can match them."""


def moving_blocks(
    frames: int, grid: tuple[int, int], block_px: tuple[int, int], size_px: tuple[int, int]
) -> Video:
    """Two objects of differently coloured blocks cross a background of such blocks."""
    rows, columns = grid
    levels = np.arange(0, 256, 25)
    palette = np.stack(np.meshgrid(levels, levels, levels), axis=-1).reshape(-1, 3)
    palette = np.random.default_rng(5).permutation(palette).astype(np.uint8)
    background = palette[24 : 24 + rows * columns].reshape(rows, columns, 3)
    sprites = {3: (2, 1, 1, 0), 200: (rows - 6, columns - 6, 0, -1)}  # id: y, x, dy, dx
    colours = {3: palette[:12].reshape(4, 3, 3), 200: palette[12:24].reshape(4, 3, 3)}
    video = Video([], [], [])
    covered = np.zeros((rows, columns), dtype=bool)

    def pixels(cells: np.ndarray) -> np.ndarray:
        large = cells.repeat(block_px[0], axis=0).repeat(block_px[1], axis=1)
        return np.ascontiguousarray(large[: size_px[0], : size_px[1]])

    for time in range(frames):
        scene, mask = background.copy(), np.zeros((rows, columns), dtype=np.uint8)
        for label, (y, x, dy, dx) in sprites.items():
            part = np.s_[y + dy * time : y + dy * time + 4, x + dx * time : x + dx * time + 3]
            scene[part], mask[part] = colours[label], label
        covered |= mask > 0
        video.known.append(pixels((mask > 0) | ~covered))
        video.frames.append(pixels(scene))
        video.masks.append(pixels(mask))
    return video
