"""Labels made by hypothesis, and what it means that two are equal."""

import math
from pathlib import Path

import numpy as np
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from model.propagation.annotations import (
    BoxAnnotation,
    KeypointAnnotation,
    MaskAnnotation,
    PointAnnotation,
)
from pipelines.labels.codec import Frame, VideoInfo
from pipelines.labels.formats import open_labels, write_labels

few = settings(max_examples=25, deadline=None)
"""For tests that write files."""

ROW_HEIGHT, ROW_WIDTH = 6, 7
IDS = st.integers(1, 2**31 - 1)
PIXELS = st.floats(-50, 500).map(lambda value: round(value, 3))
EXTENTS = st.floats(0.01, 300).map(lambda value: round(value, 3))
INDICES = st.lists(st.integers(0, 40), min_size=1, max_size=4, unique=True).map(sorted)


def masks(ids=IDS):
    """Masks of one size, with up to three objects that need not be in every frame."""

    def painted(palette):
        index = arrays(np.uint8, (ROW_HEIGHT, ROW_WIDTH), elements=st.integers(0, len(palette)))
        return index.map(lambda i: MaskAnnotation(np.array([0, *palette], np.int64)[i]))

    palettes = st.lists(ids, min_size=1, max_size=3, unique=True)
    return palettes.flatmap(painted)


def with_objects(annotation):
    return bool(annotation.ids_HW.any())


def boxes(ids=IDS, max_size=3):
    rows = st.dictionaries(ids, st.tuples(PIXELS, PIXELS, EXTENTS, EXTENTS), max_size=max_size)
    return rows.map(
        lambda found: BoxAnnotation(
            tuple(found), np.array(list(found.values()), float).reshape(-1, 4)
        )
    )


def places(*shape):
    """Places, some of them hidden."""

    def hide(drawn):
        xy_px, hidden = drawn
        return np.where(hidden[..., None], math.nan, xy_px)

    pairs = st.tuples(
        arrays(float, (*shape, 2), elements=PIXELS), arrays(bool, shape, elements=st.booleans())
    )
    return pairs.map(hide)


def points(ids):
    """Points: seen, hidden at a known place, or hidden without one."""
    hidden = arrays(bool, len(ids), elements=st.booleans())
    return st.tuples(places(len(ids)), st.none() | hidden).map(
        lambda drawn: PointAnnotation(tuple(ids), *drawn)
    )


def skeletons(ids, joints):
    return places(len(ids), joints).map(lambda xy_px: KeypointAnnotation(tuple(ids), xy_px))


def videos(annotations, frames=INDICES):
    """(frame, annotation) in order."""
    return frames.flatmap(
        lambda found: st.tuples(*(st.tuples(st.just(frame), annotations) for frame in found))
    )


def assert_same(read, written):
    """The same labels, whatever the order of the objects."""
    assert type(read) is type(written)
    if isinstance(written, MaskAnnotation):
        assert np.array_equal(read.ids_HW, written.ids_HW)
        return
    order = np.argsort(written.ids)
    assert read.ids == tuple(written.ids[i] for i in order)
    field = {
        BoxAnnotation: "xywh_px_N4",
        PointAnnotation: "xy_px_N2",
        KeypointAnnotation: "xy_px_NK2",
    }[type(written)]
    values = getattr(written, field)[order] if len(order) else getattr(written, field)
    np.testing.assert_allclose(getattr(read, field), values, rtol=0, atol=1e-9)
    if isinstance(written, PointAnnotation):
        assert read.occluded.tolist() == written.occluded[order].tolist()


def read_back(root: Path, format: str, info: VideoInfo, frames: list[tuple[Frame, object]]):
    """What is read of what was written: (frame, annotation) in order."""
    write_labels(format, root, info, frames)
    reader = open_labels(root, format)
    assert reader.videos() == (info.video_id,)
    return [(frame, reader.read(info.video_id, frame)) for frame in reader.frames(info.video_id)]


def assert_round_trip(root: Path, format: str, info: VideoInfo, frames, expected=None):
    expected = list(frames) if expected is None else expected
    found = read_back(root, format, info, frames)
    assert [frame for frame, _ in found] == [frame for frame, _ in expected]
    for (_, read), (_, written) in zip(found, expected, strict=True):
        assert_same(read, written)
