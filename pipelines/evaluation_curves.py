"""Curves of an evaluation as PNG pictures: one for each sequence over its frames, and overall ones."""

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from model.metrics.boxes import DISTANCES_PX, IOU_THRESHOLDS, PRECISION_PX
from model.metrics.keypoints import PckMode, pck
from pipelines.evaluation import MaskEvaluation
from pipelines.evaluation_boxes import BoxEvaluation
from pipelines.evaluation_keypoints import MODES, KeypointEvaluation, share_by_frame
from pipelines.evaluation_parts import PartEvaluation
from pipelines.evaluation_points import PointEvaluation
from pipelines.storage import Location, inside, write_bytes

Evaluation = MaskEvaluation | KeypointEvaluation | PartEvaluation | BoxEvaluation | PointEvaluation

PANEL_INCHES, DPI = (7.0, 2.6), 110
MOST_LEGENDS = 20
"""More lines than this go without names."""
FINE_ALPHAS = tuple(float(alpha) for alpha in np.linspace(0, 0.5, 51))
OVERALL = "all-sequences"
_STYLE: dict[Any, Any] = {
    "font.size": 8,
    "axes.grid": True,
    "grid.color": "#d1d9e0",
    "grid.linewidth": 0.6,
}


@dataclass(frozen=True)
class Line:
    """Values over x; what is not finite is a gap."""

    label: str
    x: Sequence[float]
    y: Sequence[float]
    colour: int = 0
    """Its place in matplotlib's cycle of ten."""
    dashed: bool = False


@dataclass(frozen=True)
class Panel:
    """One pair of axes."""

    x_label: str
    y_label: str
    lines: tuple[Line, ...]
    share: bool = True
    """Whether y is a share, from 0 to 1."""
    mark_x: float | None = None
    """A value of x that is quoted, drawn as an upright line."""


@dataclass(frozen=True)
class Curves:
    """One picture; `name` is that of its file, without `.png`."""

    name: str
    title: str
    panels: tuple[Panel, ...]


def write_curves(folder: Location, evaluation: Evaluation, mode: PckMode = "reference") -> int:
    """Write all pictures of an evaluation below `folder`; returns how many. `mode` is that of PCK.

    Raises:
        UserError: a sequence's name leaves the folder.
    """
    pictures = 0
    for curves in _curves(evaluation, mode):
        write_bytes(inside(folder, f"{curves.name}.png"), picture(curves))
        pictures += 1
    return pictures


def picture(curves: Curves) -> bytes:
    """One picture as PNG."""
    width, height = PANEL_INCHES
    with matplotlib.rc_context(_STYLE):
        size_inches = (width, height * len(curves.panels) + 0.3)
        figure = Figure(figsize=size_inches, dpi=DPI, layout="constrained")
        FigureCanvasAgg(figure)
        # parse_math: dollars in a file's name are no formula
        figure.suptitle(curves.title, parse_math=False)
        rows = figure.subplots(len(curves.panels), squeeze=False)[:, 0]
        for panel, axes in zip(curves.panels, rows, strict=True):
            _draw(panel, axes)
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png")
    return buffer.getvalue()


def _draw(panel: Panel, axes: Axes) -> None:
    for line in panel.lines:
        y = np.asarray(line.y, dtype=float)
        axes.plot(
            np.asarray(line.x, dtype=float),
            np.where(np.isfinite(y), y, np.nan),
            color=f"C{line.colour % 10}",
            linestyle="--" if line.dashed else "-",
            linewidth=1.3,
            marker="." if len(y) < 30 else None,
            label=line.label,
        )
    axes.set_xlabel(panel.x_label)
    axes.set_ylabel(panel.y_label)
    axes.margins(x=0.01)
    if panel.share:
        axes.set_ylim(-0.03, 1.03)
    else:
        axes.set_ylim(bottom=0)
    if panel.mark_x is not None:
        axes.axvline(panel.mark_x, color="#59636e", linewidth=0.8, linestyle=":")
    if 1 < len(panel.lines) <= MOST_LEGENDS:
        axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False)


def _curves(evaluation: Evaluation, mode: PckMode) -> Iterator[Curves]:
    if isinstance(evaluation, MaskEvaluation):
        return _masks(evaluation)
    if isinstance(evaluation, KeypointEvaluation):
        return _keypoints(evaluation, mode)
    if isinstance(evaluation, PartEvaluation):
        return _parts(evaluation)
    if isinstance(evaluation, BoxEvaluation):
        return _boxes(evaluation)
    return _points(evaluation)


def _over_frames(
    y_label: str,
    values: Sequence[tuple[str, Sequence[float]]],
    first_frame: int = 0,
    share: bool = True,
) -> Panel:
    lines = tuple(
        Line(label, range(first_frame, first_frame + len(y)), y, colour)
        for colour, (label, y) in enumerate(values)
    )
    return Panel("frame", y_label, lines, share)


def _masks(evaluation: MaskEvaluation) -> Iterator[Curves]:
    for sequence in evaluation.sequences:
        objects = sequence.objects.items()
        j = [(f"object {k}", scores.j_by_frame) for k, scores in objects]
        f = [(f"object {k}", scores.f_by_frame) for k, scores in objects]
        panels = (_over_frames("J", j, first_frame=1), _over_frames("F", f, first_frame=1))
        yield Curves(sequence.name, f"{sequence.name}: J and F", panels)


def _keypoints(evaluation: KeypointEvaluation, mode: PckMode) -> Iterator[Curves]:
    overall = []
    for colour, each in enumerate(MODES):
        scores = pck([video.errors_by_mode[each] for video in evaluation.videos], FINE_ALPHAS)
        overall.append(Line(each, FINE_ALPHAS, scores.mean.tolist(), colour))
    errors = [video.errors_by_mode[mode] for video in evaluation.videos]
    scores = pck(errors, FINE_ALPHAS)
    joints = tuple(
        Line(joint, FINE_ALPHAS, scores.by_joint_AK[:, k].tolist(), k, dashed=k >= 10)
        for k, joint in enumerate(evaluation.joints)
    )
    panels = (Panel("alpha", "PCK", tuple(overall)), Panel("alpha", f"PCK, {mode}", joints))
    yield Curves(OVERALL, "PCK over alpha", panels)
    for video in evaluation.videos:
        errors_FK = video.errors_by_mode[mode]
        shares = [(f"PCK@{a}", share_by_frame(errors_FK, a).tolist()) for a in (0.1, 0.2)]
        median = [
            float(np.median(row[~np.isnan(row)])) if not np.isnan(row).all() else np.nan
            for row in errors_FK
        ]
        panels = (
            _over_frames(f"share of joints, {mode}", shares, first_frame=1),
            _over_frames("median error", [("", median)], first_frame=1, share=False),
        )
        yield Curves(video.name, f"{video.name}: joints", panels)


def _parts(evaluation: PartEvaluation) -> Iterator[Curves]:
    for video in evaluation.videos:
        panel = _over_frames("mean IoU", [("", video.mean_iou_by_frame)])
        yield Curves(video.name, f"{video.name}: parts", (panel,))


def _boxes(evaluation: BoxEvaluation) -> Iterator[Curves]:
    summary = evaluation.summary
    success = Line("", IOU_THRESHOLDS, summary.success)
    precision = Line("", DISTANCES_PX, summary.precision)
    title = (
        f"success AUC {summary.success_auc:.3f}, "
        f"precision at {PRECISION_PX} px {summary.precision_at_20_px:.3f}"
    )
    panels = (
        Panel("IoU above", "share of frames", (success,)),
        Panel(
            "centre at most so many px off", "share of frames", (precision,), mark_x=PRECISION_PX
        ),
    )
    yield Curves(OVERALL, title, panels)
    for sequence in evaluation.sequences:
        panels = (
            _over_frames("IoU", [("", sequence.iou_T.tolist())]),
            _over_frames(
                "centre error (px)", [("", sequence.centre_error_px_T.tolist())], share=False
            ),
        )
        yield Curves(sequence.name, f"{sequence.name}: boxes", panels)


def _points(evaluation: PointEvaluation) -> Iterator[Curves]:
    for video in evaluation.videos:
        panel = _over_frames("position accuracy", [("", video.accuracy_by_frame)])
        yield Curves(video.name, f"{video.name}: points", (panel,))
