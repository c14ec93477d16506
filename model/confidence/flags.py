"""Why a label may be wrong, by name: rules on signals, with thresholds that belong to a confidence model."""

from dataclasses import dataclass
from typing import Literal, get_args

from model.confidence.signals import ObjectSignals

Flag = Literal["lost", "occluded", "lighting_change", "scale_change", "drift", "merged"]
FLAGS: tuple[Flag, ...] = get_args(Flag)
MEANINGS: dict[Flag, str] = {
    "lost": "covers hardly any of what it did where it was annotated, or nearly the whole image",
    "occluded": "much smaller than in the latest frames, and not because it leaves the image",
    "lighting_change": "the picture's colours changed all over, since the frame before or the annotated one",
    "scale_change": "width and height both grew or shrank much since it was annotated",
    "drift": "far fewer of its colours are the object's than where it was annotated: it sits elsewhere",
    "merged": "its label overlaps with that of another object",
}
"""For people who look at flagged objects: the rules of `flags_of` without their numbers."""


@dataclass(frozen=True)
class Thresholds:
    """A comparison with a signal that is not known (NaN) is never true."""

    lost_area_ratio: float = 0.05
    """`lost`: the object covers less than this of what it did where it was annotated (an object that was
    nowhere yet is not lost) ..."""
    lost_image_share: float = 0.9
    """... or more than this of the image: a mask that ran all over the frame."""
    occluded_area_ratio: float = 0.6
    """`occluded`: it covers less than this of what it did of late (the median of the latest frames) ..."""
    occluded_border_share: float = 0.1
    """... and is not leaving the image: no more than this of it lies at the border."""
    lighting_frame_change: float = 6.0
    """`lighting_change`: the median change of the cells' colours was more than this at once, Lab units ..."""
    lighting_anchor_change: float = 20.0
    """... or by more than this since the annotation."""
    scale_ratio: float = 1.4
    """`scale_change`: width and height both grew or shrank by more than this since the annotation, and
    not by being covered."""
    drift_likeness: float = 0.5
    """`drift`: less than this of what colours told about the object where it was annotated is true of it
    now (likeness over anchor likeness)."""
    merged_overlap: float = 0.35
    """`merged`: the soft labels of two objects overlap by more than this."""


def flags_of(signals: ObjectSignals, thresholds: Thresholds) -> tuple[Flag, ...]:
    """The flags of one object in one frame, in the order of `FLAGS`."""
    s, t = signals, thresholds
    lost = s.anchor_area_ratio < t.lost_area_ratio or s.image_share > t.lost_image_share
    occluded = (
        s.recent_area_ratio < t.occluded_area_ratio and not s.border_share > t.occluded_border_share
    )
    grew = min(s.width_ratio, s.height_ratio) > t.scale_ratio
    shrank = max(s.width_ratio, s.height_ratio) < 1 / t.scale_ratio
    lit = (
        s.frame_change > t.lighting_frame_change or s.anchor_frame_change > t.lighting_anchor_change
    )
    raised: dict[Flag, bool] = {
        "lost": lost,
        "occluded": occluded and not lost,
        "lighting_change": lit,
        "scale_change": (grew or shrank) and not lost and not occluded,
        "drift": s.likeness < t.drift_likeness * s.anchor_likeness and not lost and not lit,
        "merged": s.overlap > t.merged_overlap,
    }
    return tuple(flag for flag in FLAGS if raised[flag])
