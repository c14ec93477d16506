"""`huetrack preprocess --plan`: what is printed, what is left behind, what is refused."""

import json
import tempfile
from pathlib import Path

import pytest

from jobs.cli import run
from tests.conftest import MakeVideo


@pytest.fixture
def videos(tmp_path: Path, make_video: MakeVideo) -> Path:
    """Five good videos of 24 frames at 12 Hz (three clips of four frames at 6 Hz) and a bad one."""
    for seed in range(5):
        make_video(tmp_path / "videos" / f"{seed}.mp4", frames=24, seed=seed)
    (tmp_path / "videos" / "corrupt.mp4").write_bytes(b"no video" * 20)
    return tmp_path / "videos"


@pytest.mark.usefixtures("ray_session")
def test_a_plan_is_printed_and_written_and_nothing_else(
    tmp_path: Path,
    videos: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(scratch))
    out, file = tmp_path / "dataset", tmp_path / "plan.json"
    quick = ["--decode.size-px", "64", "--codebook.pixels", "1000", "--workers", "1"]
    command = ["preprocess", str(videos), "--out", str(out), "--plan", *quick]
    assert run([*command, "--cores", "48", "--json", str(file)]) == 0
    printed = capsys.readouterr()
    assert "6 videos on 48 cores, from a sample of 6" in printed.out
    for word in ("time", "dataset", "frames", "frames/s a core", "failed videos", "memory"):
        assert f"│ {word} " in printed.out
    assert "failed in the sample: unreadable 1" in printed.out
    assert "sample: shards: 7/7" in printed.err  # one of them is the worker's warm-up
    record = json.loads(file.read_text())
    assert record["cores"] == 48
    assert record["frames"]["expected"] == 60
    assert record["hours"]["low"] <= record["hours"]["expected"] <= record["hours"]["high"]
    assert record["memory_bytes"] > 48 * record["worker_memory_bytes"]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["plan.json", "scratch", "videos"]
    assert list(scratch.iterdir()) == []


@pytest.mark.parametrize(
    ("flags", "cause"),
    [
        (["--cores", "4"], "--cores needs --plan"),
        (["--videos", "4"], "--videos needs --plan"),
        (["--json", "x.json"], "--json needs --plan"),
        (["--plan", "--overwrite"], "--plan writes no dataset"),
        (["--plan", "--stage", "manifest"], "--plan writes no dataset"),
        (["--plan", "--cores", "0"], "at least 1"),
        (["--plan", "--videos", "0"], "at least 1"),
    ],
)
def test_flags_that_do_not_go_together_are_refused(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    flags: list[str],
    cause: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(["preprocess", "videos", "--out", "out", *flags]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert cause in line
    assert list(tmp_path.iterdir()) == []
