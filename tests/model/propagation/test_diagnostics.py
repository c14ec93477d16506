"""What the affinity tells of itself: against a dense computation, under every protocol's softmax."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from model.color import rgb_to_lab
from model.propagation.affinity import ContextFrame, carry, carry_observed
from model.propagation.annotations import MaskAnnotation
from model.propagation.engine import Propagator
from model.propagation.matching import Matching
from model.propagation.protocols import PROTOCOLS, get_protocol
from tests.model.propagation.stubs import STRIDE, ColourCodes

SIZE_CELLS = (5, 7)
FRAMES = 3


def dense_weights(
    query_CHW: torch.Tensor, keys: list[torch.Tensor], matching: Matching
) -> list[np.ndarray]:
    """The weights of every query cell in each softmax, float64 [Q,S], by sorting whole rows."""
    height, width = SIZE_CELLS
    y, x = np.divmod(np.arange(height * width), width)
    dy, dx = abs(y[:, None] - y), abs(x[:, None] - x)
    distance = np.hypot(dy, dx) if matching.window_shape == "disc" else np.maximum(dy, dx)
    radius = np.inf if matching.radius_cells is None else matching.radius_cells
    seen = distance <= radius if matching.window_closed else distance < radius
    query = query_CHW.flatten(1).T.double().numpy()
    logits = [query @ key.flatten(1).double().numpy() for key in keys]
    logits = [np.where(seen, each, -np.inf) for each in logits]
    if matching.softmax == "joint":
        logits = [np.concatenate(logits, axis=1)]
    missing = np.zeros(len(query))  # places outside the image, with logits of 0
    if matching.window_outside == "zero":
        missing = (2 * radius + 1) ** 2 * len(keys) - sum(
            np.isfinite(each).sum(1) for each in logits
        )
    softmaxes = []
    for each in logits:
        kept = np.ones(each.shape, bool)
        if matching.top_k is not None and matching.top_k < each.shape[1]:
            kept = each >= np.sort(each, axis=1)[:, -matching.top_k, None]
        if matching.top_k_stage == "before":
            each = np.where(kept, each, -np.inf)
        top = each.max(1, keepdims=True)
        weights = np.exp(each - top)
        total = weights.sum(1, keepdims=True) + missing[:, None] * np.exp(-top)
        softmaxes.append(np.where(kept, weights / total, 0.0))
    return softmaxes


@pytest.mark.parametrize("name", sorted(PROTOCOLS))
def test_weights_are_described_as_a_dense_computation_does(name: str) -> None:
    matching = get_protocol(name).matching
    if matching.radius_cells is not None:
        matching = replace(matching, radius_cells=2.0)
    generator = torch.Generator().manual_seed(3)
    query, *keys = torch.randn(1 + FRAMES, 4, *SIZE_CELLS, generator=generator)
    labels, observed = torch.rand(2, FRAMES, 3, *SIZE_CELLS, generator=generator)
    context = [ContextFrame(k, c, True) for k, c in zip(keys, labels, strict=True)]

    carried, watched, statistics = carry_observed(query, context, matching, list(observed))

    softmaxes = dense_weights(query, keys, matching)
    shares = [w / w.sum(1, keepdims=True) for w in softmaxes]
    logs = [np.log(share, where=share > 0, out=np.zeros_like(share)) for share in shares]
    entropy = np.mean([-(s * log).sum(1) for s, log in zip(shares, logs, strict=True)], axis=0)
    whole = np.concatenate(softmaxes, axis=1) / len(softmaxes)
    cell = np.arange(whole.shape[1]) % (SIZE_CELLS[0] * SIZE_CELLS[1])
    places = np.stack(np.divmod(cell, SIZE_CELLS[1])).astype(float)
    share = whole / whole.sum(1, keepdims=True)
    variance = share @ (places**2).T - (share @ places.T) ** 2
    expected = {
        "entropy_HW": entropy,
        "top1_HW": np.mean([w.max(1) for w in softmaxes], axis=0),
        "spread_HW": np.sqrt(np.maximum(variance, 0).sum(1)),
        "mass_HW": whole.sum(1),
    }
    for map_name, values in expected.items():
        actual = getattr(statistics, map_name).flatten().numpy()
        np.testing.assert_allclose(actual, values, atol=2e-3, err_msg=map_name)
    columns = torch.cat([c.flatten(1) for c in observed], dim=1).double().numpy()
    np.testing.assert_allclose(watched.flatten(1).numpy(), columns @ whole.T, atol=1e-4)
    assert torch.equal(carried, carry(query, context, matching))


def moving_square(frames: int, colour: tuple[int, int, int]) -> tuple[list[np.ndarray], np.ndarray]:
    """A square that moves by a cell a frame over a grey ground, and its mask in the first frame."""
    pictures = []
    for frame in range(frames):
        picture = np.full((6 * STRIDE, 12 * STRIDE, 3), 90, np.uint8)
        left = (1 + frame) * STRIDE
        picture[2 * STRIDE : 4 * STRIDE, left : left + 2 * STRIDE] = colour
        pictures.append(picture)
    mask = np.zeros(pictures[0].shape[:2], np.uint8)
    mask[2 * STRIDE : 4 * STRIDE, STRIDE : 3 * STRIDE] = 1
    return pictures, mask


@pytest.mark.parametrize("name", sorted(PROTOCOLS))
def test_labels_do_not_depend_on_being_watched(name: str) -> None:
    pictures, mask = moving_square(4, (200, 40, 40))
    protocol = replace(get_protocol(name), frame_size_px=None)
    plain = Propagator(ColourCodes(0.05), protocol)
    watched = Propagator(ColourCodes(0.05), protocol, diagnose=True)
    assert plain.start(pictures[0], mask).diagnostics is None
    first = watched.start(pictures[0], mask).diagnostics
    assert first is not None and first.entropy_hw.isnan().all()
    for picture in pictures[1:]:
        result, expected = watched.step(picture), plain.step(picture)
        assert torch.equal(result.probabilities_LHW, expected.probabilities_LHW)
        assert expected.diagnostics is None
        diagnostics = result.diagnostics
        assert diagnostics is not None
        assert diagnostics.entropy_hw.isfinite().all()
        assert diagnostics.top1_hw.min() > 0 and diagnostics.top1_hw.max() <= 1 + 1e-5


def test_the_residual_is_the_distance_of_the_colours_that_were_carried() -> None:
    """A square that turns from red to blue on the way: the affinity can only bring other colours."""
    pictures, mask = moving_square(3, (200, 40, 40))
    pictures[2] = moving_square(3, (40, 40, 200))[0][2]
    propagator = Propagator(ColourCodes(0.01), get_protocol("crw"), diagnose=True)
    propagator.start(pictures[0], mask)
    quiet = propagator.step(pictures[1]).diagnostics
    turned = propagator.step(pictures[2]).diagnostics
    assert quiet is not None and turned is not None
    assert quiet.colour_residual_hw.max() < 1
    lab = rgb_to_lab(torch.tensor([[200, 40, 40], [40, 40, 200], [90, 90, 90]]).T[:, :, None])
    red, blue, grey = lab[1:, :, 0].T
    residual_hw = turned.colour_residual_hw
    nearest = min((red - blue).norm().item(), (grey - blue).norm().item())
    assert residual_hw[2:4, 3:5].min() > 0.9 * nearest
    assert residual_hw[0].max() < 1
    assert turned.drift_residual_hw[2:4, 3:5].min() > 0.9 * nearest


def test_an_annotated_frame_hands_on_its_own_colours() -> None:
    """After an anchor the colours start anew, so the drift of what came before is gone."""
    red, mask = moving_square(4, (200, 40, 40))
    blue, _ = moving_square(4, (40, 40, 200))
    propagator = Propagator(ColourCodes(0.01), get_protocol("corrflow"), diagnose=True)
    propagator.start(red[0], mask)
    propagator.step(blue[1])
    drifted = propagator.step(blue[2]).diagnostics
    assert drifted is not None
    square = (slice(2, 4), slice(3, 5))
    assert drifted.colour_residual_hw[square].max() < 1 < drifted.drift_residual_hw[square].min()
    moved = np.roll(mask, 2 * STRIDE, axis=1)
    propagator = Propagator(ColourCodes(0.01), get_protocol("corrflow"), diagnose=True)
    propagator.start(red[0], mask)
    propagator.step(blue[1], ())
    propagator.step(blue[2], (MaskAnnotation(moved),))
    fresh = propagator.step(blue[3]).diagnostics
    assert fresh is not None and fresh.drift_residual_hw[2:4, 4:6].max() < 1
