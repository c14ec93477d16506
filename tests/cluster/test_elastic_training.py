"""Training goes on with fewer workers when a machine is lost, and with all of them when one comes."""

import contextlib
import functools
import itertools
import os
import signal
import threading
from pathlib import Path

import pytest
from ray.train.v2.api.config import ScalingConfig

import jobs.train
import jobs.train_run
from jobs.tracking_uri import TrackingUri
from pipelines.run_folder import read_history
from tests.conftest import MakeVideo
from tests.machines import SEAT, another_machine, wait_until
from tests.trainings import EVERY, small_train_dataset, trainings_on

ENDLESS = 1_000_000
"""Steps of a training that is interrupted."""


def recorded(run: Path, key: str) -> list[int]:
    """Of each step."""
    return [r[key] for r in read_history(run) if r["kind"] == "train"]


@pytest.mark.minutes
@pytest.mark.timeout(1800)
def test_training_shrinks_and_grows_with_its_machines(
    ray_session: None, make_video: MakeVideo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two machines with a worker each; one loses its power, and later there is another one."""
    run = tmp_path / "run"
    options = trainings_on(small_train_dataset(tmp_path, make_video))(
        run,
        ENDLESS,
        min_workers=1,
        max_failures=1,
        fit={"checkpoint_every": EVERY, "validate_every": ENDLESS},
        tracking_uri=TrackingUri("http://127.0.0.1:9"),  # machines cannot share SQLite
    )
    monkeypatch.setattr(jobs.train, "worker_resources", lambda _: {"CPU": 1.0, SEAT: 1.0})
    soon = functools.partial(ScalingConfig, elastic_resize_monitor_interval_s=1.0)  # not 60
    monkeypatch.setattr(jobs.train_run, "ScalingConfig", soon)
    with another_machine() as staying, another_machine() as leaving, contextlib.ExitStack() as new:
        monkeypatch.setenv("RAY_ADDRESS", staying.gcs_address)  # not a Ray of this process alone
        steps_before: list[int] = []

        def leave_and_come_back() -> None:
            try:
                wait_until(lambda: len(recorded(run, "step")) >= 3 * EVERY)
                leaving.lose_power()
                steps_before.extend(recorded(run, "step"))
                wait_until(lambda: 1 in recorded(run, "workers"))
                new.enter_context(another_machine())
                wait_until(lambda: recorded(run, "workers")[-1:] == [2])
            finally:
                os.kill(os.getpid(), signal.SIGINT)  # as Ctrl-C

        changes = threading.Thread(target=leave_and_come_back)
        changes.start()
        with pytest.raises(KeyboardInterrupt):
            jobs.train.train(options)
        changes.join()
    workers, steps = recorded(run, "workers"), recorded(run, "step")
    assert [count for count, _ in itertools.groupby(workers)] == [2, 1, 2]
    assert steps == list(range(1, len(steps) + 1))
    kept = workers.index(1)
    assert kept % EVERY == 0
    assert kept > steps_before[-1] - 2 * EVERY  # the newest checkpoint may not have been there yet
