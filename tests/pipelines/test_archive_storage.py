"""Which failures end a run over an archive: those of the place that it writes to, not those of its labels."""

import errno
import os
from pathlib import Path

import numpy as np
import pytest

from model.propagation.annotations import BoxAnnotation
from pipelines.labels.codec import VideoInfo
from pipelines.labels.formats import write_labels
from pipelines.s3 import StorageError
from tests.pipelines.test_archive import picture_folder, propagated

VIDEOS = ("a", "b", "c", "d")


@pytest.fixture
def place(tmp_path: Path, in_this_process: None) -> Path:
    """Videos with a box each; those of all but the last have an id that OTB does not name."""
    for name in VIDEOS:
        picture_folder(tmp_path / "archive" / name, frames=2)
        box = BoxAnnotation((1 if name == VIDEOS[-1] else 7,), np.array([[8.0, 24, 16, 16]]))
        write_labels("mot", tmp_path / "labels", VideoInfo(name), [(0, box)])
    return tmp_path


def test_labels_that_a_format_cannot_hold_are_rows_however_many(place: Path) -> None:
    summary, rows = propagated(place, overlays=False, confidence=False, out_format="otb")
    assert (summary.videos_made, summary.videos_failed) == (1, 3)
    assert [(row["video_id"], row["kind"]) for row in rows] == [(v, "unusable") for v in VIDEOS[:3]]
    # Named as in the output folder, not where it was made.
    assert rows[0]["message"].startswith(f"{place}/out/labels/a/groundtruth.txt: ")


def test_three_videos_in_a_row_that_cannot_be_written_end_the_run(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[str] = []

    def refuse(_: str, folder: Path, video: VideoInfo, __: object) -> None:
        written.append(video.video_id)
        raise OSError(errno.EIO, os.strerror(errno.EIO), folder / video.video_id)

    monkeypatch.setattr("pipelines.labelled_video.write_labels", refuse)
    told = rf"{place}/out/labels/c: Input/output error; a rerun goes on from here"
    with pytest.raises(StorageError, match=told):
        propagated(place, overlays=False, confidence=False)
    assert written == list(VIDEOS[:3])
