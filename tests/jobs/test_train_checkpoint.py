"""What a killed driver leaves in a run's folder does not stop `--resume`."""

import io
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from zipfile import ZipFile

import pytest
import ray.train
import torch
from ray.train import Checkpoint, Result

from jobs.train import train
from jobs.train_checkpoint import colorizer_of, take_up, tidy
from model.colorizer import ColorizerConfig
from model.errors import UserError
from pipelines.run_folder import read_history
from tests.model.clips import make_fitter
from tests.trainings import EVERY, STEPS, Training

RECORD = "checkpoint_manager_snapshot.json"
BEFORE, LAST, CUT_SHORT = (f"checkpoint_{STEPS + n * EVERY:08d}" for n in (-1, 0, 1))


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


def cut_short(content: bytes) -> bytes:
    return content[: len(content) // 2]


def changed(content: bytes) -> bytes:
    """Another byte in the largest tensor: PyTorch reads it all the same."""
    with ZipFile(io.BytesIO(content)) as archive:
        tensor = archive.read(max(archive.infolist(), key=lambda info: info.file_size))
    place = content.index(tensor) + len(tensor) // 2
    other = content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :]
    assert torch.load(io.BytesIO(other), weights_only=True)["step"] > 0
    return other


@pytest.mark.parametrize("which", [min, max])
@pytest.mark.parametrize("damage", [cut_short, changed])
def test_where_a_checkpoint_that_ray_knows_is_damaged_the_newest_whole_one_is_found(
    run: Path, damage: Callable[[bytes], bytes], which: Callable[[set[str]], str]
) -> None:
    """The best or the last one, which are one and the same in some runs."""
    damaged = which({path.name for path in run.glob("checkpoint_*/")} - {CUT_SHORT})
    shutil.copytree(run / LAST, run / BEFORE, dirs_exist_ok=True)
    file = run / damaged / "checkpoint.pt"
    file.write_bytes(damage(file.read_bytes()))
    found = tidy(run)
    assert found is not None
    assert Path(found.path).name == (BEFORE if damaged == LAST else LAST)
    assert not (run / RECORD).exists()


@pytest.mark.parametrize("content", [None, b"", b"no archive", b"PK\x03\x04"])
def test_a_checkpoint_that_is_damaged_while_training_is_named(
    run: Path, content: bytes | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = run / LAST / "checkpoint.pt"
    file.write_bytes(cut_short(file.read_bytes()) if content is None else content)
    with pytest.raises(UserError, match=rf"{re.escape(str(file))}: is damaged \(.*--resume"):
        colorizer_of(Checkpoint(run / LAST), ColorizerConfig())
    file.unlink()
    monkeypatch.setattr(ray.train, "get_checkpoint", lambda: Checkpoint(run / LAST))
    with pytest.raises(UserError, match=re.escape(str(file))):
        take_up(make_fitter(), None)


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
