import numpy as np
import pytest
import torch

from model.color import colour_codes, one_hot
from model.colorizer import Colorizer, ColorizerConfig
from model.errors import UserError
from model.propagation.encoders import LabEncoder, Mix
from model.propagation.protocols import get_protocol
from model.propagation.round_trip import (
    LAB_VARIANCES,
    MIX_SCALES,
    TEMPERATURE_SCALES,
    round_trips,
    score_mixes,
    score_temperatures,
)

CENTROIDS_K2 = torch.tensor([[0.0, 0.0], [60.0, 40.0], [-50.0, 40.0], [30.0, -60.0]])
PALETTE = np.array([(120, 120, 120), (220, 40, 60), (20, 170, 60), (60, 60, 220)], np.uint8)
CELLS = 8
PLAIN = get_protocol("vidcolor", ["frame_size_px=none"])


def clip(frames=4, seed=0):
    """Blocks of four colours, one a cell; each frame is the one before, moved by a cell."""
    codes = np.random.default_rng(seed).integers(0, 4, (CELLS, CELLS))
    moved = [np.roll(codes, t, axis=1) for t in range(frames)]
    return [np.kron(PALETTE[each], np.ones((8, 8, 1), np.uint8)) for each in moved]


class Numbers:
    """Cells know which cell of the first frame they come from, with so much confidence."""

    stride_px = 8

    def __init__(self, confidence):
        self.confidence = confidence
        self.frame = 0

    def encode(self, frame_3HW):
        number = np.roll(np.arange(CELLS**2).reshape(CELLS, CELLS), self.frame, axis=1)
        self.frame += 1
        return one_hot(torch.from_numpy(number), CELLS**2)

    def match(self, references, target):
        return list(references), target * self.confidence


def test_who_knows_comes_home_and_colours_right_and_who_does_not_does_not():
    knows, guesses = round_trips([Numbers(50.0), Numbers(1e-6)], [clip()], CENTROIDS_K2, PLAIN)
    assert knows.home == knows.accuracy == 1.0
    assert knows.colour_loss == pytest.approx(0, abs=1e-3)
    assert guesses.home <= 0.3  # four blocks
    codes = colour_codes(torch.from_numpy(clip()[0]).permute(2, 0, 1), CENTROIDS_K2, (CELLS, CELLS))
    share = torch.bincount(codes.flatten(), minlength=4) / CELLS**2
    assert guesses.colour_loss == pytest.approx(float(-(share * share.log()).sum()), rel=1e-3)


@pytest.mark.parametrize("hard", [False, True])
def test_it_is_what_a_slow_reading_of_the_protocol_gives(hard):
    """The first frame and the last, a window of less than 3 cells, all cells in it, two clips."""
    settings = ["recent_frames=1", "top_k=none", "radius_cells=3"]
    settings += ["window_on_anchor=true", "pad_with_first=false"]
    protocol = get_protocol("crw", [*settings, f"carried_state={'hard' if hard else 'soft'}"])
    clips = [clip(frames=4, seed=3), clip(frames=3, seed=4)]
    (found,) = round_trips([LabEncoder(variance=3000.0)], clips, CENTROIDS_K2, protocol)
    expected = np.mean([slowly(frames, 3000.0, 3.0, hard) for frames in clips], axis=0)
    assert [found.home, found.colour_loss, found.accuracy] == pytest.approx(expected, rel=2e-3)


def slowly(frames, variance, radius, hard):
    """Coming home, colourising loss and accuracy, with explicit loops."""
    pictures = [torch.from_numpy(frame).permute(2, 0, 1) for frame in frames]
    labs = [LabEncoder().encode(picture).flatten(1).T.numpy() for picture in pictures]
    codes = [
        colour_codes(picture, CENTROIDS_K2, (CELLS, CELLS)).flatten().numpy()
        for picture in pictures
    ]
    places = range(CELLS**2)
    block = np.array([2 * (p // CELLS // 4) + p % CELLS // 4 for p in places])

    def carry(target, known, labels):
        rows = []
        for j in places:
            weights, values = [], []
            for frame, label in zip(known, labels, strict=True):
                for i in places:
                    away = np.hypot(i // CELLS - j // CELLS, i % CELLS - j % CELLS)
                    if away < radius:
                        distance = ((labs[target][j] - labs[frame][i]) ** 2).sum()
                        weights.append(np.exp(-distance / (2 * variance)))
                        values.append(label[i])
            rows.append(np.average(values, axis=0, weights=weights))
        return np.array(rows)

    first = np.concatenate([np.eye(4)[codes[0]], np.eye(4)[block]], axis=1)
    labels, losses, hits = [first], [], []
    for t in range(1, len(frames)):
        known = sorted({0, t - 1})
        carried = carry(t, known, [labels[k] for k in known])
        losses.append(np.mean(-np.log(carried[places, codes[t]] + 1e-4)))
        hits.append(np.mean(carried[:, :4].argmax(axis=1) == codes[t]))
        if hard:
            kinds = (carried[:, :4], carried[:, 4:])
            carried = np.concatenate([np.eye(4)[kind.argmax(axis=1)] for kind in kinds], axis=1)
        labels.append(carried)
    back = carry(0, [len(frames) - 1], [labels[-1][:, 4:]])
    return np.mean(back.argmax(axis=1) == block), np.mean(losses), np.mean(hits)


@pytest.fixture(scope="module")
def colorizer():
    torch.manual_seed(0)
    return Colorizer(ColorizerConfig(width=2, embedding_channels=4, head="linear"))


@pytest.mark.parametrize(
    "protocol", [PLAIN, get_protocol("crw", ["top_k=3"])], ids=["vidcolor", "crw"]
)
def test_every_temperature_is_tried_and_the_best_comes_first(colorizer, protocol):
    ranked = score_temperatures(colorizer, [clip()], CENTROIDS_K2, protocol)
    tried = sorted(temperature for temperature, _ in ranked)
    assert tried == pytest.approx([protocol.temperature * s for s in TEMPERATURE_SCALES])
    homes = [trip.home for _, trip in ranked]
    assert homes == sorted(homes, reverse=True)


def test_colours_that_tell_are_trusted_more_than_features_that_do_not(colorizer):
    """An untrained network beside colours; each cell has one of its own, and moves."""
    rng = np.random.default_rng(0)
    cells = rng.integers(0, 256, (CELLS, CELLS, 3)).astype(np.uint8)
    frames = [np.kron(np.roll(cells, t, axis=1), np.ones((8, 8, 1), np.uint8)) for t in range(3)]
    ranked = score_mixes(colorizer, [frames], CENTROIDS_K2, get_protocol("crw"))
    assert {mix for mix, _ in ranked} == {Mix(s, v) for s in MIX_SCALES for v in LAB_VARIANCES}
    homes = [trip.home for _, trip in ranked]
    assert homes == sorted(homes, reverse=True)
    by_mix = dict(ranked)
    trusting, doubting = Mix(max(MIX_SCALES), min(LAB_VARIANCES)), Mix(0.2, max(LAB_VARIANCES))
    assert by_mix[trusting].home > by_mix[doubting].home + 0.1


def test_without_clips_nothing_is_learned(colorizer):
    with pytest.raises(UserError, match="without clips"):
        score_temperatures(colorizer, [], CENTROIDS_K2, PLAIN)
