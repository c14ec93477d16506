"""Trainings as a whole: what they leave, what they survive, how they end when they cannot go on."""

import os
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import psutil
import pytest
import ray.util
import torch
from safetensors.torch import load_file

from jobs.options import to_yaml
from jobs.train import train
from model.colorizer import Colorizer, ColorizerConfig, load_colorizer, save_colorizer
from model.errors import UserError
from model.fitter import Fitter
from model.objectives.colorization import Colorization
from pipelines.batches import training_batches
from pipelines.clip_rows import BatchConfig, ClipDataset
from pipelines.run_folder import read_history
from tests.conftest import REPOSITORY
from tests.processes import kill, process_below
from tests.trainings import EVERY, STEPS, Training

LONGEST_S = 400.0


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


def test_the_loss_is_the_mean_over_the_clips_of_all_workers(
    training: Training, undisturbed: Path
) -> None:
    """The first worker has two clips of the five of a batch, the second three."""
    options = training(undisturbed)
    dataset = ClipDataset.open(options.dataset)
    means = []
    for rank in range(2):
        torch.manual_seed(options.seed)
        objective = Colorization(Colorizer(options.model), options.colorization)
        fitter = Fitter(objective, options.fit, torch.device("cpu"))
        batches = training_batches(dataset, options.batches, seed=0, rank=rank, workers=2)
        batch = next(batches).to(fitter.device)
        assert len(batch) == 2 + rank
        means.append(fitter.train_step(batch).loss.item())
    first = losses(undisturbed)[1]
    assert first == pytest.approx((2 * means[0] + 3 * means[1]) / 5, rel=1e-4)
    assert first != pytest.approx(sum(means) / 2, rel=1e-4)


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
    training: Training, undisturbed: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Same seed and as many workers: the same losses. What broke off is told in a line."""
    killed: list[psutil.Process] = []

    def kill_a_worker() -> None:
        wait_for_a_checkpoint(tmp_path / "run")
        killed.append(kill(lambda: process_below(psutil.Process(), "TrainWorker")))

    killer = threading.Thread(target=kill_a_worker)
    killer.start()
    train(training(tmp_path / "run"))
    killer.join()
    assert len(killed) == 1
    (line,) = [x for x in capfd.readouterr().err.splitlines() if "broke off" in x]
    node = ray.util.get_node_ip_address()
    assert re.match(
        rf"training broke off: worker \d on node {re.escape(node)}(: | was lost \()", line
    )
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
    below = psutil.Process(driver.pid).children(recursive=True)
    os.killpg(driver.pid, signal.SIGKILL)
    driver.wait()
    psutil.wait_procs(below, 60)  # Ray's workers, in groups of their own, write a little longer
    assert not (run / "model.safetensors").exists()
    train(training(run, resume=True))
    assert_nothing_shows(run, undisturbed)


def test_training_begins_from_given_weights_and_a_loss_that_is_no_number_stops_it_at_once(
    training: Training, tmp_path: Path
) -> None:
    """The weights are no numbers, so the first loss is none; the batch is kept."""
    run, given = tmp_path / "run", tmp_path / "given.safetensors"
    broken = Colorizer(training(run).model)
    torch.nn.init.constant_(next(broken.head.parameters()), torch.inf)
    save_colorizer(broken, given)
    small = BatchConfig(batch_size=4, resolution_px=32, shuffle_buffer=16)
    with pytest.raises(UserError, match=r"loss is (nan|inf) at step 0: its batch is in") as told:
        train(training(run, init=given, batches=small, workers=1))
    assert "\n" not in str(told.value)
    assert str(run / "failure.log") in str(told.value)
    assert "Traceback" in (run / "failure.log").read_text()
    (saved,) = run.glob("diverged-*.safetensors")
    assert str(saved) in str(told.value)
    tensors = load_file(saved)
    assert {tuple(t.shape[:2]) for t in tensors.values()} == {(4, 4)}
    assert (run / "initial.safetensors").read_bytes() == given.read_bytes()


def test_weights_of_another_shape_are_refused_with_the_flags_that_they_need(
    training: Training, tmp_path: Path
) -> None:
    save_colorizer(Colorizer(ColorizerConfig(width=8)), tmp_path / "wide.safetensors")
    flags = "--model.width 8 --model.embedding-channels 64 --model.head temporal"
    with pytest.raises(UserError, match=rf"another shape \(set {flags}\)"):
        train(training(tmp_path / "run", init=tmp_path / "wide.safetensors"))
    with pytest.raises(UserError, match="neither a run folder nor"):
        train(training(tmp_path / "run", init=tmp_path / "gone"))
    assert not (tmp_path / "run").exists()


def test_a_run_is_not_begun_where_there_is_one(training: Training, undisturbed: Path) -> None:
    with pytest.raises(UserError, match=r"is not empty \(use --resume, --overwrite or"):
        train(training(undisturbed))


@pytest.mark.parametrize(
    ("changes", "cause"),
    [
        ({"workers": 0}, "--workers must be at least 1"),
        ({"workers": 2, "min_workers": 3}, "--min-workers must lie in 1..2"),
        ({"workers": 2, "min_workers": 0}, "--min-workers must lie in 1..2"),
        ({"max_failures": -1}, "--max-failures must be at least 0"),
        ({"workers": 4, "device": "gpu"}, "--workers 4 needs 4 CPUs and 4 GPUs; this machine has"),
    ],
)
def test_bad_usage_leaves_no_folder(
    training: Training, tmp_path: Path, changes: dict[str, Any], cause: str
) -> None:
    with pytest.raises(UserError, match=cause):
        train(training(tmp_path / "run", **changes))
    assert not (tmp_path / "run").exists()
