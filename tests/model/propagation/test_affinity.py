"""The dense affinity against explicit loops in NumPy, and the tiled one against the dense one."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from model.propagation.affinity import ContextFrame, carry, carry_tiled
from model.propagation.dense import carry_dense
from model.propagation.matching import Matching
from tests.model.propagation.affinity_cases import DEVICES, Case, Path, cases, make_case


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
