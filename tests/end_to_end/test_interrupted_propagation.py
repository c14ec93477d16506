"""An archive whose labelling is killed, starved of disk or started twice ends as an undisturbed one."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import psutil
import pyarrow.parquet as pq
import pytest

from jobs import cli
from pipelines.labels.davis import write_mask
from tests.conftest import REPOSITORY, MakeVideo

COMMAND = [sys.executable, "-m", "jobs.cli", "propagate"]
LONGEST_S = 120.0
VIDEOS, FRAMES = 3, 100


def arguments(place: Path, out: Path) -> list[str]:
    settings = ["--model", "lab", "--set", "recent_frames=2", "--no-confidence"]
    settings += ["--workers", "1"]
    return [str(place / "videos"), "--labels", str(place / "masks"), "--out", str(out), *settings]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, make_video: MakeVideo) -> Path:
    """Three videos of 100 frames, the first mask of each."""
    folder = tmp_path_factory.mktemp("interrupted propagation")
    mask = np.zeros((48, 64), np.uint8)
    mask[10:30, 10:30] = 1
    for index in range(VIDEOS):
        make_video(folder / "videos" / f"{index}.mp4", frames=FRAMES, seed=index)
        write_mask(folder / "masks" / f"{index}" / "00000.png", mask)
    return folder


@pytest.fixture(scope="module")
def undisturbed(
    ray_session: None, place: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, bytes]:
    """What a run makes that nothing happened to."""
    out = tmp_path_factory.mktemp("undisturbed") / "out"
    assert cli.run(["propagate", *arguments(place, out)]) == 0
    return made(out)


def made(out: Path) -> dict[str, bytes]:
    """Labels, films, contact sheets and predictions; beside them only the page and the accounts."""
    assert pq.read_table(out / "errors.parquet").num_rows == 0
    assert {path.name for path in out.iterdir()} == {
        *("masks", "predictions", "overlays", "report", "errors.parquet", "summary.json")
    }
    folders = [out / name for name in ("masks", "predictions", "overlays")]
    files = [path for folder in folders for path in folder.rglob("*") if path.is_file()]
    assert len(files) == VIDEOS * (FRAMES + 3)  # with predictions, film and contact sheet
    return {str(path.relative_to(out)): path.read_bytes() for path in files}


@pytest.fixture
def start(place: Path, tmp_path: Path) -> Iterator[Callable[[], psutil.Popen]]:
    """Starts a run in a session of its own, of which nothing is left after the test."""
    runs: list[psutil.Popen] = []

    def begin() -> psutil.Popen:
        with (tmp_path / "log").open("ab") as log:
            run = psutil.Popen(
                [*COMMAND, *arguments(place, tmp_path / "out")],
                cwd=REPOSITORY,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        runs.append(run)
        return run

    yield begin
    for run in runs:
        if run.poll() is None:
            os.killpg(run.pid, signal.SIGKILL)
            run.wait()


def worker_in_a_video(run: psutil.Popen, out: Path) -> psutil.Process:
    """The process that labels, when one video is finished and it is in the middle of the next."""
    deadline_s = time.monotonic() + LONGEST_S
    while time.monotonic() < deadline_s and run.poll() is None:
        begun = len(list((out / ".staged").glob("*/masks/.*.partial/0001*.png")))
        if begun and any((out / "predictions").glob("*.parquet")):
            for process in run.children(recursive=True):
                try:
                    if "VideoLabeller" in " ".join(process.cmdline()):
                        return process
                except psutil.Error:
                    continue
        time.sleep(0.01)
    raise AssertionError("no worker was seen")


def test_a_killed_worker_costs_nothing(
    tmp_path: Path, undisturbed: dict[str, bytes], start: Callable[[], psutil.Popen]
) -> None:
    run = start()
    worker_in_a_video(run, tmp_path / "out").kill()
    assert run.wait(LONGEST_S) == 0, (tmp_path / "log").read_text()
    assert made(tmp_path / "out") == undisturbed


def test_a_killed_driver_and_a_second_run(
    tmp_path: Path, undisturbed: dict[str, bytes], start: Callable[[], psutil.Popen]
) -> None:
    """While one run works another is refused; when it is killed the next one goes on."""
    run = start()
    worker_in_a_video(run, tmp_path / "out")
    run.suspend()  # or it would be done before the other one has started
    second = start()
    assert second.wait(LONGEST_S) == 2
    refusal = f"huetrack: {tmp_path / 'out'}: another run is making this propagation"
    assert refusal in (tmp_path / "log").read_text()
    os.killpg(run.pid, signal.SIGKILL)
    run.wait()
    finished = {path.name: path.stat() for path in (tmp_path / "out" / "predictions").iterdir()}
    assert finished
    assert start().wait(LONGEST_S) == 0
    assert made(tmp_path / "out") == undisturbed
    for name, before in finished.items():
        after = (tmp_path / "out" / "predictions" / name).stat()
        assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_a_full_disk(tmp_path: Path, place: Path, undisturbed: dict[str, bytes]) -> None:
    """One clear line; with room again the same command finishes the archive."""
    disk = tmp_path / "disk"
    disk.mkdir()
    blocks = sum(-(-len(content) // 4096) * 4096 for content in undisturbed.values())
    command = " ".join(f"'{word}'" for word in [*COMMAND, *arguments(place, disk / "out")])
    script = (
        f"mount -t tmpfs -o size={blocks // 2} tmpfs '{disk}' || exit 77\n"
        f"{command} 2>'{tmp_path}/full'; echo $? >'{tmp_path}/status'\n"
        f"mount -o remount,size={blocks * 4} '{disk}'\n"
        f"{command} && cp -r '{disk}/out' '{tmp_path}/saved'\n"
    )
    if shutil.which("unshare") is None:
        pytest.skip("unshare is missing")
    done = subprocess.run(["unshare", "-rm", "sh", "-c", script], cwd=REPOSITORY, check=False)
    if done.returncode in (1, 77) and not (tmp_path / "status").exists():
        pytest.skip("file systems cannot be mounted here")
    assert (tmp_path / "status").read_text().strip() == "2"
    last = (tmp_path / "full").read_text().strip().splitlines()[-1]
    assert last.startswith(f"huetrack: {disk / 'out'}")
    assert last.endswith(": No space left on device; a rerun goes on from here")
    assert made(tmp_path / "saved") == undisturbed
