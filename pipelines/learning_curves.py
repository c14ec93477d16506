"""What the histories of trainings say: losses, colour accuracy and J&F by step, and as one picture."""

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from scipy.stats import spearmanr

from model.errors import UserError
from pipelines.run_folder import HISTORY_FILE, read_history
from pipelines.storage import Location

SIZE_INCHES, DPI = (11.0, 7.0), 110
FEWEST_FOR_A_RANK = 4
"""Fewer checkpoints have no rank correlation worth the name."""
_DASHES = ("-", "--", ":", "-.")
_STYLE: dict[Any, Any] = {"font.size": 8, "axes.grid": True, "grid.color": "#d1d9e0"}


@dataclass(frozen=True)
class Look:
    """A checkpoint that was scored on annotated videos, beside its validation."""

    step: int
    protocol: str
    jf_mean: float
    held_out_loss: float | None
    accuracy: float | None
    """Held-out colour accuracy; both are None for a step that was not validated."""
    copy_accuracy: float | None


@dataclass(frozen=True)
class LearningCurve:
    """The history of one run."""

    name: str
    trained: tuple[dict[str, Any], ...]
    validated: tuple[dict[str, Any], ...]
    looks: tuple[Look, ...]
    """By protocol, then by step."""

    @property
    def protocols(self) -> list[str]:
        return list(dict.fromkeys(look.protocol for look in self.looks))

    def looks_under(self, protocol: str) -> list[Look]:
        return [look for look in self.looks if look.protocol == protocol]

    def rank_correlation(self, protocol: str) -> float | None:
        """Spearman's, of J&F and colour accuracy over checkpoints; None for too few of them."""
        pairs = [(x.accuracy, x.jf_mean) for x in self.looks_under(protocol) if x.accuracy]
        if len(pairs) < FEWEST_FOR_A_RANK:
            return None
        return float(spearmanr([x for x, _ in pairs], [y for _, y in pairs]).statistic)


def read_curve(run: Location) -> LearningCurve:
    """Raises `UserError` for a folder without a history."""
    records = read_history(run)
    if not records:
        raise UserError(f"{run}: holds no {HISTORY_FILE} with records (is it a run folder?)")
    by_kind = {
        kind: tuple(r for r in records if r["kind"] == kind)
        for kind in ("train", "validation", "probe")
    }
    return LearningCurve(
        name=run.resolve().name,
        trained=by_kind["train"],
        validated=by_kind["validation"],
        looks=tuple(_looks(by_kind["probe"], by_kind["validation"])),
    )


def _looks(probes: Sequence[dict[str, Any]], validated: Sequence[dict[str, Any]]) -> Iterator[Look]:
    by_step = {record["step"]: record for record in validated}
    for probe in sorted(probes, key=lambda record: (record["protocol"], record["step"])):
        beside = by_step.get(probe["step"], {})
        yield Look(
            step=probe["step"],
            protocol=probe["protocol"],
            jf_mean=probe["jf_mean"],
            held_out_loss=beside.get("loss"),
            accuracy=beside.get("accuracy"),
            copy_accuracy=beside.get("copy_accuracy"),
        )


def picture(curves: Sequence[LearningCurve]) -> bytes:
    """All of them as PNG: loss, colour accuracy beside copying, J&F, and J&F against colour accuracy.

    A run has a colour, a protocol a line style.
    """
    protocols = list(dict.fromkeys(p for curve in curves for p in curve.protocols))
    with matplotlib.rc_context(_STYLE):
        figure = Figure(figsize=SIZE_INCHES, dpi=DPI, layout="constrained")
        FigureCanvasAgg(figure)
        (loss, accuracy), (jf, against) = figure.subplots(2, 2)
        for number, curve in enumerate(curves):
            colour = f"C{number % 10}"
            _by_step(loss, curve.trained, "loss", f"{curve.name}, training", colour, alpha=0.35)
            _by_step(loss, curve.validated, "loss", f"{curve.name}, held out", colour, marker=".")
            shown = f"{curve.name}, held out"
            _by_step(accuracy, curve.validated, "accuracy", shown, colour, marker=".")
            _by_step(accuracy, curve.validated, "copy_accuracy", "copying", colour, linestyle="--")
            for protocol in curve.protocols:
                dashes = _DASHES[protocols.index(protocol) % len(_DASHES)]
                _draw_looks(jf, against, curve, protocol, colour, dashes)
        for axes, x, y in (
            (loss, "step", "colourising loss"),
            (accuracy, "step", "colour accuracy"),
            (jf, "step", "J&F"),
            (against, "held-out colour accuracy", "J&F"),
        ):
            axes.set_xlabel(x)
            axes.set_ylabel(y)
            if axes.lines:
                axes.legend(frameon=False)
            else:
                axes.text(0.5, 0.5, "not measured", ha="center", transform=axes.transAxes)
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png")
    return buffer.getvalue()


def _by_step(
    axes: Axes, records: Sequence[dict[str, Any]], key: str, label: str, colour: str, **style: Any
) -> None:
    if records:
        steps, values = [r["step"] for r in records], [r[key] for r in records]
        axes.plot(steps, values, color=colour, label=label, linewidth=1.3, **style)


def _draw_looks(
    jf: Axes, against: Axes, curve: LearningCurve, protocol: str, colour: str, dashes: str
) -> None:
    looks = curve.looks_under(protocol)
    style: dict[str, Any] = {"color": colour, "linestyle": dashes, "marker": "."}
    style["label"] = f"{curve.name}, {protocol}"
    jf.plot([look.step for look in looks], [look.jf_mean for look in looks], **style)
    pairs = [(look.accuracy, look.jf_mean, look.step) for look in looks if look.accuracy]
    if not pairs:
        return
    against.plot([x for x, _, _ in pairs], [y for _, y, _ in pairs], **style | {"linewidth": 0.7})
    for x, y, step in pairs:
        against.annotate(f"{step:,}", (x, y), fontsize=6, textcoords="offset points", xytext=(3, 3))
