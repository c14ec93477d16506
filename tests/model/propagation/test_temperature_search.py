import numpy as np
import pytest
import torch

from model.color import colour_codes, one_hot
from model.errors import UserError
from model.propagation.encoders import LabEncoder
from model.propagation.protocols import get_protocol
from model.propagation.temperature_search import SCALES, score_temperatures

CENTROIDS_K2 = torch.tensor([[0.0, 0.0], [60.0, 40.0], [-50.0, 40.0], [30.0, -60.0]])
PALETTE = np.array([(120, 120, 120), (220, 40, 60), (20, 170, 60), (60, 60, 220)], np.uint8)


def clip(frames=4, cells=4, seed=0):
    """Blocks of four colours, one a cell; each frame is the one before, moved by a cell."""
    codes = np.random.default_rng(seed).integers(0, 4, (cells, cells))
    moved = [np.roll(codes, t, axis=1) for t in range(frames)]
    return [np.kron(PALETTE[each], np.ones((8, 8, 1), np.uint8)) for each in moved]


class Numbers:
    """Cells know which cell of the first frame they come from, with so much confidence."""

    stride_px = 8

    def __init__(self, confidence):
        self.confidence = confidence
        self.frame = 0

    def encode(self, frame_3HW):
        rows, columns = frame_3HW.shape[1] // 8, frame_3HW.shape[2] // 8
        number = np.roll(np.arange(rows * columns).reshape(rows, columns), self.frame, axis=1)
        self.frame += 1
        return one_hot(torch.from_numpy(number), rows * columns)

    def match(self, references, target):
        return list(references), target * self.confidence


def scores(encoder, *settings, clips):
    protocol = get_protocol("vidcolor", ["frame_size_px=none", *settings])
    return score_temperatures(encoder, clips, CENTROIDS_K2, protocol)


def test_features_that_know_are_trusted_and_those_that_do_not_are_not():
    """At the own temperature a right match weighs e^1 of 16 others; it should weigh far more."""
    best = scores(Numbers(1.0), clips=[clip()])[0]
    assert best.temperature == pytest.approx(0.5 * min(SCALES))
    assert best.accuracy == 1.0
    unlike = [clip(seed=seed)[0] for seed in range(4)]
    assert scores(Numbers(1.0), clips=[unlike])[0].temperature == pytest.approx(0.5 * max(SCALES))


def test_the_loss_is_that_of_colours_carried_frame_after_frame():
    """Over all of a clip, by a slow reading of the protocol: last two frames, no window, joint softmax."""
    frames = clip(seed=3)
    found = scores(LabEncoder(variance=5000.0), "recent_frames=2", clips=[frames])
    chosen = found[-1]
    scale = chosen.temperature / 0.5
    pictures = [torch.from_numpy(frame).permute(2, 0, 1) for frame in frames]
    labs = [LabEncoder().encode(picture).flatten(1).T.numpy() for picture in pictures]
    codes = [colour_codes(picture, CENTROIDS_K2, (4, 4)).flatten().numpy() for picture in pictures]
    labels = [np.eye(4)[codes[0]]]
    losses, hits = [], []
    for t in range(1, 4):
        known = range(max(0, t - 2), t)
        there = np.concatenate([labs[i] for i in known])
        distance = ((labs[t][:, None] - there[None]) ** 2).sum(axis=2)
        weights = np.exp(-distance / 10_000.0 / scale)
        weights /= weights.sum(axis=1, keepdims=True)
        labels.append(weights @ np.concatenate([labels[i] for i in known]))
        losses.extend(-np.log(labels[t][np.arange(16), codes[t]] + 1e-4))
        hits.extend(labels[t].argmax(axis=1) == codes[t])
    assert chosen.loss > 0.1
    assert chosen.loss == pytest.approx(np.mean(losses), rel=1e-3)
    assert chosen.accuracy == pytest.approx(np.mean(hits))


def test_every_temperature_has_a_score_and_the_best_comes_first():
    ranked = scores(LabEncoder(), "carried_state=hard", "top_k=3", clips=[clip()])
    assert sorted(s.temperature for s in ranked) == pytest.approx([0.5 * s for s in SCALES])
    assert [s.loss for s in ranked] == sorted(s.loss for s in ranked)


def test_without_clips_nothing_is_learned():
    with pytest.raises(UserError, match="without clips"):
        scores(LabEncoder(), clips=[])
