"""What is measured of an object in a frame, without ground truth.

Shape suffixes: h, w cells, N cells of the object, 2 (a, b) of CIE Lab, 3 (L, a, b).
"""

from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial import KDTree

from model.confidence.regions import Floats, Region
from model.propagation.diagnostics import CellDiagnostics

NAN = float("nan")
LEAST_SPREAD = 2.0  # Lab units: no object's colours count as closer together
INSIDE = 0.5  # share of a cell from which on it counts as the object's
RING_CELLS = 3  # width of the surroundings that an object is compared with


@dataclass(frozen=True)
class ObjectSignals:
    """NaN: not known. Means over an object weigh each cell by the share that the object has of it."""

    area_px: float = NAN
    """Pixels of the object (box: width x height); NaN for joints and points."""
    cells: float = NAN
    """Size on the cell grid."""
    image_share: float = NAN
    """Share of the image that it covers: near 1 where a mask has run all over the frame."""
    border_share: float = NAN
    """Share of it that lies in the outermost cells."""
    largest_part: float = NAN
    """Share of its cells that is in their largest connected part: below 1 where it falls to pieces."""
    area_ratio: float = NAN
    """Size relative to the frame before."""
    recent_area_ratio: float = NAN
    """Size relative to the median of the latest frames."""
    anchor_area_ratio: float = NAN
    """Size relative to its latest annotation."""
    width_ratio: float = NAN
    """Width of the rectangle around it relative to its latest annotation."""
    height_ratio: float = NAN
    centroid_jump: float = NAN
    """Way of the centre since the frame before, in diameters of the object there."""
    colour_residual: float = NAN
    """Mean over the object of the distance, in Lab units, between true colours and those that the
    affinity carried from the context's true colours."""
    colour_residual_ratio: float = NAN
    """The same relative to the rest of the frame."""
    colour_residual_spread: float = NAN
    """The same relative to how far the object's own colours spread where it was annotated."""
    drift_residual: float = NAN
    """As `colour_residual`, of colours carried on since the annotated frame."""
    likeness: float = NAN
    """Share of the object whose colour is closer to one of the object's colours than to one of its
    surroundings', both where it was annotated."""
    anchor_likeness: float = NAN
    """The same in the annotated frame itself: how well colours tell the object from what is around."""
    entropy: float = NAN
    """Mean entropy of the affinity, nats."""
    top1_weight: float = NAN
    """Mean largest weight of the affinity."""
    match_spread: float = NAN
    """Mean standard deviation of the places that are matched, in cells."""
    margin: float = NAN
    """Mean lead of the object's soft label over the next best; of boxes, joints and points, which do not
    compete, the greatest value of the column."""
    overlap: float = NAN
    """Of the other objects of its kind the greatest overlap of soft labels: sum of the lesser value in
    each cell over the smaller of the two sums."""
    frame_change: float = NAN
    """How the light changed since the frame before, Lab units: see `frame_change`."""
    anchor_frame_change: float = NAN
    """The same since the latest annotation."""
    frames_since_anchor: float = NAN
    """Frames since its latest annotation."""
    return_overlap: float = NAN
    """Overlap of its annotation with this prediction carried straight back there: see `ReturnCheck`; only
    where somebody asked for it, and in no annotated frame."""


SIGNAL_NAMES = tuple(field.name for field in fields(ObjectSignals))


@dataclass(frozen=True)
class Appearance:
    """The colours of an object and of its surroundings where it was annotated."""

    object_colours: KDTree
    surroundings: KDTree
    spread: float
    """Root mean square distance of the object's colours from their mean in the ab plane, Lab units."""
    likeness: float

    @classmethod
    def of(cls, region: Region, lab_3hw: Floats) -> "Appearance | None":
        """None where either has no cell."""
        inside_hw = _inside(region)
        ring_hw = ndimage.binary_dilation(inside_hw, iterations=RING_CELLS) & (region.share_hw == 0)
        if not inside_hw.any() or not ring_hw.any():
            return None
        inside_N3, ring_N3 = lab_3hw[:, inside_hw].T, lab_3hw[:, ring_hw].T
        ab_N2 = inside_N3[:, 1:]
        spread = float(np.sqrt(np.square(ab_N2 - ab_N2.mean(0)).sum(1).mean()))
        trees = KDTree(inside_N3), KDTree(ring_N3)
        # A cell is its own nearest one, so the second nearest tells how like the object it is.
        own_N = _distances(trees[0], inside_N3, 2)
        return cls(*trees, spread, float((own_N < _distances(trees[1], inside_N3)).mean()))

    def likeness_of(self, region: Region, lab_3hw: Floats) -> float:
        """NaN where the object is not there."""
        inside_hw = _inside(region)
        if not inside_hw.any():
            return NAN
        colours_N3 = lab_3hw[:, inside_hw].T
        object_N = _distances(self.object_colours, colours_N3)
        return float((object_N < _distances(self.surroundings, colours_N3)).mean())


@dataclass(frozen=True)
class CellMaps:
    """The diagnostics of a frame as NumPy arrays."""

    lab_3hw: Floats
    entropy_hw: Floats
    top1_hw: Floats
    spread_hw: Floats
    colour_residual_hw: Floats
    drift_residual_hw: Floats

    @classmethod
    def of(cls, diagnostics: CellDiagnostics) -> "CellMaps":
        maps = (getattr(diagnostics, field.name) for field in fields(cls))
        return cls(*(each.float().cpu().numpy() for each in maps))


def frame_change(lab_3hw: Floats, before_3hw: Floats) -> float:
    """Length of the median change of the cells' Lab colours; what moves in less than half of them does not
    count."""
    return float(np.linalg.norm(np.median(lab_3hw - before_3hw, axis=(1, 2))))


def cell_signals(region: Region, maps: CellMaps) -> dict[str, float]:
    """Means of the maps over an object that is there."""
    residual = _mean(maps.colour_residual_hw, region.share_hw)
    elsewhere = _mean(maps.colour_residual_hw, 1 - region.share_hw)
    return {
        "colour_residual": residual,
        "colour_residual_ratio": residual / max(elsewhere, 1.0) if elsewhere == elsewhere else NAN,
        "drift_residual": _mean(maps.drift_residual_hw, region.share_hw),
        "entropy": _mean(maps.entropy_hw, region.share_hw),
        "top1_weight": _mean(maps.top1_hw, region.share_hw),
        "match_spread": _mean(maps.spread_hw, region.share_hw),
    }


def shape_signals(region: Region, image_px: float) -> dict[str, float]:
    """Of an object that is there, by itself."""
    share_hw = region.share_hw
    edge_hw = np.ones(share_hw.shape, bool)
    edge_hw[1:-1, 1:-1] = False
    total = float(share_hw.sum())
    parts_hw, count = ndimage.label(share_hw > 0, structure=np.ones((3, 3)))
    largest = ndimage.sum_labels(share_hw, parts_hw, np.arange(1, count + 1)).max()
    return {
        "area_px": region.area_px,
        "cells": total,
        "image_share": region.area_px / image_px,
        "border_share": float(share_hw[edge_hw].sum()) / total,
        "largest_part": float(largest) / total,
    }


def label_signals(region: Region, others: list[Region], background_hw: Floats) -> dict[str, float]:
    """How clear the soft label is; `others` are the other objects of its kind, `background_hw` is 0 for
    kinds without one."""
    rivals = [other.soft_hw for other in others]
    overlaps = [_overlap(region.soft_hw, rival_hw) for rival_hw in rivals]
    if region.kind == "mask":
        best_hw = np.max([background_hw, *rivals], axis=0)
        margin = _mean(region.soft_hw - best_hw, region.share_hw)
    else:
        margin = float(region.soft_hw.max())
    return {"margin": margin, "overlap": max(overlaps, default=0.0)}


def _distances(tree: KDTree, colours_N3: Floats, nearest: int = 1) -> Floats:
    """Distance of each colour from the first, second, ... nearest in the tree; infinite without one."""
    return np.asarray(tree.query(colours_N3, k=[nearest])[0])[:, 0]


def _overlap(soft_hw: Floats, other_hw: Floats) -> float:
    least = min(float(soft_hw.sum()), float(other_hw.sum()))
    return float(np.minimum(soft_hw, other_hw).sum()) / least if least > 0 else 0.0


def _inside(region: Region) -> NDArray[np.bool_]:
    """Cells that are the object's; of a small one those in which it has the greatest share."""
    most = float(region.share_hw.max())
    return region.share_hw >= min(INSIDE, most) if most > 0 else region.share_hw > 0


def _mean(map_hw: Floats, share_hw: Floats) -> float:
    total = float(share_hw.sum())
    return float((map_hw * share_hw).sum()) / total if total > 0 else NAN
