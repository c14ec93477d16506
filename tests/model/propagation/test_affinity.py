"""The dense affinity against explicit loops in NumPy, and the tiled one against the dense one."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from model.propagation.affinity import (
    ContextFrame,
    carry,
    carry_tiled,
    find_affinity,
)
from model.propagation.dense import carry_dense
from model.propagation.matching import Matching

Path = Callable[..., torch.Tensor]
DEVICES = [
    "cpu",
    pytest.param(
        "cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
    ),
]


@dataclass(frozen=True)
class Case:
    query: torch.Tensor
    context: tuple[ContextFrame, ...]
    matching: Matching

    def carried(self, path: Path, **options: int) -> torch.Tensor:
        return path(self.query, self.context, self.matching, **options)


def make_case(
    height: int,
    width: int,
    windowed: list[bool],
    matching: Matching,
    *,
    channels: int = 4,
    labels: int = 3,
    seed: int = 0,
    levels: int | None = None,
) -> Case:
    """Random features; with `levels`, small whole numbers, so logits are exact and often tie."""
    generator = torch.Generator().manual_seed(seed)

    def features() -> torch.Tensor:
        shape = (channels, height, width)
        if levels is None:
            return torch.randn(shape, generator=generator)
        return torch.randint(-levels, levels + 1, shape, generator=generator).float()

    context = tuple(
        ContextFrame(features(), torch.rand(labels, height, width, generator=generator), seen)
        for seen in windowed
    )
    return Case(features(), context, matching)


def sees(matching: Matching, dy: int, dx: int) -> bool:
    if matching.radius_cells is None:
        return True
    distance = max(abs(dy), abs(dx)) if matching.window_shape == "square" else np.hypot(dy, dx)
    return bool(
        distance <= matching.radius_cells
        if matching.window_closed
        else distance < matching.radius_cells
    )


def carried_by_loops(case: Case) -> np.ndarray:
    """One query cell at a time, in float64: list what it sees, sort, keep k, weigh, add up."""
    query = case.query.double().numpy()
    _, height, width = query.shape
    out = np.zeros((case.context[0].labels_LHW.shape[0], height, width))
    per_frame = case.matching.softmax == "per_frame"
    softmaxes = len(case.context) if per_frame else 1
    for y in range(height):
        for x in range(width):
            seen: list[list[tuple[float, int, int, int]]] = [[] for _ in range(softmaxes)]
            for number, frame in enumerate(case.context):
                margin = margin_cells(case, frame)
                for ky in range(-margin, height + margin):
                    for kx in range(-margin, width + margin):
                        if frame.windowed and not sees(case.matching, ky - y, kx - x):
                            continue
                        score = 0.0
                        if 0 <= ky < height and 0 <= kx < width:
                            score = float(
                                query[:, y, x] @ frame.key_CHW[:, ky, kx].double().numpy()
                            )
                        seen[number if per_frame else 0].append((-score, number, ky, kx))
            for entries in seen:
                entries.sort()
                kept = entries[: case.matching.top_k]
                if case.matching.top_k_ties == "all":
                    kept = [entry for entry in entries if entry[0] <= kept[-1][0]]
                entering = kept if case.matching.top_k_stage == "before" else entries
                total = sum(np.exp(entries[0][0] - entry[0]) for entry in entering)
                for score, number, ky, kx in kept:
                    weight = np.exp(entries[0][0] - score) / total / softmaxes
                    if 0 <= ky < height and 0 <= kx < width:
                        out[:, y, x] += weight * case.context[number].labels_LHW[:, ky, kx].numpy()
    return out


def margin_cells(case: Case, frame: ContextFrame) -> int:
    """How far outside the image places are seen."""
    radius = case.matching.radius_cells
    if case.matching.window_outside == "unseen" or radius is None or not frame.windowed:
        return 0
    return int(np.ceil(radius))


def matching_of(radius_cells: float | None, window_outside: str, **others: Any) -> Matching:
    """Where places outside count, a window not much larger than the image: loops go through all."""
    if window_outside == "zero" and radius_cells is not None:
        radius_cells = min(radius_cells, 7.5)
    return Matching(radius_cells=radius_cells, window_outside=window_outside, **others)  # type: ignore[arg-type]


def matchings() -> st.SearchStrategy[Matching]:
    return st.builds(
        matching_of,
        top_k=st.none() | st.integers(1, 60),
        radius_cells=st.none() | st.sampled_from([0.5, 1.0, 1.5, 2.0, 3.0, 4.25, 6.0, 50.0]),
        window_shape=st.sampled_from(["disc", "square"]),
        window_closed=st.booleans(),
        softmax=st.sampled_from(["joint", "per_frame"]),
        top_k_stage=st.sampled_from(["before", "after"]),
        top_k_ties=st.sampled_from(["first", "all"]),
        window_outside=st.sampled_from(["unseen", "zero"]),
    )


@st.composite
def cases(draw: st.DrawFn, most: int) -> Case:
    return make_case(
        draw(st.integers(1, most)),
        draw(st.integers(1, most)),
        draw(st.lists(st.booleans(), min_size=1, max_size=4)),
        draw(matchings()),
        channels=draw(st.integers(1, 5)),
        labels=draw(st.integers(1, 4)),
        seed=draw(st.integers(0, 10**6)),
        levels=draw(st.none() | st.integers(0, 2)),
    )


@settings(max_examples=60, deadline=None)
@given(case=cases(most=6))
def test_dense_equals_explicit_loops(case: Case) -> None:
    dense = case.carried(carry_dense)
    np.testing.assert_allclose(dense.numpy(), carried_by_loops(case), atol=2e-5)


@settings(max_examples=150, deadline=None)
@given(case=cases(most=14), tile_cells=st.integers(1, 9))
def test_tiled_equals_dense(case: Case, tile_cells: int) -> None:
    dense = case.carried(carry_dense)
    tiled = case.carried(carry_tiled, tile_cells=tile_cells)
    torch.testing.assert_close(tiled, dense, atol=2e-5, rtol=0)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize(
    "matching",
    [
        Matching(10, 6.0),
        Matching(None, 6.0),
        Matching(7, None),
        Matching(400, 4.0),
        Matching(5, None, softmax="per_frame", top_k_stage="after"),
        Matching(5, 12.0, window_shape="square", window_closed=True),
        Matching(5, 7.0, top_k_ties="all"),
        Matching(9, 7.0, window_outside="zero"),
    ],
)
@pytest.mark.parametrize("levels", [None, 1])
def test_tiled_equals_dense_over_several_tiles(
    device: str, matching: Matching, levels: int | None
) -> None:
    case = make_case(29, 43, [False, True, True, True, True], matching, channels=16, levels=levels)
    on_device = replace(
        case,
        query=case.query.to(device),
        context=tuple(
            ContextFrame(frame.key_CHW.to(device), frame.labels_LHW.to(device), frame.windowed)
            for frame in case.context
        ),
    )
    dense = case.carried(carry_dense)
    tiled = on_device.carried(carry)
    torch.testing.assert_close(tiled.cpu(), dense, atol=5e-5, rtol=0)


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


def test_half_precision_features_are_multiplied_in_float32() -> None:
    case = make_case(12, 14, [False, True], Matching(5, 4.0), channels=8)
    half = [ContextFrame(f.key_CHW.half(), f.labels_LHW, f.windowed) for f in case.context]
    full = [ContextFrame(f.key_CHW.float(), f.labels_LHW, f.windowed) for f in half]
    query = case.query.half()
    carried = replace(case, query=query, context=tuple(half)).carried(carry)
    expected = replace(case, query=query.float(), context=tuple(full)).carried(carry)
    assert carried.dtype == torch.float32
    torch.testing.assert_close(carried, expected)


def test_large_logits_do_not_overflow() -> None:
    case = make_case(7, 8, [False, True], Matching(None, 3.0))
    assert torch.isfinite(replace(case, query=case.query * 1e3).carried(carry)).all()


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


@settings(max_examples=40, deadline=None)
@given(case=cases(most=9), columns=st.integers(1, 3))
def test_affinity_found_once_carries_any_labels(case: Case, columns: int) -> None:
    keys = [frame.key_CHW for frame in case.context]
    found = find_affinity(case.query, keys, [f.windowed for f in case.context], case.matching)
    generator = torch.Generator().manual_seed(columns)
    for _ in range(2):
        labels = [torch.rand(columns, *found.size_cells, generator=generator) for _ in keys]
        context = [
            ContextFrame(frame.key_CHW, own, frame.windowed)
            for frame, own in zip(case.context, labels, strict=True)
        ]
        expected = carry_dense(case.query, context, case.matching)
        torch.testing.assert_close(found.apply(labels), expected, atol=2e-5, rtol=0)


def test_sparse_affinity_is_k_numbers_and_weights_a_cell() -> None:
    case = make_case(14, 17, [False, True], Matching(6, 4.0))
    keys = [frame.key_CHW for frame in case.context]
    found = find_affinity(case.query, keys, [False, True], case.matching)
    assert {tile.index.shape[0] for tile in found.tiles} == {6}
    assert sum(tile.index.shape[1] for tile in found.tiles) == 14 * 17
    for tile in found.tiles:
        torch.testing.assert_close(tile.weights.sum(0), torch.ones(tile.weights.shape[1]))


def test_labels_of_another_grid_are_refused() -> None:
    case = make_case(4, 5, [True, True], Matching(2, 3.0))
    keys = [frame.key_CHW for frame in case.context]
    found = find_affinity(case.query, keys, [True, True], case.matching)
    with pytest.raises(ValueError, match="labels of 1 frames, expected 2"):
        found.apply([torch.zeros(1, 4, 5)])
    with pytest.raises(ValueError, match="labels have shape"):
        found.apply([torch.zeros(1, 4, 5), torch.zeros(1, 5, 4)])


@pytest.mark.parametrize("path", [carry_dense, carry_tiled])
def test_what_does_not_fit_is_refused(path: Path) -> None:
    case = make_case(4, 5, [True, True], Matching(2, 3.0))
    every = Matching()
    with pytest.raises(ValueError, match="at least one context frame"):
        path(case.query, [], every)
    with pytest.raises(ValueError, match="a key has shape"):
        path(case.query[:, :3], case.context, every)
    short = ContextFrame(case.context[0].key_CHW, case.context[0].labels_LHW[:1], True)
    with pytest.raises(ValueError, match="labels have shape"):
        path(case.query, [case.context[0], short], every)


def test_matching_out_of_range() -> None:
    with pytest.raises(ValueError, match="top_k"):
        Matching(top_k=0)
    with pytest.raises(ValueError, match="radius_cells"):
        Matching(radius_cells=0.0)
    with pytest.raises(ValueError, match="radius_cells: 101 is above 100"):
        Matching(radius_cells=101, window_outside="zero")
