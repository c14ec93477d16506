"""What a killed driver leaves in a run's folder does not stop `--resume`."""

import shutil
from pathlib import Path

import pytest
import torch
from ray.train import Result

from jobs.train import train
from jobs.train_checkpoint import tidy
from pipelines.run_folder import read_history
from tests.trainings import EVERY, STEPS, Training

RECORD = "checkpoint_manager_snapshot.json"
LAST, CUT_SHORT = f"checkpoint_{STEPS:08d}", f"checkpoint_{STEPS + EVERY:08d}"


@pytest.fixture
def run(undisturbed: Path, tmp_path: Path) -> Path:
    """A finished run, in which the copy of a later checkpoint was cut short."""
    folder = tmp_path / "run"
    shutil.copytree(undisturbed, folder)
    part = folder / CUT_SHORT
    part.mkdir()
    whole = (folder / LAST / "checkpoint.pt").read_bytes()
    (part / "checkpoint.pt").write_bytes(whole[: len(whole) // 2])
    return folder


def test_copies_that_were_cut_short_are_removed(run: Path) -> None:
    before = {path.name for path in run.glob("checkpoint_*/")}
    assert tidy(run) is None  # Ray Train knows where to go on from
    assert {path.name for path in run.glob("checkpoint_*/")} == before - {CUT_SHORT}
    assert Result.from_path(run).checkpoint.path.endswith(LAST)


@pytest.mark.parametrize("content", [None, b"", b'{"ray_version":"2.60.0","checkpoint_resu'])
def test_without_rays_record_the_newest_readable_checkpoint_is_found(
    run: Path, content: bytes | None
) -> None:
    if content is None:
        (run / RECORD).unlink()
    else:
        (run / RECORD).write_bytes(content)
    found = tidy(run)
    assert found is not None
    assert Path(found.path).name == LAST
    assert not (run / RECORD).exists()


def test_a_record_of_a_checkpoint_that_is_gone_is_not_believed(run: Path) -> None:
    """The driver was killed after a checkpoint had made way for a better one."""
    shutil.rmtree(run / LAST)
    found = tidy(run)
    assert found is None or Path(found.path).name not in (LAST, CUT_SHORT)
    assert not (run / RECORD).exists()


def test_a_run_without_any_checkpoint_starts_anew(tmp_path: Path) -> None:
    (tmp_path / "checkpoint_00000006").mkdir()
    assert tidy(tmp_path) is None


def test_a_training_goes_on_though_rays_record_was_cut_short(training: Training, run: Path) -> None:
    (run / RECORD).write_bytes((run / RECORD).read_bytes()[:100])
    train(training(run, steps=STEPS + EVERY, resume=True))
    steps = [r["step"] for r in read_history(run) if r["kind"] == "train"]
    assert steps == list(range(1, STEPS + EVERY + 1))
    state = torch.load(run / CUT_SHORT / "checkpoint.pt", weights_only=True)
    assert state["step"] == STEPS + EVERY
