"""An archive whose labelling is killed, starved of disk or started twice ends as an undisturbed one."""

import os
import platform
import signal
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import psutil
import pyarrow.parquet as pq
import pytest

from jobs import cli
from pipelines.labels.davis import write_mask
from tests.conftest import MakeVideo
from tests.end_to_end.commands import Start, on_a_full_disk, process_of, started
from tests.processes import LONGEST_S, kill

VIDEOS, FRAMES = 3, 100


def arguments(place: Path, out: Path) -> list[str]:
    settings = ["--model", "lab", "--set", "recent_frames=2", "--no-confidence"]
    settings += ["--workers", "1"]
    return [
        "propagate",
        str(place / "videos"),
        "--labels",
        str(place / "masks"),
        "--out",
        str(out),
        *settings,
    ]


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
    assert cli.run(arguments(place, out)) == 0
    return made(out)


def made(out: Path) -> dict[str, bytes]:
    """Labels, films, contact sheets and predictions; beside them only the page and the accounts."""
    assert pq.read_table(out / "errors.parquet").num_rows == 0
    assert {path.name for path in out.iterdir()} == {
        *("masks", "predictions", "overlays", "report"),
        *("errors.parquet", "label_files.json", "summary.json"),
    }
    folders = [out / name for name in ("masks", "predictions", "overlays")]
    files = [path for folder in folders for path in folder.rglob("*") if path.is_file()]
    assert len(files) == VIDEOS * (FRAMES + 3)  # with predictions, film and contact sheet
    return {str(path.relative_to(out)): path.read_bytes() for path in files}


@pytest.fixture
def start(place: Path, tmp_path: Path) -> Iterator[Start]:
    with started(arguments(place, tmp_path / "out"), tmp_path / "log") as begin:
        yield begin


def worker_in_a_video(run: psutil.Popen, out: Path) -> psutil.Process:
    """The process that labels, when one video is finished and it is in the middle of the next."""

    def in_the_middle() -> bool:
        begun = any((out / ".staged").glob("*/masks/.*.partial/0000[1-9].png"))
        return begun and any((out / "predictions").glob("*.parquet"))

    return process_of(run, "VideoLabeller", in_the_middle)


def test_a_killed_worker_costs_nothing(
    tmp_path: Path, undisturbed: dict[str, bytes], start: Start
) -> None:
    run = start()
    kill(lambda: worker_in_a_video(run, tmp_path / "out"))
    assert run.wait(LONGEST_S) == 0, (tmp_path / "log").read_text()
    assert made(tmp_path / "out") == undisturbed


def test_a_killed_driver_and_a_second_run(
    tmp_path: Path, undisturbed: dict[str, bytes], start: Start
) -> None:
    """While one run works another is refused; when it is killed the next one goes on."""
    run = start()
    worker_in_a_video(run, tmp_path / "out")
    run.suspend()  # or it would be done before the other one has started
    second = start()
    assert second.wait(LONGEST_S) == 2
    holder = f"another process ({run.pid} on {platform.node()}) is making this propagation"
    assert f"huetrack: {tmp_path / 'out'}: {holder}" in (tmp_path / "log").read_text()
    os.killpg(run.pid, signal.SIGKILL)
    run.wait()
    finished = {path.name: path.stat() for path in (tmp_path / "out" / "predictions").iterdir()}
    assert finished
    assert start().wait(LONGEST_S) == 0
    assert made(tmp_path / "out") == undisturbed
    for name, before in finished.items():
        after = (tmp_path / "out" / "predictions" / name).stat()
        assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_sigterm_ends_a_run_as_ctrl_c_does(tmp_path: Path, start: Start) -> None:
    """`timeout` sends it, and schedulers. Without a handler of ours Ray prints the stacks of its threads."""
    run, log = start(), tmp_path / "log"
    process_of(run, "", lambda: "propagate: 0/3" in log.read_text())
    run.terminate()
    assert run.wait(LONGEST_S) == 128 + signal.SIGTERM
    said = [
        line for line in log.read_text().splitlines() if "SIGTERM" in line or "huetrack" in line
    ]
    assert said == ["huetrack: terminated; run the same command again to go on"]


def test_a_full_disk(tmp_path: Path, place: Path, undisturbed: dict[str, bytes]) -> None:
    """One clear line; with room again the same command finishes the archive."""
    blocks = sum(-(-len(content) // 4096) * 4096 for content in undisturbed.values())
    last, saved = on_a_full_disk(
        lambda out: arguments(place, out), tmp_path, too_small=blocks // 2, enough=blocks * 4
    )
    assert last.startswith(f"huetrack: {tmp_path / 'disk' / 'out'}")
    assert last.endswith(": No space left on device; a rerun goes on from here")
    assert made(saved) == undisturbed
