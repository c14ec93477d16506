"""A strip with curves over time, to stand under a film, and a line that runs along it.

Shape suffixes: H, W pixels.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

HEIGHT_PX = 132
_DPI = 100
_LEFT_PX, _RIGHT_PX, _TOP_PX, _BOTTOM_PX = 46, 10, 20, 32
_INK, _QUIET = "#1f2328", "#59636e"
_LINES = (("#d1006c", "-"), ("#59636e", "--"))
_STYLE: dict[Any, Any] = {
    "font.size": 7,
    "axes.labelcolor": _QUIET,
    "axes.edgecolor": "#d1d9e0",
    "axes.linewidth": 0.6,
    "xtick.color": _QUIET,
    "ytick.color": _QUIET,
}


class CurveStrip:
    """Curves with one value per frame, drawn once; `at` gives the strip of a frame."""

    def __init__(
        self, curves: Mapping[str, Sequence[float]], unit: str, fps_hz: float, width_px: int
    ) -> None:
        """`curves` by their names, of one length and two at most."""
        frames = len(next(iter(curves.values())))
        seconds = np.arange(frames) / fps_hz
        left = min(_LEFT_PX, width_px // 3)
        with matplotlib.rc_context(_STYLE):
            figure = Figure(figsize=(width_px / _DPI, HEIGHT_PX / _DPI), dpi=_DPI)
            axes = figure.add_axes(
                (
                    left / width_px,
                    _BOTTOM_PX / HEIGHT_PX,
                    (width_px - left - _RIGHT_PX) / width_px,
                    (HEIGHT_PX - _TOP_PX - _BOTTOM_PX) / HEIGHT_PX,
                )
            )
            for (name, values), (colour, line) in zip(curves.items(), _LINES, strict=False):
                axes.plot(seconds, values, line, color=colour, lw=1.2, label=name)
            axes.set_ylim(bottom=0)
            axes.set_xlim(0, max(seconds[-1], 1 / fps_hz))
            axes.set_ylabel(unit)
            axes.set_xlabel("seconds", labelpad=1)
            axes.spines[["top", "right"]].set_visible(False)
            axes.legend(
                loc="lower left",
                bbox_to_anchor=(0, 0.97),
                ncols=2,
                frameon=False,
                labelcolor=_INK,
                borderaxespad=0,
            )
            canvas = FigureCanvasAgg(figure)
            canvas.draw()
            self._strip_HW3 = np.asarray(canvas.buffer_rgba())[..., :3].copy()
            points = axes.transData.transform(np.stack([seconds, np.zeros(frames)], axis=1))
        self._columns = np.clip(points[:, 0].round().astype(int), 0, width_px - 1)

    def at(self, index: int) -> np.ndarray:
        """The strip with a line at a frame, uint8 RGB [HEIGHT_PX, W, 3]."""
        strip = self._strip_HW3.copy()
        rows = slice(_TOP_PX, HEIGHT_PX - _BOTTOM_PX)
        strip[rows, self._columns[index]] = matplotlib.colors.to_rgba_array(_INK)[0, :3] * 255
        return strip
