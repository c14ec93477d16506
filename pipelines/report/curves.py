"""Training curves as SVG to stand inside a page, in the page's own colours.

Matplotlib draws with stand-in colours, which are then replaced by the page's CSS variables, so the
same picture is readable on light and on dark.
"""

import io
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

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
# A line with many records is drawn thin, with its running mean over this share of them on top.
SMOOTHED_FROM, WINDOW_SHARE = 40, 0.05


@dataclass(frozen=True)
class Curves:
    """One diagram: a title and an `<svg>` element."""

    title: str
    svg: str


def training_curves(history: Sequence[Mapping[str, Any]]) -> list[Curves]:
    """Loss and colour accuracy over the steps, from the records of a run; empty without records."""
    train = [record for record in history if record["kind"] == "train"]
    held_out = [record for record in history if record["kind"] == "validation"]
    if not train and not held_out:
        return []

    def loss(axes: Axes) -> None:
        _noisy(axes, train, "loss", "training")
        _dotted(axes, held_out, "loss", "held-out", SECOND, "o-")

    def accuracy(axes: Axes) -> None:
        _noisy(axes, train, "accuracy", "training")
        _dotted(axes, held_out, "accuracy", "held-out", SECOND, "o-")
        _dotted(axes, held_out, "copy_accuracy", "copying the last reference", THIRD, "--")

    return [
        Curves("Loss", _drawn("loss", loss)),
        Curves("Colour accuracy", _drawn("accuracy", accuracy)),
    ]


def _noisy(axes: Axes, records: Sequence[Mapping[str, Any]], key: str, label: str) -> None:
    steps, values = _points(records, key)
    if len(values) < SMOOTHED_FROM:
        axes.plot(steps, values, color=FIRST, linewidth=1.4, label=label)
        return
    reach = max(1, round(len(values) * WINDOW_SHARE / 2))
    windows = (values[max(0, i - reach) : i + reach + 1] for i in range(len(values)))
    means = [sum(window) / len(window) for window in windows]
    axes.plot(steps, values, color=FIRST, linewidth=0.8, alpha=0.35)
    axes.plot(steps, means, color=FIRST, linewidth=1.6, label=f"{label} (running mean)")


def _dotted(
    axes: Axes, records: Sequence[Mapping[str, Any]], key: str, label: str, colour: str, style: str
) -> None:
    steps, values = _points(records, key)
    if values:
        axes.plot(steps, values, style, color=colour, markersize=3.5, linewidth=1.4, label=label)


def _points(records: Sequence[Mapping[str, Any]], key: str) -> tuple[list[int], list[float]]:
    """Steps and values of the records that hold the key."""
    held = [record for record in records if record.get(key) is not None]
    return [int(record["step"]) for record in held], [float(record[key]) for record in held]


def _drawn(name: str, draw: Callable[[Axes], None]) -> str:
    """The diagram as SVG; `name` is unique in the page and begins its element ids."""
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
        figure = Figure(figsize=SIZE_INCHES, layout="constrained")
        axes = figure.add_subplot()
        draw(axes)
        axes.set_xlabel("step")
        axes.margins(x=0.02)
        axes.locator_params(axis="x", integer=True)
        if axes.get_legend_handles_labels()[0]:
            axes.legend()
        buffer = io.StringIO()
        nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
        figure.savefig(buffer, format="svg", transparent=True, metadata=nothing)
    return _for_page(buffer.getvalue(), name)


def _for_page(document: str, name: str) -> str:
    """The `<svg>` element of an SVG document: no size or style of its own, unique ids."""
    opening, drawing = document[document.index("<svg") :].split(">", maxsplit=1)
    box = re.search(r'viewBox="[^"]*"', opening)
    assert box is not None
    # The document's style sheet would apply to the whole page.
    drawing = re.sub(r"<style.*?</style>", "", drawing, flags=re.DOTALL)
    svg = f'<svg {box[0]} role="img" aria-label="{name} over the steps of training">{drawing}'
    for stand_in, css in CSS_COLOURS.items():
        svg = svg.replace(stand_in, css)
    return re.sub(r'( id="|href="#|url\(#)', rf"\1{name}-", svg)
