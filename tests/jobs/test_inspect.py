"""`huetrack inspect`: where the page goes, and what is refused."""

from pathlib import Path

import pytest

from jobs.cli import run
from tests.conftest import MakeVideo


@pytest.mark.usefixtures("ray_session")
def test_the_page_lies_in_the_dataset_or_where_it_is_wanted(
    tmp_path: Path, make_video: MakeVideo, capsys: pytest.CaptureFixture[str]
) -> None:
    make_video(tmp_path / "videos" / "a.mp4")
    out = tmp_path / "dataset"
    quick = ["--decode.size-px", "64", "--codebook.pixels", "1000", "--workers", "1"]
    assert run(["preprocess", str(tmp_path / "videos"), "--out", str(out), *quick]) == 0
    assert run(["inspect", str(out)]) == 0
    assert capsys.readouterr().out.endswith(f"page: {out}/report/inspect.html\n")
    assert "What training sees" in (out / "report" / "inspect.html").read_text(encoding="utf-8")
    page = tmp_path / "page.html"
    assert run(["inspect", str(out), "--out", str(page), "--sets", "0", "--clips", "1"]) == 0
    html = page.read_text(encoding="utf-8")
    assert "What training sees" not in html
    assert html.count("<img") == 1
    assert run(["validate", str(out)]) == 0


def test_no_dataset_is_one_line_and_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["inspect", str(tmp_path)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "summary.json: no such file" in line
