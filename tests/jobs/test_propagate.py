"""What `huetrack propagate` writes once for all videos."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from jobs.cli import run
from pipelines.labels.davis import read_mask, write_mask
from pipelines.labels.formats import open_labels
from pipelines.review.exported import digests_of_export


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """Two videos of two frames, each with a mask."""
    for number, name in enumerate(("cat", "dog"), start=300):
        folder = tmp_path / "archive" / name
        folder.mkdir(parents=True)
        for index in range(2):
            cv2.imwrite(str(folder / f"{index:05d}.png"), np.zeros((16, 24, 3), np.uint8))
        mask = np.zeros((16, 24), np.uint8)
        mask[4:8, 4:12] = number - 295
        write_mask(tmp_path / "labels" / name / "00000.png", mask)
    return tmp_path


@pytest.mark.usefixtures("ray_session")
def test_what_is_there_once_for_all_videos_is_made_at_the_end_of_every_run(place: Path) -> None:
    command = [
        "propagate", str(place / "archive"), "--labels", str(place / "labels"), "--model", "identity",
        "--out", str(place / "out"), "--workers", "1", "--no-overlays",
    ]  # fmt: skip
    to_json = [*command, "--out-format", "coco-video"]
    assert run(to_json) == 0
    collection = place / "out" / "labels.json"
    before = collection.read_bytes()
    reader = open_labels(collection)
    assert reader.videos() == ("cat", "dog")
    for name, number in (("cat", 5), ("dog", 6)):
        for frame in reader.frames(name):
            ids = reader.read(name, frame).ids_HW
            assert (ids == number).sum() == 32 and (ids > 0).sum() == 32
    collection.unlink()
    assert run(to_json) == 0  # nothing was left to label
    assert collection.read_bytes() == before
    assert run([*command, "--out-format", "youtube-vos", "--overwrite"]) == 0
    assert not collection.exists()
    masks = open_labels(place / "out" / "masks")
    assert masks.info("dog").first_frames == {6: "00000"}  # of meta.json
    assert (masks.read("dog", "00001").ids_HW == 6).sum() == 32


@pytest.mark.usefixtures("ray_session")
def test_half_an_archive_that_cannot_be_read(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The other half is labelled; the exit status and the last lines say what is missing."""
    for name in ("ant.mp4", "bee.mp4"):
        (place / "archive" / name).write_bytes(b"no video" * 20)
        write_mask(place / "labels" / Path(name).stem / "00000.png", np.ones((16, 24), np.uint8))
    command = [
        "propagate", str(place / "archive"), "--labels", str(place / "labels"), "--model", "identity",
        "--out", str(place / "out"), "--workers", "1", "--no-overlays",
    ]  # fmt: skip
    assert run(command) == 1
    said = capsys.readouterr()
    assert "4 (2 failed)" in said.out and "unreadable 2" in said.out
    assert [line.split(": ")[1] for line in said.err.splitlines() if "(unreadable)" in line] == [
        "ant",
        "bee",
    ]
    assert {path.name for path in (place / "out" / "masks").iterdir()} == {"cat", "dog"}
    before = {path: path.read_bytes() for path in (place / "out").rglob("*.parquet")}
    assert run(command) == 1  # and does nothing twice
    assert {path: path.read_bytes() for path in (place / "out").rglob("*.parquet")} == before
    capsys.readouterr()
    (frame,) = (place / "labels" / "cat").iterdir()
    write_mask(place / "corrected" / "cat" / "00001.png", read_mask(frame))
    made = digests_of_export(place / "corrected", "davis")["cat"]["00001"]
    entry = {"video_id": "cat", "frame": "00001", "exported_labels": made}
    (place / "corrected" / "frames.json").write_text(json.dumps([entry]))
    assert run([*command, "--corrections", str(place / "corrected")]) == 1
    assert (
        f"huetrack: 1 frames of {place / 'corrected'} are as they were exported and do not count "
        "(--accept-unchanged: somebody found them right)"
    ) in capsys.readouterr().err.splitlines()
    assert run([*command, "--accept-unchanged"]) == 2
    assert "--accept-unchanged needs --corrections" in capsys.readouterr().err
    assert run([*command, "--protocol", "vidcolor"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"huetrack: {place / 'out'}: made with another protocol (name crw ->")
