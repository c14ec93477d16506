"""Windows laid where a coarse search finds the cell, against sampling written out in NumPy."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from model.propagation.affinity import ContextFrame, carry_tiled, find_affinity
from model.propagation.dense import carry_dense
from model.propagation.engine import Propagator
from model.propagation.matching import Matching
from model.propagation.protocols import get_protocol
from tests.model.propagation.stubs import ColourCodes

Path = Callable[..., torch.Tensor]
PATHS = [carry_dense, carry_tiled]


def mast(radius_cells: float) -> Matching:
    return Matching(
        None, radius_cells, window_shape="square", window_closed=True, window_outside="zero"
    )


def sampled(plane_CHW: NDArray[np.float64], y: float, x: float) -> NDArray[np.float64]:
    """Bilinear between the four cells around a place, 0 outside."""
    _, height, width = plane_CHW.shape
    value = np.zeros(len(plane_CHW))
    for cy in (int(np.floor(y)), int(np.floor(y)) + 1):
        for cx in (int(np.floor(x)), int(np.floor(x)) + 1):
            if 0 <= cy < height and 0 <= cx < width:
                value += (1 - abs(y - cy)) * (1 - abs(x - cx)) * plane_CHW[:, cy, cx]
    return value


def carried_by_sampling(
    query: torch.Tensor, context: list[ContextFrame], radius: int
) -> NDArray[np.float64]:
    """Search, shift, sample and softmax, one cell at a time, in float64."""
    query_CHW = query.double().numpy()
    _, height, width = query_CHW.shape
    steps = [(dy, dx) for dy in range(-radius, radius + 1) for dx in range(-radius, radius + 1)]
    carried = np.zeros((len(context[0].labels_LHW), height, width))
    for y in range(height):
        for x in range(width):
            logits, labels = [], []
            for frame in context:
                key, label = frame.key_CHW.double().numpy(), frame.labels_LHW.double().numpy()
                shift = np.zeros(2)
                if frame.dilation:
                    coarse = np.array(
                        [
                            query_CHW[:, y, x]
                            @ sampled(key, y + frame.dilation * dy, x + frame.dilation * dx)
                            for dy, dx in steps
                        ]
                    )
                    weights = np.exp(coarse - coarse.max())
                    shift = frame.dilation * (weights / weights.sum()) @ np.array(steps)
                for dy, dx in steps:
                    place = (y + shift[0] + dy, x + shift[1] + dx)
                    logits.append(query_CHW[:, y, x] @ sampled(key, *place))
                    labels.append(sampled(label, *place))
            weights = np.exp(np.array(logits) - max(logits))
            carried[:, y, x] = weights / weights.sum() @ np.array(labels)
    return carried


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("scale", [0.3, 3.0])
def test_windows_and_labels_are_sampled_where_the_search_points(path: Path, scale: float) -> None:
    generator = torch.Generator().manual_seed(3)

    def frame(dilation: int) -> ContextFrame:
        key, labels = torch.randn(4, 13, 15, generator=generator), torch.rand(2, 13, 15)
        return ContextFrame(key, labels, windowed=True, dilation=dilation)

    query = scale * torch.randn(4, 13, 15, generator=generator)
    context = [frame(4), frame(2), frame(0), frame(0)]
    expected = carried_by_sampling(query, context, 2)
    np.testing.assert_allclose(path(query, context, mast(2.0)).numpy(), expected, atol=1e-5)


def moved_object(cells: tuple[int, int]) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Key, labels and query of a frame in which every cell is unlike all others, and what a cell had
    is found `cells` (down, right) of it: 19 rows, 21 columns."""
    codes = 30 * torch.eye(19 * 21).view(-1, 19, 21)
    labels = torch.arange(19 * 21).view(1, 19, 21).float()
    return codes, labels, torch.roll(codes, cells, (1, 2))


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(
    ("cells", "dilation", "found"),
    [
        ((2, -3), 0, True),  # within the plain window of three cells
        ((4, 0), 0, False),
        ((4, -6), 2, True),  # places of the search are two cells apart
        ((9, 6), 3, True),
        ((6, -9), 3, True),
        ((9, 6), 2, False),  # further than the search reaches
    ],
)
def test_an_object_that_moves_further_than_the_plain_window(
    path: Path, cells: tuple[int, int], dilation: int, found: bool
) -> None:
    key, labels, query = moved_object(cells)
    context = [ContextFrame(key, labels, windowed=True, dilation=dilation)]
    carried = path(query, context, mast(3.0))
    y, x = 12, 10
    expected = float(labels[0, y - cells[0], x - cells[1]])
    assert (float(carried[0, y, x]) == pytest.approx(expected, abs=0.01)) == found


@pytest.mark.parametrize("path", PATHS)
def test_a_search_between_two_places_meets_in_the_middle(path: Path) -> None:
    """Two equal places six cells apart: the window lies between them and sees neither.

    One row of cells, radius 1, search of three places four cells apart in each direction: those above
    and below lie outside, with logits of 0.
    """
    key = torch.zeros(1, 1, 9)
    key[0, 0, 0] = key[0, 0, 8] = 50.0
    labels = torch.arange(1.0, 10.0).view(1, 1, 9)
    frame = ContextFrame(key, labels, windowed=True, dilation=4)
    carried = path(torch.ones(1, 1, 9), [frame], mast(1.0))
    # From cell 4: places 0 and 8 have logit 50, so the mean offset is 0. All nine logits are 0, three of
    # them of cells 3, 4, 5 with labels 4, 5, 6 and the others outside.
    assert float(carried[0, 0, 4]) == pytest.approx((4 + 5 + 6) / 9)
    # From cell 2 the search sees cells -2, 2 and 6, all with logit 0 as is what lies outside.
    assert float(carried[0, 0, 2]) == pytest.approx((2 + 3 + 4) / 9)


def test_an_affinity_with_such_windows_is_kept() -> None:
    key, labels, query = moved_object((4, -6))
    found = find_affinity(query, [key], [True], mast(3.0), [2])
    frame = ContextFrame(key, labels, windowed=True, dilation=2)
    torch.testing.assert_close(found.apply([labels]), carry_dense(query, [frame], mast(3.0)))


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(
    "change",
    [
        {"top_k": 4},
        {"window_shape": "disc"},
        {"window_closed": False},
        {"window_outside": "unseen"},
    ],
)
def test_other_windows_are_not_laid_elsewhere(path: Path, change: dict[str, object]) -> None:
    key, labels, query = moved_object((1, 1))
    frame = ContextFrame(key, labels, windowed=True, dilation=2)
    with pytest.raises(ValueError, match="laid elsewhere only with top_k=none"):
        path(query, [frame], replace(mast(3.0), **change))  # type: ignore[arg-type]


def test_under_mast_an_old_frame_gives_back_what_moved_far() -> None:
    """Frame 0 shows ten different cells in a row; they are hidden for 15 frames and come back further
    away than a window reaches. All labels there were are those of frame 0."""
    colours = np.random.default_rng(4).integers(0, 256, (10, 3), dtype=np.uint8)
    grey = np.full((6, 36, 3), 128, np.uint8)
    first, last = grey.copy(), grey.copy()
    first[1, 2:12], last[3, 22:32] = colours, colours
    ids = np.zeros((6, 36), np.uint8)
    ids[1, 2:12] = 5

    def pixels(cells: np.ndarray) -> np.ndarray:
        return cells.repeat(8, axis=0).repeat(8, axis=1)

    found = {}
    for settings in ([], ["recentre_after_frames=none"], ["recentre_after_frames=16"]):
        protocol = get_protocol("mast", settings)
        tracker = Propagator(ColourCodes(temperature=0.005), protocol)
        tracker.start(pixels(first), pixels(ids))
        for _ in range(15):
            tracker.step(pixels(grey))
        mask = tracker.step(pixels(last)).mask_HW[4::8, 4::8]
        found[protocol.name] = int((mask[3, 22:32] == 5).sum())
    assert list(found.values()) == [10, 0, 0], found
