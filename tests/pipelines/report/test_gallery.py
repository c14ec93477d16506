"""What stands in the files of the review gallery."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from model.errors import UserError
from pipelines.review.page import write_review_page
from tests.predictions import write_predictions, write_summary

HOSTILE = "<img src=x onerror=alert(1)>\"'&#?%20 \u2028\u202e"


def content(path: Path) -> dict[str, Any]:
    """What the script hands over."""
    call = re.fullmatch(r"huetrack\.(?:videos|details)\((?:\d+, )?(.*)\);\n", path.read_text())
    assert call is not None
    found: dict[str, Any] = json.loads(call[1])
    return found


def test_every_video_has_its_numbers_and_its_curves(tmp_path: Path) -> None:
    confidence = np.array([[1, 0.9, 0.25, np.nan], [1, 1, 0.7, 0.6]])
    flags = {(0, 1): ["drift"], (1, 2): ["lost", "drift"], (1, 3): ["lost", "drift"]}
    write_predictions(tmp_path, HOSTILE, confidence, flags, ids=(1, 300), names={300: "dog"})
    write_predictions(tmp_path, "unknown", np.full((1, 3), np.nan), fps_hz=25)
    write_summary(tmp_path, errors=[("bad", "unreadable", HOSTILE)])
    (tmp_path / "overlays").mkdir()
    (tmp_path / "overlays" / "unknown.mp4").touch()
    page = write_review_page(tmp_path)
    assert page == tmp_path / "report" / "index.html"
    shown = content(tmp_path / "report" / "gallery" / "videos.js")
    columns = shown["columns"]
    assert columns["id"] == [HOSTILE, "unknown"]
    assert columns["url"][0].isascii()
    assert not set("\"'&#?<> ") & set(columns["url"][0])
    assert columns["frames"] == [4, 3]
    assert columns["worst"] == [25, None]
    assert columns["mean"] == [78, None]
    assert columns["flagged"] == [3, 0]
    assert columns["film"] == [0, 1]
    names = [name for name, _ in shown["flags"]]
    bit = {name: 1 << names.index(name) for name in names}
    assert shown["labels"] == ["object 1", "dog"]
    assert columns["objects"][0] == [
        [0, bit["drift"] | bit["low_confidence"]],
        [1, bit["lost"] | bit["drift"]],
    ]
    assert columns["spark"] == [[100, 90, 25, 60], [None] * 3]
    assert shown["failed"] == [["bad", "unreadable", HOSTILE]]
    details = content(tmp_path / "report" / "gallery" / "details-0000.js")
    first = details["0"]
    assert (first["fps"], first["anchors"], first["names"]) == (12, [0], None)
    assert first["objects"][0]["confidence"] == [100, 90, 25, None]
    assert first["objects"][0]["spans"] == [[bit["drift"], 1, 2], [bit["low_confidence"], 2, 3]]
    assert first["objects"][1]["spans"] == [[bit["lost"] | bit["drift"], 2, 4]]
    # The 45th colour again, as in the overlays.
    assert (first["objects"][1]["label"], first["objects"][1]["id"]) == ("dog", 300)
    html = page.read_text()
    assert "2 videos" in html and "unsafe" not in html and "http" not in html.split("<body")[1]


def test_many_videos_share_few_files_and_a_later_page_leaves_none_over(tmp_path: Path) -> None:
    for index in range(9):
        write_predictions(tmp_path, f"v{index}", np.random.default_rng(index).random((4, 3000)))
    write_summary(tmp_path)
    gallery = write_review_page(tmp_path).parent / "gallery"
    parts = sorted(path.name for path in gallery.glob("details-*.js"))
    assert 2 <= len(parts) <= 4
    of_video = content(gallery / "videos.js")["columns"]["part"]
    assert of_video == sorted(of_video) and set(of_video) == set(range(len(parts)))
    for part in range(len(parts)):
        expected = {str(video) for video in range(9) if of_video[video] == part}
        assert content(gallery / parts[part]).keys() == expected
    for index in range(2, 9):
        (tmp_path / "predictions" / f"v{index}.parquet").unlink()
    write_review_page(tmp_path)
    assert [path.name for path in gallery.glob("details-*.js")] == ["details-0000.js"]


def test_an_output_without_predictions_says_so(tmp_path: Path) -> None:
    write_summary(tmp_path)
    (tmp_path / "masks" / "v").mkdir(parents=True)
    with pytest.raises(UserError, match=r"holds no predictions/\*\.parquet"):
        write_review_page(tmp_path)
    with pytest.raises(UserError, match="no such file"):
        write_review_page(tmp_path / "nowhere")
