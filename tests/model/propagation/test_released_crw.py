"""`crw` against a slow, literal reading of how CRW's released code carries labels.

A clip is the video behind 20 copies of its frame 0. Each frame is labelled from frame 0, seen whole, and the
20 frames before it in the clip, seen within 12 cells; the ten likest cells of all of them count.

Shape suffixes: T frames, C channels, L labels, H W cells, N all cells of a frame.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from model.propagation.engine import Propagator
from model.propagation.protocols import get_protocol
from tests.model.propagation.stubs import STRIDE

HEIGHT, WIDTH, CHANNELS, FRAMES = 15, 18, 6, 26
COPIES, RADIUS, TOP_K, TEMPERATURE = 20, 12, 10, 0.05


class Given:
    """Features that are there already, frame by frame."""

    stride_px = STRIDE

    def __init__(self, features_TCHW: Tensor) -> None:
        self._left = list(features_TCHW)

    def encode(self, _: Tensor) -> Tensor:
        return self._left.pop(0)

    def match(self, references: list[Tensor], target: Tensor) -> tuple[list[Tensor], Tensor]:
        return list(references), target / TEMPERATURE


def literal(features_TCN: NDArray[np.float64], labels_LN: NDArray[np.float64]) -> list:
    """The labels of every frame after the first."""
    rows, columns = np.divmod(np.arange(HEIGHT * WIDTH), WIDTH)
    distance = np.hypot(rows[:, None] - rows, columns[:, None] - columns)
    far = np.where(distance < RADIUS, 0.0, -1e10)
    clip = [features_TCN[0]] * COPIES + list(features_TCN)
    labels = [labels_LN] * (COPIES + 1)
    for target in range(COPIES + 1, len(clip)):
        context = [0, *range(target - COPIES, target)]
        logits = np.concatenate(
            [
                clip[each].T @ clip[target] / TEMPERATURE + (far if place else 0.0)
                for place, each in enumerate(context)
            ]
        )
        known = np.concatenate([labels[each] for each in context], axis=1)
        best = np.argsort(-logits, axis=0, kind="stable")[:TOP_K]
        chosen = np.take_along_axis(logits, best, axis=0)
        weights = np.exp(chosen - chosen.max(0))
        labels.append((known[:, best] * (weights / weights.sum(0))).sum(1))
    return labels[COPIES + 1 :]


def test_labels_are_those_of_a_literal_reading() -> None:
    """With features that say little, so that frame 0 is taken from far away as well; past its copies too."""
    rng = np.random.default_rng(3)
    features = torch.from_numpy(rng.normal(size=(FRAMES, CHANNELS, HEIGHT, WIDTH)))
    features = torch.nn.functional.normalize(features, dim=1)
    mask = rng.integers(0, 3, (HEIGHT, WIDTH)).astype(np.uint8)
    picture = np.zeros((HEIGHT * STRIDE, WIDTH * STRIDE, 3), np.uint8)
    propagator = Propagator(Given(features.float()), get_protocol("crw"))
    first = propagator.start(picture, mask.repeat(STRIDE, 0).repeat(STRIDE, 1))
    results = [propagator.step(picture) for _ in range(1, FRAMES)]

    labels_LN = first.probabilities_LHW.double().numpy().reshape(3, -1)
    np.testing.assert_array_equal(labels_LN, (np.arange(3)[:, None] == mask.ravel()).astype(float))
    expected = literal(features.flatten(2).numpy(), labels_LN)
    for number, (result, wanted) in enumerate(zip(results, expected, strict=True)):
        found = result.probabilities_LHW.numpy().reshape(3, -1)
        np.testing.assert_allclose(found, wanted, atol=1e-4, err_msg=f"frame {number + 1}")
