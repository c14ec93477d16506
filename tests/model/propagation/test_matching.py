"""Which cells a matching keeps and how it weighs them, on cases that can be counted by hand."""

from typing import Any, Literal

import numpy as np
import pytest
import torch

from model.propagation.affinity import ContextFrame, carry_tiled
from model.propagation.dense import carry_dense
from model.propagation.matching import Matching
from tests.model.propagation.affinity_cases import DEVICES, Path


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("path", [carry_dense, carry_tiled])
def test_equal_logits_keep_the_lowest_frame_row_and_column(path: Path, device: str) -> None:
    height, width = 9, 11
    cells = height * width
    # Label column n is 1 at context cell n only, so a carried label names the cells kept.
    names = torch.eye(2 * cells, device=device).view(2 * cells, 2, height, width)
    key = torch.ones(3, height, width, device=device)
    context = [ContextFrame(key, names[:, number], windowed=True) for number in range(2)]

    carried = path(key, context, Matching(3, 2.0))

    # Cell (4, 5) with radius 2 (strict) sees rows 3 to 5; the first three are (3,4), (3,5), (3,6).
    kept = carried[:, 4, 5].nonzero().flatten().tolist()
    assert kept == [3 * width + 4, 3 * width + 5, 3 * width + 6]
    torch.testing.assert_close(carried[kept, 4, 5].cpu(), torch.full((3,), 1 / 3))
    # Cell (0, 0) sees four cells of each frame; a fifth place goes to the second frame.
    carried = path(key, context, Matching(5, 2.0))
    assert carried[:, 0, 0].nonzero().flatten().tolist() == [0, 1, width, width + 1, cells]


@pytest.mark.parametrize("path", [carry_dense, carry_tiled])
def test_window_is_strict_and_only_on_windowed_frames(path: Path) -> None:
    cells = 5 * 5
    names = torch.eye(2 * cells).view(2 * cells, 2, 5, 5)
    key = torch.ones(1, 5, 5)
    context = [ContextFrame(key, names[:, 0], False), ContextFrame(key, names[:, 1], True)]

    carried = path(key, context, Matching(None, 1.0))

    seen = carried[:, 2, 2].nonzero().flatten().tolist()
    assert seen == [*range(cells), cells + 2 * 5 + 2]
    torch.testing.assert_close(carried[seen, 2, 2], torch.full((cells + 1,), 1 / (cells + 1)))


@pytest.mark.parametrize("path", [carry_dense, carry_tiled])
def test_static_video_keeps_the_oldest_frames(path: Path) -> None:
    """Every frame ties with every other one where nothing moves, which is common in real video."""
    height, width = 13, 15
    codes = 200 * torch.eye(height * width).view(-1, height, width)
    labels = torch.rand(6, 3, height, width, generator=torch.Generator().manual_seed(0))
    context = [ContextFrame(codes, labels[number], number > 0) for number in range(6)]
    carried = path(codes / 100, context, Matching(4, 5.0))
    torch.testing.assert_close(carried, labels[:4].mean(0))


NAMED_GRID = (5, 7)


def carried_names(
    path: Path, logits: torch.Tensor, matching: Matching, place: tuple[int, int]
) -> dict[int, float]:
    """Weights by the number of the context cell, at one query cell; `logits` [F,5,7] are of all of them.

    Every label column is 1 at one context cell only.
    """
    frames, height, width = logits.shape
    names = torch.eye(frames * height * width).view(-1, frames, height, width)
    context = [ContextFrame(logits[f, None], names[:, f], windowed=True) for f in range(frames)]
    weights = path(torch.ones(1, height, width), context, matching)[:, place[0], place[1]]
    return {int(n): float(weights[n]) for n in weights.nonzero().flatten()}


@pytest.mark.parametrize("path", [carry_dense, carry_tiled])
@pytest.mark.parametrize(
    ("shape", "closed", "expected"),
    [  # around cell (2, 3); a disc of radius 2 has four cells at exactly that distance
        ("disc", False, [9, 10, 11, 16, 17, 18, 23, 24, 25]),
        ("disc", True, [3, 9, 10, 11, 15, 16, 17, 18, 19, 23, 24, 25, 31]),
        ("square", False, [9, 10, 11, 16, 17, 18, 23, 24, 25]),
        ("square", True, [r * 7 + c for r in range(5) for c in range(1, 6)]),
    ],
)
def test_shape_and_edge_of_the_window(
    path: Path, shape: Literal["disc", "square"], closed: bool, expected: list[int]
) -> None:
    matching = Matching(None, 2.0, window_shape=shape, window_closed=closed)
    weights = carried_names(path, torch.zeros(1, *NAMED_GRID), matching, (2, 3))
    assert list(weights) == expected
    assert list(weights.values()) == pytest.approx([1 / len(expected)] * len(expected))


@pytest.mark.parametrize("path", [carry_dense, carry_tiled])
def test_where_the_top_k_and_the_softmax_are_taken(path: Path) -> None:
    """Two frames: logits 2 and 1 in the first, 3 in the second, all others -9 (nearly no weight)."""
    logits = torch.full((2, *NAMED_GRID), -9.0)
    logits[0, 1, 1], logits[0, 4, 6], logits[1, 2, 2] = 2.0, 1.0, 3.0
    a, b, c = 1 * 7 + 1, 4 * 7 + 6, 35 + 2 * 7 + 2
    e, rest = np.exp, np.exp(-9.0)

    def weights(**settings: Any) -> dict[int, float]:
        return carried_names(path, logits, Matching(top_k=2, **settings), (0, 0))

    total = e(2) + e(3)
    assert weights() == pytest.approx({a: e(2) / total, c: e(3) / total})
    total = e(1) + e(2) + e(3) + 67 * rest
    assert weights(top_k_stage="after") == pytest.approx({a: e(2) / total, c: e(3) / total})
    # In each frame two are kept: in the second one the first of the equal others, cell (0, 0).
    one, two = e(1) + e(2), e(3) + rest
    expected = {a: e(2) / one / 2, b: e(1) / one / 2, c: e(3) / two / 2, 35: rest / two / 2}
    assert weights(softmax="per_frame") == pytest.approx(expected)
    one, two = e(1) + e(2) + 33 * rest, e(3) + 34 * rest
    expected = {a: e(2) / one / 2, b: e(1) / one / 2, c: e(3) / two / 2, 35: rest / two / 2}
    assert weights(softmax="per_frame", top_k_stage="after") == pytest.approx(expected)


@pytest.mark.parametrize("path", [carry_dense, carry_tiled])
@pytest.mark.parametrize("stage", ["before", "after"])
def test_ties_with_the_last_of_the_top_k(path: Path, stage: Literal["before", "after"]) -> None:
    """DINO's rule: all that reach the k-th best are kept. Logits 3, then 1 in four cells, then 0."""
    logits = torch.zeros(2, *NAMED_GRID)
    tied = [(0, 1, 2), (0, 4, 4), (1, 0, 3), (1, 3, 1)]
    logits[0, 2, 2] = 3.0
    for place in tied:
        logits[place] = 1.0
    best = 2 * 7 + 2
    numbers = [frame * 35 + y * 7 + x for frame, y, x in tied]

    def weights(ties: Literal["first", "all"], k: int) -> dict[int, float]:
        matching = Matching(k, top_k_ties=ties, top_k_stage=stage)
        return carried_names(path, logits, matching, (0, 0))

    seen = np.exp(3) + 4 * np.exp(1) + 65
    for ties, kept in (("first", numbers[:2]), ("all", numbers)):
        total = np.exp(3) + len(kept) * np.exp(1) if stage == "before" else seen
        expected = {best: np.exp(3) / total} | dict.fromkeys(kept, np.exp(1) / total)
        assert weights(ties, 3) == pytest.approx(expected)
    assert weights("all", 1) == weights("first", 1)  # nothing ties with the best
    assert weights("all", 5) == weights("first", 5)


@pytest.mark.parametrize("path", [carry_dense, carry_tiled])
def test_places_outside_the_image_take_their_share(path: Path) -> None:
    """MAST's windows: in a corner five of nine places lie outside, with a logit of 0 and no label."""
    logits = torch.full((1, *NAMED_GRID), 2.0)
    settings: dict[str, Any] = {"window_shape": "square", "window_closed": True}
    inside = [0, 1, 7, 8]
    matching = Matching(None, 1.0, **settings)
    assert carried_names(path, logits, matching, (0, 0)) == pytest.approx(
        dict.fromkeys(inside, 1 / 4)
    )
    matching = Matching(None, 1.0, window_outside="zero", **settings)
    share = np.exp(2) / (4 * np.exp(2) + 5)
    assert carried_names(path, logits, matching, (0, 0)) == pytest.approx(
        dict.fromkeys(inside, share)
    )
    # In the middle nothing is outside, and with negative logits the top-k takes what is outside.
    assert len(carried_names(path, logits, matching, (2, 3))) == 9
    matching = Matching(5, 1.0, window_outside="zero", **settings)
    assert carried_names(path, -logits, matching, (0, 0)) == {}


def test_matching_out_of_range() -> None:
    with pytest.raises(ValueError, match="top_k"):
        Matching(top_k=0)
    with pytest.raises(ValueError, match="radius_cells"):
        Matching(radius_cells=0.0)
    with pytest.raises(ValueError, match="radius_cells: 101 is above 100"):
        Matching(radius_cells=101, window_outside="zero")
