"""Annotated frames of a video: of labels, of corrections, and of corrections before."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from model.propagation.annotations import (
    BoxAnnotation,
    KeypointAnnotation,
    MaskAnnotation,
    PointAnnotation,
)
from pipelines.anchors import Anchor, digest, find_anchors
from pipelines.archive_plan import LabelSource, UnfitVideo
from pipelines.footage import find_footage
from pipelines.labels.davis import write_mask
from pipelines.labels.formats import open_labels
from pipelines.spans import Span

MASK = np.zeros((4, 6), np.uint8)


def mask(value):
    return np.full_like(MASK, value)


@pytest.fixture
def place(tmp_path: Path) -> Path:
    folder = tmp_path / "archive" / "v"
    folder.mkdir(parents=True)
    for name in ("a", "b", "c", "d"):
        Image.new("RGB", (6, 4)).save(folder / f"{name}.png")
    for name, value in (("a", 1), ("c", 3)):
        write_mask(tmp_path / "labels" / "v" / f"{name}.png", mask(value))
    return tmp_path


def found(place, *, kept=None, corrections=None, **settings):
    (footage,) = find_footage(place / "archive")
    source = LabelSource(place / "labels", **settings)
    reader = None if corrections is None else open_labels(place / corrections)
    return find_anchors(
        footage, footage.first_frame()[1], (source, source.open()), reader, kept or {}
    )


def values(anchors):
    return {index: int(annotation.ids_HW.max()) for index, annotation in anchors.items()}


def test_the_first_or_all_of_the_labels(place: Path) -> None:
    assert values(found(place)) == {0: 1}
    assert values(found(place, anchors="all")) == {0: 1, 2: 3}
    assert found(place, anchors="all").spans("forwards") == [
        Span(0, 2, 0, None),
        Span(2, None, 2, None),
    ]


def test_corrections_win_over_those_before_and_these_over_labels(place: Path) -> None:
    for name, value in (("b", 7), ("a", 8)):
        write_mask(place / "corrected" / "v" / f"{name}.png", mask(value))
    kept = {
        index: Anchor(lambda value=value: MaskAnnotation(mask(value)), f"of {value}")
        for index, value in ((0, 5), (2, 6), (3, 4))
    }
    kept[2] = Anchor(kept[2].read, digest(MaskAnnotation(mask(3))))  # what the labels say as well
    anchors = found(place, anchors="all", kept=kept, corrections="corrected")
    assert values(anchors) == {0: 8, 1: 7, 2: 3, 3: 4}
    assert anchors.digests()[3] == "of 4"
    assert anchors.digests()[0] == digest(MaskAnnotation(mask(8)))


def test_what_cannot_be_used(place: Path) -> None:
    write_mask(place / "corrected" / "v" / "x.png", mask(1))
    with pytest.raises(UnfitVideo, match="a frame 'x' that it does not have") as refused:
        found(place, corrections="corrected")
    assert refused.value.kind == "no_frame"
    (place / "labels" / "v" / "a.png").unlink()
    with pytest.raises(UnfitVideo, match="its labels begin at c, its frames at a") as refused:
        found(place)
    assert refused.value.kind == "no_first_mask"
    assert values(found(place, direction="both")) == {2: 3}


def test_a_digest_is_of_what_is_said() -> None:
    joints = np.array([[[1.0, 2.0], [np.nan, np.nan]]])
    said = [
        MaskAnnotation(mask(1)),
        MaskAnnotation(mask(1), complete=False),
        MaskAnnotation(mask(1).T),
        BoxAnnotation((1,), np.array([[1.0, 2, 3, 4]])),
        BoxAnnotation((2,), np.array([[1.0, 2, 3, 4]])),
        KeypointAnnotation((1,), joints),
        PointAnnotation((1, 2), joints[0]),
    ]
    assert len({digest(each) for each in said}) == len(said)
    assert digest(said[0]) == digest(MaskAnnotation(mask(1).astype(np.int32)))
    assert digest(said[5]) == digest(KeypointAnnotation((1,), joints.copy()))
