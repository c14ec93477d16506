"""What a worker makes of trouble, in this process."""

import errno
import os
import shutil
from pathlib import Path

import pytest

from model.propagation.protocols import get_protocol
from pipelines.archive_plan import LabelSource
from pipelines.labelled_video import Wanted
from pipelines.labels.davis import write_mask
from pipelines.propagation_folder import Attempts, finished_videos, prepare_propagation
from pipelines.s3 import StorageError
from pipelines.video_labeller import LabelJob, VideoLabeller
from tests.pipelines.test_archive import LAB, moving_square, picture_folder, propagated


@pytest.fixture
def place(tmp_path: Path) -> Path:
    picture_folder(tmp_path / "archive" / "v")
    write_mask(tmp_path / "labels" / "v" / "00000.png", moving_square(0)[1])
    return tmp_path


def labelled(place: Path) -> dict:
    """The worker's row of the video."""
    wanted = Wanted(place / "out", "auto", overlays=False)
    labels = LabelSource(place / "labels")
    job = LabelJob(LAB, get_protocol("crw"), labels, None, wanted, None, False, workers=1)
    record = {"video_id": "v", "path": str(place / "archive" / "v"), "correct": False}
    (row,) = VideoLabeller(job)({"videos": [record]})
    return row


def test_labels_that_are_gone_are_told_in_a_line(
    place: Path, monkeypatch: pytest.MonkeyPatch, in_this_process: None
) -> None:
    """They were there when the run began; the worker raises nothing in its constructor."""

    def gone(*_: object) -> None:
        shutil.rmtree(place / "labels")

    monkeypatch.setattr("pipelines.archive.forget_unlabelled", gone)
    with pytest.raises(StorageError, match=r"labels: no such file or folder; a rerun goes on from"):
        propagated(place, overlays=False, confidence=False)


def test_a_video_that_ends_its_workers_is_given_up(place: Path) -> None:
    prepare_propagation(place / "out", {}, overwrite=False)
    for _ in range(3):
        Attempts(place / "out").begin("v")  # and the worker was killed
    row = labelled(place)
    assert (row["kind"], row["attempts"], row["fatal"]) == ("crashed", 3, False)
    assert finished_videos(place / "out") == set()


def test_what_a_killed_worker_had_finished_is_not_made_again(place: Path) -> None:
    """Its other videos were handed to the next worker together with this one."""
    prepare_propagation(place / "out", {}, overwrite=False)
    assert labelled(place)["state"] == "made"
    before = (place / "out" / "predictions" / "v.parquet").stat().st_ino
    row = labelled(place)
    assert (row["state"], row["frames"]) == ("made", 6)
    assert (place / "out" / "predictions" / "v.parquet").stat().st_ino == before


def refuse(error: Exception):
    def write(*_: object) -> None:
        raise error

    return write


def test_a_full_disk_is_no_matter_of_the_video(
    place: Path, monkeypatch: pytest.MonkeyPatch, in_this_process: None
) -> None:
    full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "out/masks/v")
    with monkeypatch.context() as patched:
        patched.setattr("pipelines.labelled_video.write_labels", refuse(full))
        told = "out/masks/v: No space left on device; a rerun goes on from here"
        with pytest.raises(StorageError, match=told):
            propagated(place, overlays=False, confidence=False)
    assert not (place / "out" / "masks").exists()
    summary, errors = propagated(place, overlays=False, confidence=False)
    assert (summary.videos_made, errors) == (1, [])


@pytest.mark.parametrize(
    ("error", "kind", "tried_again"),
    [
        (StorageError("s3://b/k: S3 answered 503"), "storage", 1),
        (OSError(errno.EIO, os.strerror(errno.EIO), "f"), "storage", 1),
        (ZeroDivisionError("oops"), "internal", 0),
    ],
)
def test_other_trouble_is_a_row_and_passes_or_not(
    place: Path,
    monkeypatch: pytest.MonkeyPatch,
    in_this_process: None,
    error: Exception,
    kind: str,
    tried_again: int,
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr("pipelines.labelled_video.write_labels", refuse(error))
        summary, (row,) = propagated(place, overlays=False, confidence=False)
    assert (summary.videos_failed, row["kind"]) == (1, kind)
    summary, rows = propagated(place, overlays=False, confidence=False)
    assert (summary.videos_made, len(rows)) == (tried_again, 1 - tried_again)
