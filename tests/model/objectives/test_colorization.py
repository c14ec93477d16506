from dataclasses import replace

import pytest
import torch

from model.colorizer import Colorizer, ColorizerConfig
from model.errors import UserError
from model.objectives.colorization import ClipBatch, Colorization, ColorizationConfig
from tests.model.clips import shifted_clips


def objective(targets="last"):
    torch.manual_seed(0)
    return Colorization(
        Colorizer(ColorizerConfig(4, 16, head="linear")), ColorizationConfig(targets)
    )


def turned(batch, order):
    """The clip with its frames in another order."""
    return ClipBatch(batch.grey_BTHW[:, order], batch.target_BTKhw[:, order])


def test_every_frame_in_turn_is_the_mean_over_clips_that_end_in_it():
    """The linear head sees a frame at a time, so the order of the references does not matter. Batch
    norm in training does not know the order either."""
    batch = shifted_clips(0)
    last, every = objective("last").train(), objective("every").train()
    orders = [[1, 2, 3, 0], [2, 3, 0, 1], [3, 0, 1, 2], [0, 1, 2, 3]]
    expected = torch.stack([last(turned(batch, order)).loss for order in orders]).mean()
    assert every(batch).loss.item() == pytest.approx(expected.item(), rel=1e-5)


def test_validation_colours_the_last_frame_whatever_training_does():
    batch = shifted_clips(1)
    results = [objective(targets).eval()(batch) for targets in ("last", "every")]
    assert results[0].loss.item() == results[1].loss.item()
    assert results[0].accuracy.item() == results[1].accuracy.item()


def test_copying_is_from_the_nearest_frame():
    batch = shifted_clips(2)
    codes = batch.target_BTKhw.argmax(2)
    same = [
        (codes[:, t] == codes[:, n]).float().mean() for t, n in ((0, 1), (1, 0), (2, 1), (3, 2))
    ]
    ours = objective("every").train()(batch).copy_accuracy
    assert ours.item() == pytest.approx(torch.stack(same).mean().item())
    assert objective("last").train()(batch).copy_accuracy.item() == pytest.approx(same[3].item())


def test_an_unknown_target_is_refused():
    with pytest.raises(UserError, match="last or every"):
        replace(ColorizationConfig(), targets="first")
