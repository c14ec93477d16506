import numpy as np
import pytest
import torch

from model.errors import UserError
from model.propagation.encoders import LabEncoder
from model.propagation.matching import Matching
from model.propagation.mix_search import LAB_VARIANCES, TEMPERATURE_SCALES, score_mixes

TEMPERATURE = 0.05


class PlantedFeatures:
    """Cosines of vectors that are planted in the frames' red plane: its cells' numbers, or noise."""

    stride_px = 8

    def encode(self, frame_3HW):
        numbers = frame_3HW[0, ::8, ::8].long()
        generator = torch.Generator().manual_seed(0)
        vectors = torch.randn(256, 32, generator=generator)
        return torch.nn.functional.normalize(vectors[numbers].permute(2, 0, 1), dim=0)

    def match(self, references, target):
        return list(references), target / TEMPERATURE


def blocks(values):
    """A plane with one value a cell."""
    return values.to(torch.uint8).repeat_interleave(8, 0).repeat_interleave(8, 1)


def clip(features_tell, colours_tell, cells=6, seed=0):
    """Three frames; from each to the next what tells moves by a cell, and the rest is noise."""
    generator = torch.Generator().manual_seed(seed)

    def plane(tells):
        noise = [torch.randint(0, 36, (cells, cells), generator=generator) for _ in range(3)]
        distinct = torch.randperm(cells * cells, generator=generator).reshape(cells, cells)
        return [distinct.roll(t, 1) for t in range(3)] if tells else noise

    frames = [
        torch.stack((blocks(red), blocks(100 + 2 * other), blocks(170 - 2 * other)))
        for red, other in zip(plane(features_tell), plane(colours_tell), strict=True)
    ]
    return torch.stack(frames)


class ColoursButRed(LabEncoder):
    """The red plane holds the planted features, so it is no colour here."""

    def encode(self, frame_3HW):
        return super().encode(torch.stack((torch.zeros_like(frame_3HW[0]), *frame_3HW[1:])))


def scores(*clips, top_k=10, **matching):
    return score_mixes(PlantedFeatures(), ColoursButRed(), clips, Matching(top_k, **matching))


def test_features_that_tell_are_trusted_more_than_colours_that_do_not():
    best = scores(clip(True, False), clip(True, False, seed=1))[0].mix
    assert best.temperature_scale <= 2
    assert best.lab_variance >= 100


def test_colours_that_tell_are_trusted_more_than_features_that_do_not():
    best = scores(clip(False, True), clip(False, True, seed=1))[0].mix
    assert best.temperature_scale == max(TEMPERATURE_SCALES)
    assert best.lab_variance <= 40


def test_every_mix_has_a_score_and_the_best_comes_first():
    ranked = scores(clip(True, True))
    assert len(ranked) == len(TEMPERATURE_SCALES) * len(LAB_VARIANCES)
    assert [s.loss for s in ranked] == sorted(s.loss for s in ranked)


@pytest.mark.parametrize(
    ("top_k", "matching"),
    [
        (None, {}),
        (3, {}),
        (None, {"radius_cells": 2.5}),
        (4, {"radius_cells": 2.5}),
        (7, {"radius_cells": 1.5}),  # more than a corner sees
        (3, {"radius_cells": 2, "window_closed": True}),
        (3, {"radius_cells": 1, "window_closed": True, "window_shape": "square"}),
        (3, {"radius_cells": 2.5, "top_k_stage": "after"}),
    ],
)
def test_the_score_is_the_mean_log_probability_of_coming_home(top_k, matching):
    frames = clip(True, True, cells=5)
    features, colours = PlantedFeatures(), ColoursButRed()
    chosen = scores(frames, top_k=top_k, **matching)[3]
    radius = matching.get("radius_cells", 99)
    square, closed = matching.get("window_shape") == "square", matching.get("window_closed")

    def affinity(reference, target):
        rows = np.zeros((25, 25))
        f_key, f_query = features.encode(reference).flatten(1), features.encode(target).flatten(1)
        l_key, l_query = colours.encode(reference).flatten(1), colours.encode(target).flatten(1)
        for j in range(25):
            logits = {}
            for i in range(25):
                away = abs(i // 5 - j // 5), abs(i % 5 - j % 5)
                distance = max(away) if square else np.hypot(*away)
                if distance > radius or (distance == radius and not closed):
                    continue
                cosine = float(f_key[:, i] @ f_query[:, j])
                distance = float(((l_key[:, i] - l_query[:, j]) ** 2).sum())
                temperature = TEMPERATURE * chosen.mix.temperature_scale
                logits[i] = cosine / temperature - distance / (2 * chosen.mix.lab_variance)
            kept = sorted(logits, key=lambda i: -logits[i])[:top_k]
            summed = logits if matching.get("top_k_stage") == "after" else kept
            weights = np.exp([logits[i] for i in kept])
            rows[j, kept] = weights / sum(np.exp(logits[i]) for i in summed)
        return rows

    there = affinity(frames[1], frames[2]) @ affinity(frames[0], frames[1])
    back = affinity(frames[2], frames[0])
    home = [sum(back[i, j] * there[j, i] for j in range(25)) for i in range(25)]
    expected = np.mean([-np.log(p + 1e-4) for p in home])
    assert chosen.loss == pytest.approx(expected, rel=1e-3)


def test_without_clips_nothing_is_learned():
    with pytest.raises(UserError, match="without clips"):
        scores()
