"""Training curves: loss and colour accuracy over the steps of a run."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes

from pipelines.report.diagram import FIRST, SECOND, THIRD, Diagram, drawn

# A line with many records is drawn thin, with its running mean over this share of them on top.
SMOOTHED_FROM, WINDOW_SHARE = 40, 0.05


def training_curves(history: Sequence[Mapping[str, Any]]) -> list[Diagram]:
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
        Diagram("Loss", _curve("loss", loss)),
        Diagram("Colour accuracy", _curve("accuracy", accuracy)),
    ]


def _curve(name: str, draw: Callable[[Axes], None]) -> str:
    def over_steps(axes: Axes) -> None:
        draw(axes)
        axes.set_xlabel("step")
        axes.margins(x=0.02)
        axes.locator_params(axis="x", integer=True)

    return drawn(name, f"{name} over the steps of training", over_steps)


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
