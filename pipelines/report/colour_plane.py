"""The codebook as a diagram: where its colours lie in the ab plane, and how often each is used."""

from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes

from pipelines.codebook import Codebook
from pipelines.report.clip_pictures import lab_rgb
from pipelines.report.diagram import TEXT, drawn

LIGHTNESS = 65.0
"""At which colours of the plane are shown."""
_SIZE_INCHES = (5.2, 5.2)
_LARGEST_AREA_POINTS2 = 2600.0
_LEAST_REACH = 40.0
_MARGIN = 18.0
_PLANE_PX = 256


@dataclass(frozen=True)
class ClusterShare:
    """A cluster of the codebook, its colour as shown, and its share of the cells."""

    a: float
    b: float
    colour: str
    """#rrggbb"""
    share: float


def cluster_shares(codebook: Codebook, counts_K: np.ndarray | None) -> list[ClusterShare]:
    """The clusters, the most frequent first; shares are 0 without any cell."""
    counts = np.zeros(len(codebook.centroids)) if counts_K is None else counts_K.astype(float)
    shares = counts / max(counts.sum(), 1.0)
    colours = _colours(codebook.centroids_K2)
    rows = [
        ClusterShare(a, b, "#{:02x}{:02x}{:02x}".format(*colour), float(share))
        for (a, b), colour, share in zip(codebook.centroids, colours, shares, strict=True)
    ]
    return sorted(rows, key=lambda row: -row.share)


def plane(clusters: list[ClusterShare]) -> str:
    """The ab plane as `<svg>`: a disc a cluster, its area the share; behind it what sRGB can show."""

    def draw(axes: Axes) -> None:
        places = np.array([(cluster.a, cluster.b) for cluster in clusters])
        reach = max(float(np.abs(places).max()), _LEAST_REACH) + _MARGIN
        axes.imshow(_gamut(reach), extent=(-reach, reach, -reach, reach), origin="lower", zorder=0)
        largest = max(max(cluster.share for cluster in clusters), 1e-9)
        axes.scatter(
            places[:, 0],
            places[:, 1],
            s=[max(_LARGEST_AREA_POINTS2 * c.share / largest, 12.0) for c in clusters],
            c=[cluster.colour for cluster in clusters],
            edgecolors=TEXT,
            linewidths=1.0,
            zorder=2,
            gid="discs",
        )
        axes.axhline(0, color=TEXT, linewidth=0.5, alpha=0.4)
        axes.axvline(0, color=TEXT, linewidth=0.5, alpha=0.4)
        axes.set_xlabel("a: green to red")
        axes.set_ylabel("b: blue to yellow")
        axes.set_aspect("equal")

    label = "clusters of the codebook in the ab plane, area by share"
    return drawn("plane", label, draw, _SIZE_INCHES)


def _colours(ab_N2: np.ndarray) -> np.ndarray:
    lab = np.concatenate((np.full((len(ab_N2), 1), LIGHTNESS), ab_N2), axis=1)
    return lab_rgb(lab[None])[0]


def _gamut(reach: float) -> np.ndarray:
    """RGBA uint8 of the square -reach..reach, first row at the bottom; empty outside sRGB."""
    axis = np.linspace(-reach, reach, _PLANE_PX, dtype=np.float32)
    a, b = np.meshgrid(axis, axis)
    rgb = lab_rgb(np.stack((np.full_like(a, LIGHTNESS), a, b), axis=-1))
    # A colour outside sRGB has a channel at its limit.
    inside = ((rgb > 0) & (rgb < 255)).all(axis=-1)
    return np.dstack((rgb, np.where(inside, 70, 0).astype(np.uint8)))
