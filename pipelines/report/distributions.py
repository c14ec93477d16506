"""Distributions of a dataset as diagrams: durations, clips a video, frame rates."""

from collections import Counter
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from pipelines.inspection import ShardSample, SourceRates
from pipelines.report.diagram import FIRST, Diagram, drawn

_MOST_BINS = 24
_MOST_RATES = 12


def distributions(sample: ShardSample, sources: SourceRates) -> list[Diagram]:
    """Those of which there is something to show."""
    diagrams: list[Diagram] = []
    if sample.clips_of:
        durations_s = list(sample.durations_s.values())
        diagrams.append(Diagram(f"Duration: {_middle(durations_s, ' s')}", _durations(durations_s)))
        clips = list(sample.clips_of.values())
        diagrams.append(Diagram(f"Clips of a video: {_middle(clips)}", _clips(clips)))
    if sources.rates_hz:
        title = f"Frame rate of the sources: {len(sources.rates_hz)} of {sources.tried} readable"
        diagrams.append(Diagram(title, _rates(sources.rates_hz)))
    return diagrams


def _middle(values: Sequence[float], unit: str = "") -> str:
    low, median, high = np.percentile(values, [5, 50, 95])
    return f"median {median:.3g}{unit} ({low:.3g} to {high:.3g})"


def _durations(durations_s: Sequence[float]) -> str:
    edges = np.histogram_bin_edges(durations_s, bins=min(_MOST_BINS, 2 * len(durations_s)))
    return _histogram("durations", durations_s, edges, "seconds from the first to the last frame")


def _clips(clips: Sequence[int]) -> str:
    most = max(clips)
    width = -(-(most + 1) // _MOST_BINS)
    edges = np.arange(-0.5, most + width + 0.5, width)
    return _histogram("clips", clips, edges, "clips")


def _histogram(name: str, values: Sequence[float], edges: np.ndarray, x_label: str) -> str:
    def draw(axes: Axes) -> None:
        axes.hist(values, bins=edges.tolist(), color=FIRST, rwidth=0.92)
        axes.set_xlabel(x_label)
        _count_axis(axes)

    return drawn(name, f"histogram of {name} of the videos", draw)


def _rates(rates_hz: Sequence[float]) -> str:
    def draw(axes: Axes) -> None:
        counts = Counter(f"{rate:.4g}" for rate in rates_hz)
        shown = sorted(counts.most_common(_MOST_RATES), key=lambda item: float(item[0]))
        axes.bar([rate for rate, _ in shown], [n for _, n in shown], color=FIRST, width=0.7)
        axes.set_xlabel("frames/s" + (", the most frequent" if len(counts) > len(shown) else ""))
        _count_axis(axes)

    return drawn("rates", "frame rates of the source videos", draw)


def _count_axis(axes: Axes) -> None:
    axes.set_ylabel("videos")
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(visible=False, axis="x")
