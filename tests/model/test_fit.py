import itertools

import pytest
import torch

from model.colorizer import Colorizer, ColorizerConfig
from model.errors import UserError
from model.fit import Diverged, FitConfig, Fitter, fit, learning_rate_at
from model.objectives.colorization import ClipBatch, Colorization


def shifted_clips(seed, clips=4, side=64):
    """Four frames of blocks whose grey value tells their colour, moved by one cell a frame."""
    generator = torch.Generator().manual_seed(seed)
    codes = torch.randint(0, 16, (clips, side // 8, side // 8), generator=generator)
    moved = torch.stack([codes.roll(t, dims=2) for t in range(4)], dim=1)
    target = torch.nn.functional.one_hot(moved, 16).permute(0, 1, 4, 2, 3).to(torch.uint8)
    grey = (moved * 16).repeat_interleave(8, 2).repeat_interleave(8, 3).to(torch.uint8)
    return ClipBatch(grey, target)


class Recorder:
    def __init__(self):
        self.train, self.validated, self.checkpoints = [], [], []

    def on_train(self, record):
        self.train.append(record)

    def validate(self, fitter):
        sums, clips = fitter.evaluate([shifted_clips(999)])
        self.validated.append((fitter.step, (sums / clips).tolist()))

    def checkpoint(self, fitter):
        self.checkpoints.append(fitter.step)


def make_fitter(seed=0, **settings):
    torch.manual_seed(seed)
    defaults = {
        "precision": "float32",
        "log_every": 5,
        "validate_every": 20,
        "checkpoint_every": 20,
    }
    config = FitConfig(**(defaults | settings))
    return Fitter(Colorization(Colorizer(ColorizerConfig(4, 16))), config, torch.device("cpu"))


def endless(epoch):
    return (shifted_clips(1000 * epoch + i) for i in range(10))


def test_learns_to_point_where_copying_in_place_is_wrong():
    recorder = Recorder()
    fit(make_fitter(steps=120, learning_rate=3e-3, lr_drop_at=0.8), endless, recorder)
    first, last = recorder.train[0], recorder.train[-1]
    assert last.loss < 0.6 * first.loss
    loss, accuracy, copy_accuracy = recorder.validated[-1][1]
    assert accuracy > 2 * copy_accuracy
    assert loss < 2.0


def test_records_validations_and_checkpoints_come_when_they_should():
    recorder = Recorder()
    fit(make_fitter(steps=23, validate_every=10, checkpoint_every=15), endless, recorder)
    assert [r.step for r in recorder.train] == [5, 10, 15, 20, 23]
    assert [step for step, _ in recorder.validated] == [10, 20, 23]
    assert recorder.checkpoints == [15, 23]
    assert all(r.images_per_s > 0 and 0 <= r.data_wait_share <= 1 for r in recorder.train)


def test_the_learning_rate_follows_the_papers_schedule():
    config = FitConfig()
    rates = [learning_rate_at(step, config) for step in (0, 59_999, 60_000, 399_999)]
    assert rates == pytest.approx([1e-3, 1e-3, 1e-4, 1e-4])


def test_same_seed_same_losses():
    losses = []
    for _ in range(2):
        recorder = Recorder()
        fit(make_fitter(steps=10), endless, recorder)
        losses.append([record.loss for record in recorder.train])
    assert losses[0] == losses[1]


def test_a_state_that_was_saved_and_loaded_goes_on_as_if_nothing_had_happened(tmp_path):
    batches = [shifted_clips(i) for i in range(8)]
    straight = make_fitter(steps=8)
    for batch in batches:
        straight.train_step(batch)
    first = make_fitter(steps=8)
    for batch in batches[:4]:
        first.train_step(batch)
    torch.save(first.state_dict(), tmp_path / "checkpoint.pt")
    second = make_fitter(seed=5, steps=8)
    second.load_state_dict(torch.load(tmp_path / "checkpoint.pt", weights_only=True))
    assert second.step == 4
    for batch in batches[4:]:
        second.train_step(batch)
    for ours, theirs in zip(
        second.objective.state_dict().values(),
        straight.objective.state_dict().values(),
        strict=True,
    ):
        assert torch.equal(ours, theirs)


def test_a_loss_that_is_not_a_number_stops_the_training():
    fitter = make_fitter(steps=5)
    with torch.no_grad():
        fitter.objective.colorizer.head.embed.weight.fill_(float("nan"))
    with pytest.raises(Diverged, match="step 0"):
        fitter.train_step(shifted_clips(0))


def test_an_epoch_without_batches_is_named():
    with pytest.raises(UserError, match="fewer training clips than one batch"):
        fit(make_fitter(steps=5), lambda epoch: iter(()), Recorder())


def test_epochs_are_numbered_and_repeated():
    seen = []

    def epochs(epoch):
        seen.append(epoch)
        return itertools.islice(endless(epoch), 3)

    fit(make_fitter(steps=8), epochs, Recorder())
    assert seen == [0, 1, 2]


@pytest.mark.parametrize("settings", [{"steps": 0}, {"lr_drop_at": 1.5}, {"log_every": 0}])
def test_settings_out_of_range_are_refused(settings):
    with pytest.raises(UserError):
        FitConfig(**settings)


def test_bf16_gives_nearly_the_same_loss():
    torch.set_num_threads(1)
    full, half = make_fitter(steps=1), make_fitter(steps=1, precision="bf16")
    batch = shifted_clips(0)
    a, b = full.train_step(batch).loss.item(), half.train_step(batch).loss.item()
    assert a == pytest.approx(b, rel=0.05)
    assert all(p.dtype == torch.float32 for p in half.objective.parameters())
