"""An affinity that is found once and carries labels later."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from model.propagation.affinity import ContextFrame, find_affinity
from model.propagation.dense import carry_dense
from model.propagation.matching import Matching
from tests.model.propagation.affinity_cases import Case, cases, make_case


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
