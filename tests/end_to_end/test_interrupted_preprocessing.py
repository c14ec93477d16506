"""Preprocessing that is killed, starved of disk or started twice ends as an undisturbed run does."""

import os
import platform
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from jobs import cli
from tests.conftest import MakeVideo
from tests.end_to_end.commands import Start, on_a_full_disk, process_of, started
from tests.processes import LONGEST_S, kill

SETTINGS = ["--decode.size-px=128", "--codebook.pixels=2000", "--shards.videos-per-shard=2"]


def arguments(videos: Path, out: Path) -> list[str]:
    return ["preprocess", str(videos), "--out", str(out), "--workers", "2", *SETTINGS]


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
    assert cli.run(arguments(videos, out)) == 0
    return shards(out)


def shards(dataset: Path) -> dict[str, bytes]:
    assert pq.read_table(dataset / "errors.parquet").num_rows == 0
    return {path.name: path.read_bytes() for path in (dataset / "clips").glob("*.parquet")}


@pytest.fixture
def start(videos: Path, tmp_path: Path) -> Iterator[Start]:
    with started(arguments(videos, tmp_path / "dataset"), tmp_path / "log") as begin:
        yield begin


def some_shards(dataset: Path) -> Callable[[], bool]:
    """Whether the first shard is committed."""
    return lambda: any((dataset / "clips").glob("*.json"))


@pytest.mark.parametrize("victim", ["pipelines.decode_child", "ShardMaker"])
def test_a_killed_helper_costs_nothing(
    tmp_path: Path,
    undisturbed: dict[str, bytes],
    start: Start,
    victim: str,
) -> None:
    """The decoder is replaced and its video tried again; a worker's shard is made by another."""
    run = start()
    kill(lambda: process_of(run, victim, some_shards(tmp_path / "dataset")))
    assert run.wait(LONGEST_S) == 0, (tmp_path / "log").read_text()
    assert shards(tmp_path / "dataset") == undisturbed


def test_a_killed_driver_and_a_second_run(
    tmp_path: Path, undisturbed: dict[str, bytes], start: Start
) -> None:
    """While one run works another is refused; when it is killed the next one goes on."""
    run = start()
    process_of(run, "ShardMaker", some_shards(tmp_path / "dataset"))
    run.suspend()  # or it would be done before the other one has started
    second = start()
    assert second.wait(LONGEST_S) == 2
    holder = f"another process ({run.pid} on {platform.node()}) is making this dataset"
    assert f"huetrack: {tmp_path / 'dataset'}: {holder}" in (tmp_path / "log").read_text()
    os.killpg(run.pid, signal.SIGKILL)
    run.wait()
    assert not (tmp_path / "dataset" / "errors.parquet").exists()
    assert start().wait(LONGEST_S) == 0
    assert shards(tmp_path / "dataset") == undisturbed


def test_a_full_disk(tmp_path: Path, videos: Path, undisturbed: dict[str, bytes]) -> None:
    """One clear line; with room again the same command finishes the dataset."""
    room = sum(map(len, undisturbed.values())) // 2
    last, saved = on_a_full_disk(
        lambda out: arguments(videos, out), tmp_path, too_small=room, enough=room * 10
    )
    assert last.startswith(f"huetrack: {tmp_path / 'disk' / 'out' / 'clips'}/shard-")
    assert last.endswith(": No space left on device; a rerun goes on from here")
    assert shards(saved) == undisturbed
