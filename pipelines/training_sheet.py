"""Labelled pictures of a training, each one uint8 RGB array [H, W, 3].

Shape suffixes: H, W pixels, h, w cells.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from model.trunk import STRIDE_PX
from pipelines.training_pictures import ClipView

CLIP_INCHES, TILE_INCHES, DPI = 1.5, 3.0, 110
_INK, _QUIET, _MARK = "#1f2328", "#59636e", "#d1006c"
_HEAT = LinearSegmentedColormap.from_list("heat", ["#ffffff00", _MARK])
_STYLE: dict[Any, Any] = {
    "font.size": 8,
    "axes.titlesize": 8,
    "axes.titlecolor": _INK,
    "axes.labelcolor": _QUIET,
    "axes.edgecolor": "#d1d9e0",
    "axes.linewidth": 0.6,
}


@dataclass(frozen=True)
class Tile:
    """A picture with a line above it."""

    picture_HW3: np.ndarray
    title: str


def clip_sheet(views: Sequence[ClipView], title: str) -> np.ndarray:
    """A row per clip: the target, the references with what the marked cell points at, the target in grey,
    recoloured, and with the last reference's colours in place."""
    references = len(views[0].references_RHW3)
    with matplotlib.rc_context(_STYLE):
        figure, rows = _grid(len(views), 4 + references, (CLIP_INCHES, CLIP_INCHES), title)
        for view, axes in zip(views, rows, strict=True):
            first, *middle = axes[: 1 + references]
            grey, recoloured, copied = axes[1 + references :]
            _show(first, view.target_HW3, "target, a cell marked")
            first.set_ylabel(_short(view.video_id))
            _outline(first, view.query_yx, "white", 2.6)
            _outline(first, view.query_yx, _MARK, 1.3)
            for index, ax in enumerate(middle):
                _heat(ax, view, index)
            _show(grey, view.grey_HW3, "what the network sees")
            _show(recoloured, view.recoloured_HW3, f"recoloured: {view.accuracy:.2f} right")
            _show(copied, view.copied_HW3, f"copied in place: {view.copy_accuracy:.2f} right")
        return _drawn(figure)


def tile_sheet(tiles: Sequence[Tile], columns: int, title: str) -> np.ndarray:
    """Pictures of any size, row by row."""
    with matplotlib.rc_context(_STYLE):
        columns = min(columns, len(tiles))
        tallest = max(t.picture_HW3.shape[0] / t.picture_HW3.shape[1] for t in tiles)
        size = (TILE_INCHES, TILE_INCHES * tallest)
        figure, rows = _grid(-(-len(tiles) // columns), columns, size, title)
        flat = [ax for row in rows for ax in row]
        for ax, tile in zip(flat, tiles, strict=False):
            _show(ax, tile.picture_HW3, tile.title)
        for ax in flat[len(tiles) :]:
            ax.set_axis_off()
        return _drawn(figure)


def _heat(ax: Axes, view: ClipView, reference: int) -> None:
    """A reference in pale grey, and in colour what the marked cell takes from it."""
    frame_HW3 = view.references_RHW3[reference]
    behind = len(view.references_RHW3) - reference
    heat_hw = view.heat_Rhw[reference]
    _show(ax, 255 - (255 - frame_HW3.mean(axis=2, keepdims=True).repeat(3, 2)) * 0.6, "")
    ax.set_title(f"{behind} frame{'s' * (behind > 1)} before: {heat_hw.sum():.0%}")
    height, width = frame_HW3.shape[:2]
    ax.imshow(
        heat_hw,
        cmap=_HEAT,
        vmin=0,
        vmax=float(view.heat_Rhw.max()),
        extent=(-0.5, width - 0.5, height - 0.5, -0.5),
        interpolation="nearest",
    )
    _outline(ax, view.query_yx, _INK, 0.5)  # the same place as in the target


def _outline(ax: Axes, cell_yx: tuple[int, int], colour: str, width: float) -> None:
    y, x = (index * STRIDE_PX - 0.5 for index in cell_yx)
    ax.add_patch(Rectangle((x, y), STRIDE_PX, STRIDE_PX, fill=False, ec=colour, lw=width))


def _grid(
    rows: int, columns: int, tile: tuple[float, float], title: str
) -> tuple[Figure, Iterable[Sequence[Axes]]]:
    """Empty axes for tiles of (width, height) inches, each with a line above it."""
    width, height = tile
    size = (columns * width, rows * (height + 0.2) + 0.35)
    figure = Figure(figsize=size, dpi=DPI, layout="constrained")
    figure.suptitle(title, x=0.005, ha="left", fontsize=10, color=_INK)
    axes = figure.subplots(rows, columns, squeeze=False)
    return figure, axes


def _show(ax: Axes, picture_HW3: np.ndarray, title: str) -> None:
    ax.imshow(picture_HW3.astype(np.uint8), interpolation="antialiased")
    ax.set_title(title)
    ax.set_xticks([])
    ax.set_yticks([])


def _short(name: str, most: int = 24) -> str:
    return name if len(name) <= most else name[: most - 1] + "…"


def _drawn(figure: Figure) -> np.ndarray:
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()
