"""Preprocessing that is killed, starved of disk or started twice ends as an undisturbed run does."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pyarrow.parquet as pq
import pytest

from jobs import cli
from tests.conftest import REPOSITORY, MakeVideo

COMMAND = [sys.executable, "-m", "jobs.cli", "preprocess"]
SETTINGS = ["--decode.size-px=128", "--codebook.pixels=2000", "--shards.videos-per-shard=2"]
LONGEST_S = 120.0


def arguments(videos: Path, out: Path) -> list[str]:
    return [str(videos), "--out", str(out), "--workers", "2", *SETTINGS]


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory, make_video: MakeVideo) -> Path:
    """Ten videos of 20 seconds: a few seconds of work."""
    folder = tmp_path_factory.mktemp("interrupted") / "videos"
    for index in range(4):
        make_video(folder / f"{index}.mp4", frames=500, fps_hz=25, seed=index, size_hw=(240, 320))
    for index in range(4, 10):
        shutil.copy(folder / f"{index % 4}.mp4", folder / f"{index}.mp4")
    return folder


@pytest.fixture(scope="module")
def undisturbed(
    ray_session: None, videos: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, bytes]:
    """Shards of a run that nothing happened to."""
    out = tmp_path_factory.mktemp("undisturbed") / "dataset"
    assert cli.run(["preprocess", *arguments(videos, out)]) == 0
    return shards(out)


def shards(dataset: Path) -> dict[str, bytes]:
    assert pq.read_table(dataset / "errors.parquet").num_rows == 0
    return {path.name: path.read_bytes() for path in (dataset / "clips").glob("*.parquet")}


@pytest.fixture
def start(videos: Path, tmp_path: Path) -> Iterator[Callable[[], psutil.Popen]]:
    """Starts a run in a session of its own, of which nothing is left after the test."""
    runs: list[psutil.Popen] = []

    def begin() -> psutil.Popen:
        with (tmp_path / "log").open("ab") as log:
            run = psutil.Popen(
                [*COMMAND, *arguments(videos, tmp_path / "dataset")],
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


def one_of(run: psutil.Popen, words: str, after: Callable[[], bool]) -> psutil.Process:
    """A process below the run whose command line holds the words, when the time has come."""
    deadline_s = time.monotonic() + LONGEST_S
    while time.monotonic() < deadline_s and run.poll() is None:
        if after():
            for process in run.children(recursive=True):
                try:
                    if words in " ".join(process.cmdline()):
                        return process
                except psutil.Error:
                    continue
        time.sleep(0.02)
    raise AssertionError(f"no process {words!r} was seen")


def some_shards(dataset: Path) -> Callable[[], bool]:
    """Whether the first shard is committed."""
    return lambda: any((dataset / "clips").glob("*.json"))


@pytest.mark.parametrize("victim", ["pipelines.decode_child", "ShardMaker"])
def test_a_killed_helper_costs_nothing(
    tmp_path: Path,
    undisturbed: dict[str, bytes],
    start: Callable[[], psutil.Popen],
    victim: str,
) -> None:
    """The decoder is replaced and its video tried again; a worker's shard is made by another."""
    run = start()
    one_of(run, victim, some_shards(tmp_path / "dataset")).kill()
    assert run.wait(LONGEST_S) == 0, (tmp_path / "log").read_text()
    assert shards(tmp_path / "dataset") == undisturbed


def test_a_killed_driver_and_a_second_run(
    tmp_path: Path, undisturbed: dict[str, bytes], start: Callable[[], psutil.Popen]
) -> None:
    """While one run works another is refused; when it is killed the next one goes on."""
    run = start()
    one_of(run, "ShardMaker", some_shards(tmp_path / "dataset"))
    run.suspend()  # or it would be done before the other one has started
    second = start()
    assert second.wait(LONGEST_S) == 2
    refusal = f"huetrack: {tmp_path / 'dataset'}: another run is making this dataset"
    assert refusal in (tmp_path / "log").read_text()
    os.killpg(run.pid, signal.SIGKILL)
    run.wait()
    assert not (tmp_path / "dataset" / "errors.parquet").exists()
    assert start().wait(LONGEST_S) == 0
    assert shards(tmp_path / "dataset") == undisturbed


def test_a_full_disk(tmp_path: Path, videos: Path, undisturbed: dict[str, bytes]) -> None:
    """One clear line; with room again the same command finishes the dataset."""
    disk = tmp_path / "disk"
    disk.mkdir()
    room = sum(map(len, undisturbed.values())) // 2
    command = " ".join(f"'{word}'" for word in [*COMMAND, *arguments(videos, disk / "dataset")])
    script = (
        f"mount -t tmpfs -o size={room} tmpfs '{disk}' || exit 77\n"
        f"{command} 2>'{tmp_path}/full'; echo $? >'{tmp_path}/status'\n"
        f"mount -o remount,size={room * 10} '{disk}'\n"
        f"{command} && cp -r '{disk}/dataset' '{tmp_path}/saved'\n"
    )
    if shutil.which("unshare") is None:
        pytest.skip("unshare is missing")
    done = subprocess.run(["unshare", "-rm", "sh", "-c", script], cwd=REPOSITORY, check=False)
    if done.returncode in (1, 77) and not (tmp_path / "status").exists():
        pytest.skip("file systems cannot be mounted here")
    assert (tmp_path / "status").read_text().strip() == "2"
    last = (tmp_path / "full").read_text().strip().splitlines()[-1]
    assert last.startswith(f"huetrack: {disk / 'dataset' / 'clips'}/shard-")
    assert last.endswith(": No space left on device; a rerun goes on from here")
    assert shards(tmp_path / "saved") == undisturbed
