"""Each flag on a small video in which exactly that happens, and none of them in a quiet one.

Shape suffixes: H, W pixels, T frames.
"""

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from model.color import rgb_to_lab
from model.confidence.flags import FLAGS, MEANINGS
from model.confidence.tracker import ObjectConfidence, VideoConfidence
from model.propagation.encoders import LabEncoder
from model.propagation.engine import Propagator
from model.propagation.frame_encoder import Encoder
from model.propagation.protocols import get_protocol
from tests.model.propagation.stubs import STRIDE

HEIGHT, WIDTH = 12 * STRIDE, 24 * STRIDE
FRAMES = 12
Frame = NDArray[np.uint8]
RED, GREEN, PILLAR = (200, 60, 60), (20, 133, 60), (60, 60, 200)


def ground() -> Frame:
    """Stripes of greys and browns that differ from place to place."""
    rng = np.random.default_rng(5)
    cells = rng.integers(-14, 15, (HEIGHT // STRIDE, WIDTH // STRIDE, 3))
    picture = np.array([120, 115, 100]) + cells.repeat(STRIDE, 0).repeat(STRIDE, 1)
    return picture.astype(np.uint8)


def paint(
    picture: Frame, left: int, top: int, width: int, height: int, colour: Sequence[int]
) -> None:
    """A rectangle of a colour, shaded from top to bottom."""
    rows = slice(max(top, 0), max(top + height, 0))
    columns = slice(max(left, 0), max(left + width, 0))
    shade = np.linspace(0.9, 1.1, height)[rows.start - top :, None, None]
    part = picture[rows, columns]
    part[:] = np.clip(np.array(colour) * shade[: len(part)], 0, 255)


class Luma:
    """The lightness of a cell and nothing else, which lets colours of one lightness be mistaken."""

    stride_px = STRIDE

    def encode(self, frame_3HW: Tensor) -> Tensor:
        lightness = rgb_to_lab(frame_3HW)[:1]
        return torch.nn.functional.avg_pool2d(lightness, STRIDE)

    def match(self, references: Sequence[Tensor], target: Tensor) -> tuple[list[Tensor], Tensor]:
        keys = [torch.cat((each, -each.square() / 2)) for each in references]
        return keys, torch.cat((target, torch.ones_like(target)))


def judged(
    frames: Sequence[Frame], mask: Frame, encoder: Encoder | None = None, radius_cells: float = 12
) -> list[dict[int, ObjectConfidence]]:
    """What is made of each object, by frame."""
    # Labels are to go wrong: nothing is to be found again far from where it was.
    near = ["window_on_anchor=true", "pad_with_first=false", f"radius_cells={radius_cells}"]
    protocol = get_protocol("crw", near)
    propagator = Propagator(encoder or LabEncoder(), protocol, diagnose=True)
    confidence = VideoConfidence(None)
    rows = [confidence.start(frames[0], propagator.start(frames[0], mask))]
    rows += [confidence.step(frame, propagator.step(frame)) for frame in frames[1:]]
    return [{each.object_id: each for each in row} for row in rows]


def raised(rows: Sequence[dict[int, ObjectConfidence]]) -> set[str]:
    return {flag for row in rows for each in row.values() for flag in each.flags}


def mask_of(*boxes: tuple[int, int, int, int]) -> Frame:
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    for label, (left, top, width, height) in enumerate(boxes, start=1):
        mask[top : top + height, left : left + width] = label
    return mask


START = (24, 24, 40, 40)


def scene(happening: str) -> tuple[list[Frame], Frame]:
    """A red block that moves to the right by 3 px a frame, and what happens to it."""
    frames = []
    for time in range(FRAMES):
        picture, left, top, width, height = ground(), 24 + 3 * time, 24, 40, 40
        if happening == "scale_change":
            width = height = 40 + 3 * time
            top -= time
        if not (happening == "lost" and time >= 6):
            paint(picture, left, top, width, height, RED)
        if happening == "occluded" and time >= 6:
            paint(picture, left - 6, 0, 30, HEIGHT, PILLAR)
        if happening == "lighting_change" and time >= 6:
            picture = (picture * 0.75).astype(np.uint8)
        frames.append(picture)
    return frames, mask_of(START)


def test_a_quiet_video_raises_nothing() -> None:
    rows = judged(*scene("nothing"))
    assert raised(rows) == set()
    for row in rows[1:]:
        signals = row[1].signals
        assert signals.colour_residual < 5
        assert signals.likeness > 0.8
        assert 0.8 < signals.anchor_area_ratio < 1.25


@pytest.mark.parametrize("flag", ["lost", "occluded", "lighting_change", "scale_change"])
def test_what_happens_is_named_when_it_happens(flag: str) -> None:
    rows = judged(*scene(flag))
    assert raised(rows[:5]) == set()
    assert raised(rows[6:]) == {flag}


def test_light_that_fades_slowly_is_named_once_it_is_far_from_the_annotated_one() -> None:
    bright, mask = scene("nothing")
    frames = [(picture * (1 - 0.06 * time)).astype(np.uint8) for time, picture in enumerate(bright)]
    flagged = ["lighting_change" in row[1].flags for row in judged(frames, mask)]
    assert flagged == sorted(flagged) and not flagged[4] and flagged[-1]


def test_a_label_that_goes_over_to_another_thing_has_drifted() -> None:
    """A green block as light as the red one stands in its place and takes its label over."""
    frames = []
    for time in range(FRAMES):
        picture = ground()
        paint(picture, *START, RED if time < 4 else GREEN)
        frames.append(picture)
    rows = judged(frames, mask_of(START), Luma(), radius_cells=3)
    assert raised(rows[:4]) == set()
    assert raised(rows[4:]) == {"drift"}
    assert all(row[1].signals.drift_residual > 20 for row in rows[4:])
    told_apart = judged(frames, mask_of(START), radius_cells=3)
    assert "drift" not in raised(told_apart)  # by their colours: that object is lost


def test_objects_that_cannot_be_told_apart_merge() -> None:
    """Two red blocks meet."""
    frames = []
    for time in range(FRAMES):
        picture = ground()
        paint(picture, min(24 + 8 * time, 76), 24, 40, 40, RED)
        paint(picture, max(128 - 8 * time, 76), 32, 40, 40, RED)
        frames.append(picture)
    rows = judged(frames, mask_of((24, 24, 40, 40), (128, 32, 40, 40)), radius_cells=3)
    assert raised(rows[:3]) == set()
    assert "merged" in rows[-1][1].flags and "merged" in rows[-1][2].flags


def test_a_mask_all_over_the_frame_is_lost() -> None:
    frames = [np.full((HEIGHT, WIDTH, 3), 90, np.uint8) for _ in range(3)]
    mask = np.ones((HEIGHT, WIDTH), np.uint8)
    mask[:8] = 0
    rows = judged(frames, mask)
    assert "lost" in rows[-1][1].flags


def test_every_flag_has_a_scene() -> None:
    tested = {"lost", "occluded", "lighting_change", "scale_change", "drift", "merged"}
    assert tested == set(FLAGS)


def test_the_documentation_says_of_every_flag_what_the_review_page_says() -> None:
    """And the page has its flags in the order of their bits."""
    text = (Path(__file__).parents[3] / "docs" / "confidence.md").read_text(encoding="utf-8")
    rows = dict(re.findall(r"^\| `(\w+)` \| ([^|]+) \| [^|]+ \|$", text, re.MULTILINE))
    assert rows == MEANINGS
    assert tuple(MEANINGS) == FLAGS
