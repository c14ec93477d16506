"""What `huetrack propagate` writes once for all videos."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from jobs.cli import run
from pipelines.labels.davis import write_mask
from pipelines.labels.formats import open_labels


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
