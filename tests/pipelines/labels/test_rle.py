import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from pycocotools import mask as coco

from model.errors import UserError
from pipelines.labels.rle import decode_runs, decode_segmentation, encode_runs, paint

SHAPES = st.tuples(st.integers(1, 40), st.integers(1, 40))
MASKS = SHAPES.flatmap(lambda shape: arrays(bool, shape))


def plain_runs(mask):
    """Lengths of the runs down the columns, counted one pixel after another."""
    runs, value = [0], False
    for pixel in mask.T.ravel().tolist():
        if pixel != value:
            runs.append(0)
            value = pixel
        runs[-1] += 1
    return runs


@given(MASKS)
def test_runs_are_those_of_pycocotools_and_come_back(mask):
    text = encode_runs(mask)
    oracle = coco.encode(np.asfortranarray(mask.astype(np.uint8)))
    assert text.encode() == oracle["counts"]
    assert np.array_equal(decode_runs("a", mask.shape, text), mask)
    assert np.array_equal(decode_runs("a", mask.shape, plain_runs(mask)), mask)


def test_runs_of_a_large_frame_with_long_and_falling_runs():
    mask = np.zeros((2160, 3840), bool)
    mask[5:2000, 7:3000] = True
    mask[100:107, 100:3000:9] = False
    assert np.array_equal(decode_runs("a", mask.shape, encode_runs(mask)), mask)


@given(st.text(st.characters(min_codepoint=48, max_codepoint=111), max_size=12))
def test_any_text_is_read_or_refused(text):
    """Where the text is accepted, pycocotools' own area agrees."""
    try:
        mask = decode_runs("a.json", (4, 5), text)
    except UserError:
        return
    assert mask.shape == (4, 5)
    assert mask.sum() == coco.area({"size": [4, 5], "counts": text.encode()})


@pytest.mark.parametrize(
    ("counts", "cause"),
    [
        ("", "damaged"),
        ("1P", "damaged"),  # the last number goes on
        ("PPPPPPPPP0", "damaged"),  # a number of more than 32 bits
        ("é0", "damaged"),
        ("\ud8000", "damaged"),
        ("d0", "do not fill"),  # one run of 20
        ("T1", "do not fill"),
        ("ooooo0", "do not fill"),
        ([21], "do not fill"),
        ([19], "do not fill"),
        ([0, 10, 11], "do not fill"),
        ([], "text or a list"),
        ([-1, 21], "text or a list"),
        ([20.0], "text or a list"),
        ([2**40], "text or a list"),
        ([True], "text or a list"),
        (None, "text or a list"),
    ],
)
def test_runs_that_lie_are_refused(counts, cause):
    with pytest.raises(UserError, match=rf"^a\.json: .*{cause}"):
        decode_runs("a.json", (4, 6), counts)


def test_very_many_runs_that_would_wrap_round_are_refused():
    with pytest.raises(UserError, match="do not fill"):
        decode_runs("a", (4, 5), [2**32 - 1] * 10)


def test_polygons_are_those_of_pycocotools():
    triangle, square = [1, 1, 9, 1, 1, 9], [10.5, 2, 14, 2, 14, 6, 10.5, 6]
    expected = coco.decode(coco.merge(coco.frPyObjects([triangle, square], 12, 16))).astype(bool)
    assert np.array_equal(decode_segmentation("a", (12, 16), [triangle, square]), expected)
    whole_pixels = decode_segmentation("a", (5, 6), [[1, 2, 4, 2, 4, 4, 1, 4]])
    assert np.argwhere(whole_pixels).tolist() == [[y, x] for y in (2, 3) for x in (1, 2, 3)]


@pytest.mark.parametrize(
    ("segmentation", "cause"),
    [
        ({"size": [6, 4], "counts": "0"}, r"frame of \[6, 4\], the video has \[4, 6\]"),
        ({"size": [10**9, 10**9], "counts": "0"}, "the video has"),
        ({"size": "4x6", "counts": "0"}, "the video has"),
        ({"size": [4, 6]}, "neither"),
        ([], "neither"),
        ("0", "neither"),
        ([[1, 1, 2, 2]], "three points"),
        ([[1, 1, 2, 2, 3]], "three points"),
        ([[1, 1, 2, 2, 3, "4"]], "three points"),
        ([[1, 1, 2, 2, 3, float("nan")]], "must be a finite number"),
        ([[1, 1, 2, 2, 3, 10**400]], "must be a finite number"),
        ([[1, 1, 1e9, 2, 3, 3]], "far outside"),
        ([7], "three points"),
    ],
)
def test_segmentations_that_are_none_are_refused(segmentation, cause):
    with pytest.raises(UserError, match=cause):
        decode_segmentation("a", (4, 6), segmentation)


def test_objects_that_meet_lie_on_top_or_are_refused():
    left, right = np.zeros((2, 3), bool), np.zeros((2, 3), bool)
    left[:, :2] = right[:, 1:] = True
    masks = [(7, left), (300, right)]
    painted = paint("a", (2, 3), masks, "later on top")
    assert painted.ids_HW.tolist() == [[7, 300, 300]] * 2
    with pytest.raises(UserError, match="objects 7 and 300 overlap"):
        paint("a", (2, 3), masks, "refuse")
