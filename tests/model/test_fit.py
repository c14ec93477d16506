import itertools

import pytest

from model.errors import UserError
from model.fit import fit
from tests.model.clips import make_fitter, shifted_clips


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


class Clock:
    """Time that passes only where somebody says so."""

    def __init__(self):
        self.now_s = 100.0

    def perf_counter(self):
        return self.now_s


def test_waiting_and_speed_are_shares_of_the_time_without_validations_and_checkpoints(monkeypatch):
    """A batch is waited for 3 s and a step takes 1 s; each epoch's first batch takes 11 s."""
    clock, recorder = Clock(), Recorder()
    fitter = make_fitter(steps=6, log_every=2, validate_every=3, checkpoint_every=3)
    monkeypatch.setattr("model.fit.time", clock)
    batch = shifted_clips(0)

    def passes(seconds, method):
        def slow(*arguments):
            clock.now_s += seconds
            return method(*arguments)

        return slow

    def slow_batches(epoch):
        for index in range(4):
            clock.now_s += 3.0 if index else 11.0
            yield batch

    monkeypatch.setattr(fitter, "train_step", passes(1.0, fitter.train_step))
    for name, seconds in (("on_train", 500.0), ("validate", 1000.0), ("checkpoint", 2000.0)):
        monkeypatch.setattr(recorder, name, passes(seconds, getattr(recorder, name)))
    fit(fitter, slow_batches, recorder)
    assert [step for step, _ in recorder.validated] == [3, 6]
    assert recorder.checkpoints == [3, 6]
    shares = [r.data_wait_share for r in recorder.train]
    assert shares == pytest.approx([14 / 16, 6 / 8, 14 / 16])
    images = 2 * 4 * 4  # steps, clips, frames
    speeds = [r.images_per_s for r in recorder.train]
    assert speeds == pytest.approx([images / 16, images / 8, images / 16])


def test_same_seed_same_losses():
    losses = []
    for _ in range(2):
        recorder = Recorder()
        fit(make_fitter(steps=10), endless, recorder)
        losses.append([record.loss for record in recorder.train])
    assert losses[0] == losses[1]


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
