"""Trainings as a whole: what they leave, what they survive, how they end when they cannot go on."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest
import torch
from safetensors.torch import load_file

from jobs.options import to_yaml
from jobs.train import train
from model.colorizer import ColorizerConfig, load_colorizer
from model.errors import UserError
from pipelines.run_folder import read_history
from tests.conftest import REPOSITORY
from tests.jobs.conftest import EVERY, STEPS, Training

LONGEST_S = 120.0


def losses(run: Path, kind: str = "train") -> dict[int, float]:
    """Loss by step."""
    return {r["step"]: r["loss"] for r in read_history(run) if r["kind"] == kind}


def checkpoints(run: Path) -> set[int]:
    return {int(path.name.removeprefix("checkpoint_")) for path in run.glob("checkpoint_*/")}


def test_the_best_checkpoint_and_the_last_are_kept_and_exported(undisturbed: Path) -> None:
    held_out = losses(undisturbed, "validation")
    assert list(held_out) == list(range(EVERY, STEPS + 1, EVERY))
    best = min(held_out, key=lambda step: held_out[step])
    assert checkpoints(undisturbed) == {best, STEPS}
    for name, step in (("model.safetensors", STEPS), ("best.safetensors", best)):
        path = undisturbed / f"checkpoint_{step:08d}" / "checkpoint.pt"
        state = torch.load(path, weights_only=True)
        assert state["step"] == step
        weights = load_colorizer(undisturbed / name).state_dict()
        assert all(torch.equal(state["objective"][f"colorizer.{k}"], v) for k, v in weights.items())
    assert not list(undisturbed.rglob("failure.log"))


def wait_for_a_checkpoint(run: Path) -> None:
    """Until Ray Train has written down that there is one."""
    deadline_s = time.monotonic() + LONGEST_S
    while not (run / "checkpoint_manager_snapshot.json").exists():
        assert time.monotonic() < deadline_s, "waited too long"
        time.sleep(0.02)


def assert_nothing_shows(run: Path, undisturbed: Path) -> None:
    """No step is missing or there twice, and every loss is the very one of a run without interruption."""
    assert losses(run) == losses(undisturbed)
    assert losses(run, "validation") == losses(undisturbed, "validation")
    assert list(losses(run)) == list(range(1, STEPS + 1))
    assert (run / "model.safetensors").exists()


def test_a_killed_worker_costs_nothing_but_time(
    training: Training, undisturbed: Path, tmp_path: Path
) -> None:
    """Same seed and as many workers: the same losses."""
    killed: list[psutil.Process] = []

    def kill() -> None:
        wait_for_a_checkpoint(tmp_path / "run")
        workers = [
            process
            for process in psutil.Process().children(recursive=True)
            if "TrainWorker" in " ".join(process.cmdline())
        ]
        workers[-1].kill()
        killed.append(workers[-1])

    killer = threading.Thread(target=kill)
    killer.start()
    train(training(tmp_path / "run"))
    killer.join()
    assert len(killed) == 1
    assert_nothing_shows(tmp_path / "run", undisturbed)


def test_a_killed_driver_is_resumed(training: Training, undisturbed: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    (tmp_path / "train.yaml").write_text(to_yaml(training(run)))
    driver = subprocess.Popen(
        [sys.executable, "-m", "jobs.cli", "train", "--config", str(tmp_path / "train.yaml")],
        cwd=REPOSITORY,
        env={**os.environ, "RAY_ADDRESS": ""},
        start_new_session=True,
    )
    wait_for_a_checkpoint(run)
    os.killpg(driver.pid, signal.SIGKILL)
    driver.wait()
    assert not (run / "model.safetensors").exists()
    train(training(run, resume=True))
    assert_nothing_shows(run, undisturbed)


def test_a_loss_that_is_no_number_stops_at_once_and_leaves_the_batch(
    training: Training, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    with pytest.raises(UserError, match=r"loss is (nan|inf) at step \d+: its batch is in") as told:
        train(training(run, fit={"learning_rate": 1e30}, workers=1))
    assert "\n" not in str(told.value)
    assert str(run / "failure.log") in str(told.value)
    assert "Traceback" in (run / "failure.log").read_text()
    (saved,) = run.glob("diverged-*.safetensors")
    assert str(saved) in str(told.value)
    tensors = load_file(saved)
    assert {tuple(t.shape[:2]) for t in tensors.values()} == {(4, 4)}


def test_a_run_is_not_resumed_as_another_one(training: Training, undisturbed: Path) -> None:
    wider = ColorizerConfig(width=8)
    with pytest.raises(UserError, match=r"config.yaml: the run to resume has another model \("):
        train(training(undisturbed, resume=True, model=wider))
    with pytest.raises(UserError, match=r"is not empty \(use --resume, --overwrite or"):
        train(training(undisturbed))


@pytest.mark.parametrize(
    ("changes", "cause"),
    [
        ({"workers": 0}, "--workers must be at least 1"),
        ({"workers": 2, "min_workers": 3}, "--min-workers must lie in 1..2"),
        ({"workers": 2, "min_workers": 0}, "--min-workers must lie in 1..2"),
        ({"max_failures": -1}, "--max-failures must be at least 0"),
    ],
)
def test_bad_usage_leaves_no_folder(
    training: Training, tmp_path: Path, changes: dict[str, int], cause: str
) -> None:
    with pytest.raises(UserError, match=cause):
        train(training(tmp_path / "run", **changes))
    assert not (tmp_path / "run").exists()
