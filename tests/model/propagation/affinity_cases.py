"""Queries, contexts and matchings, made up, for tests of the affinity."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from hypothesis import strategies as st

from model.propagation.affinity import ContextFrame
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
