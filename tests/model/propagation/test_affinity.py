"""The dense affinity against explicit loops in NumPy, and the tiled one against the dense one."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from model.propagation.affinity import ContextFrame, carry, carry_dense, carry_tiled

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
    top_k: int | None
    radius: float | None

    def carried(self, path: Path, **options: int) -> torch.Tensor:
        return path(self.query, self.context, top_k=self.top_k, radius_cells=self.radius, **options)


def make_case(
    height: int,
    width: int,
    windowed: list[bool],
    top_k: int | None,
    radius: float | None,
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
    return Case(features(), context, top_k, radius)


def carried_by_loops(case: Case) -> np.ndarray:
    """One query cell at a time, in float64: list what it sees, sort, keep k, weigh, add up."""
    query = case.query.double().numpy()
    _, height, width = query.shape
    out = np.zeros((case.context[0].labels_LHW.shape[0], height, width))
    for y in range(height):
        for x in range(width):
            seen = []
            for number, frame in enumerate(case.context):
                for ky in range(height):
                    for kx in range(width):
                        far = (
                            case.radius is not None
                            and (ky - y) ** 2 + (kx - x) ** 2 >= case.radius**2
                        )
                        if frame.windowed and far:
                            continue
                        key = frame.key_CHW[:, ky, kx].double().numpy()
                        seen.append((-float(query[:, y, x] @ key), number, ky, kx))
            seen.sort()
            kept = seen if case.top_k is None else seen[: case.top_k]
            weights = np.exp([kept[0][0] - entry[0] for entry in kept])
            for weight, (_, number, ky, kx) in zip(weights / weights.sum(), kept, strict=True):
                out[:, y, x] += weight * case.context[number].labels_LHW[:, ky, kx].numpy()
    return out


@st.composite
def cases(draw: st.DrawFn, most: int) -> Case:
    return make_case(
        draw(st.integers(1, most)),
        draw(st.integers(1, most)),
        draw(st.lists(st.booleans(), min_size=1, max_size=4)),
        draw(st.none() | st.integers(1, 60)),
        draw(st.none() | st.sampled_from([0.5, 1.0, 1.5, 2.0, 3.0, 4.25, 6.0, 50.0])),
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
@given(case=cases(most=17), tile_cells=st.integers(1, 9))
def test_tiled_equals_dense(case: Case, tile_cells: int) -> None:
    dense = case.carried(carry_dense)
    tiled = case.carried(carry_tiled, tile_cells=tile_cells)
    torch.testing.assert_close(tiled, dense, atol=2e-5, rtol=0)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize(("top_k", "radius"), [(10, 6.0), (None, 6.0), (7, None), (400, 4.0)])
@pytest.mark.parametrize("levels", [None, 1])
def test_tiled_equals_dense_over_several_tiles(
    device: str, top_k: int | None, radius: float | None, levels: int | None
) -> None:
    case = make_case(
        29, 43, [False, True, True, True, True], top_k, radius, channels=16, levels=levels
    )
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

    carried = path(key, context, top_k=3, radius_cells=2.0)

    # Cell (4, 5) with radius 2 (strict) sees rows 3 to 5; the first three are (3,4), (3,5), (3,6).
    kept = carried[:, 4, 5].nonzero().flatten().tolist()
    assert kept == [3 * width + 4, 3 * width + 5, 3 * width + 6]
    torch.testing.assert_close(carried[kept, 4, 5].cpu(), torch.full((3,), 1 / 3))
    # Cell (0, 0) sees four cells of each frame; a fifth place goes to the second frame.
    carried = path(key, context, top_k=5, radius_cells=2.0)
    assert carried[:, 0, 0].nonzero().flatten().tolist() == [0, 1, width, width + 1, cells]


@pytest.mark.parametrize("path", [carry_dense, carry_tiled])
def test_window_is_strict_and_only_on_windowed_frames(path: Path) -> None:
    cells = 5 * 5
    names = torch.eye(2 * cells).view(2 * cells, 2, 5, 5)
    key = torch.ones(1, 5, 5)
    context = [ContextFrame(key, names[:, 0], False), ContextFrame(key, names[:, 1], True)]

    carried = path(key, context, top_k=None, radius_cells=1.0)

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
    carried = path(codes / 100, context, top_k=4, radius_cells=5.0)
    torch.testing.assert_close(carried, labels[:4].mean(0))


def test_half_precision_features_are_multiplied_in_float32() -> None:
    case = make_case(12, 14, [False, True], 5, 4.0, channels=8)
    half = [ContextFrame(f.key_CHW.half(), f.labels_LHW, f.windowed) for f in case.context]
    full = [ContextFrame(f.key_CHW.float(), f.labels_LHW, f.windowed) for f in half]
    query = case.query.half()
    carried = replace(case, query=query, context=tuple(half)).carried(carry)
    expected = replace(case, query=query.float(), context=tuple(full)).carried(carry)
    assert carried.dtype == torch.float32
    torch.testing.assert_close(carried, expected)


def test_large_logits_do_not_overflow() -> None:
    case = make_case(7, 8, [False, True], None, 3.0)
    assert torch.isfinite(replace(case, query=case.query * 1e3).carried(carry)).all()


@pytest.mark.parametrize("path", [carry_dense, carry_tiled])
def test_what_does_not_fit_is_refused(path: Path) -> None:
    case = make_case(4, 5, [True, True], 2, 3.0)
    with pytest.raises(ValueError, match="at least one context frame"):
        path(case.query, [], top_k=1, radius_cells=None)
    with pytest.raises(ValueError, match="top_k"):
        path(case.query, case.context, top_k=0, radius_cells=None)
    with pytest.raises(ValueError, match="radius_cells"):
        path(case.query, case.context, top_k=None, radius_cells=0.0)
    with pytest.raises(ValueError, match="a key has shape"):
        path(case.query[:, :3], case.context, top_k=None, radius_cells=None)
    short = ContextFrame(case.context[0].key_CHW, case.context[0].labels_LHW[:1], True)
    with pytest.raises(ValueError, match="labels have shape"):
        path(case.query, [case.context[0], short], top_k=None, radius_cells=None)
