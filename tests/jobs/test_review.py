"""`huetrack review export` and `huetrack report` on an output made by hand."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from jobs.cli import run
from pipelines.labels.rle import encode_runs
from tests.predictions import write_predictions, write_summary


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """A video of six frames whose object is lost from the third on."""
    for index in range(6):
        folder = tmp_path / "videos" / "a b"
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.zeros((8, 9, 3), np.uint8)).save(folder / f"{index:05d}.png")
    mask = np.zeros((8, 9), bool)
    mask[2:5, 3:6] = True
    write_predictions(
        tmp_path / "out",
        "a b",
        np.array([[1, 1, 0.1, 0.1, 0.1, 0.1]]),
        labels=[[{"rle": encode_runs(mask)}] * 6],
        size_hw=(8, 9),
    )
    write_summary(tmp_path / "out", tmp_path / "videos")
    return tmp_path / "out"


def test_frames_are_exported_and_listed(
    out: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    to = tmp_path / "to"
    assert run(["review", "export", str(out), "--to", str(to), "--most", "1"]) == 0
    printed = capsys.readouterr().out
    assert "1 of 1 videos" in printed and "frame 00002" in printed
    names = {str(path.relative_to(to)) for path in to.rglob("*") if path.is_file()}
    assert names == {
        "frames.csv",
        "frames.json",
        "JPEGImages/a b/00002.jpg",
        "Annotations/a b/00002.png",
    }
    assert run(["review", "export", str(out), "--to", str(to)]) == 2
    assert "name a new folder" in capsys.readouterr().err
    assert run(["review", "export", str(out), "--to", str(tmp_path / "new"), "--most", "0"]) == 2
    assert run(["review", "export", str(tmp_path / "none"), "--to", str(tmp_path / "new")]) == 2
    assert "summary.json: no such file" in capsys.readouterr().err
    assert not (tmp_path / "new").exists()


def test_nothing_is_written_where_all_is_well(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_predictions(tmp_path / "out", "v", np.ones((1, 5)))
    write_summary(tmp_path / "out")
    to = tmp_path / "to"
    assert run(["review", "export", str(tmp_path / "out"), "--to", str(to)]) == 0
    assert "nothing was written" in capsys.readouterr().out
    assert not to.exists()


def test_report_writes_the_gallery_and_the_summary_with_links_both_ways(
    out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["report", str(out)]) == 0
    assert capsys.readouterr().out == f"report: {out}/report/index.html\n"
    page = (out / "report" / "index.html").read_text()
    assert '<a class="other" href="summary.html">' in page
    assert '<a href="index.html">' in (out / "report" / "summary.html").read_text()
