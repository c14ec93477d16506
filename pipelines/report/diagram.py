"""Diagrams as SVG to stand inside a page, in the page's own colours.

Matplotlib draws with stand-in colours, which are then replaced by the page's CSS variables, so the
same picture is readable on light and on dark.
"""

import io
import re
from collections.abc import Callable
from dataclasses import dataclass

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

# Stand-ins: colours that nothing else is drawn in, and what the page has instead.
TEXT, GRID, FIRST, SECOND, THIRD = "#010203", "#010204", "#010205", "#010206", "#010207"
CSS_COLOURS = {
    TEXT: "currentColor",
    GRID: "var(--line)",
    FIRST: "var(--series-1)",
    SECOND: "var(--series-2)",
    THIRD: "var(--muted)",
}
SIZE_INCHES = (5.2, 3.0)


@dataclass(frozen=True)
class Diagram:
    """A title and an `<svg>` element."""

    title: str
    svg: str


def drawn(
    name: str,
    label: str,
    draw: Callable[[Axes], None],
    size_inches: tuple[float, float] = SIZE_INCHES,
) -> str:
    """What `draw` puts on the axes, as an `<svg>` element.

    `name` is unique in the page and begins the ids of its elements; `label` is read out to those who
    do not see the picture.
    """
    style = matplotlib.rc_context(
        {
            "svg.hashsalt": name,
            "svg.fonttype": "none",
            "font.size": 10,
            "axes.edgecolor": GRID,
            "axes.labelcolor": TEXT,
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.grid": True,
            "axes.axisbelow": True,
            "grid.color": GRID,
            "grid.linewidth": 0.6,
            "xtick.color": GRID,
            "ytick.color": GRID,
            "xtick.labelcolor": TEXT,
            "ytick.labelcolor": TEXT,
            "legend.frameon": False,
            "legend.labelcolor": TEXT,
        }
    )
    with style:
        figure = Figure(figsize=size_inches, layout="constrained")
        axes = figure.add_subplot()
        draw(axes)
        if axes.get_legend_handles_labels()[0]:
            axes.legend()
        buffer = io.StringIO()
        nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
        figure.savefig(buffer, format="svg", transparent=True, metadata=nothing)
    return _for_page(buffer.getvalue(), name, label)


def _for_page(document: str, name: str, label: str) -> str:
    """The `<svg>` element of an SVG document: no size or style of its own, unique ids."""
    opening, drawing = document[document.index("<svg") :].split(">", maxsplit=1)
    box = re.search(r'viewBox="[^"]*"', opening)
    assert box is not None
    # The document's style sheet would apply to the whole page.
    drawing = re.sub(r"<style.*?</style>", "", drawing, flags=re.DOTALL)
    svg = f'<svg {box[0]} role="img" aria-label="{label}">{drawing}'
    for stand_in, css in CSS_COLOURS.items():
        svg = svg.replace(stand_in, css)
    return re.sub(r'( id="|href="#|url\(#)', rf"\1{name}-", svg)
