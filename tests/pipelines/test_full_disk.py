"""A disk that is full at any moment of a video: nothing is left, and with room it is labelled as ever."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from model.confidence.scorer import load_confidence_model
from model.propagation.protocols import get_protocol
from pipelines.archive_plan import LabelSource
from pipelines.labelled_video import Wanted
from pipelines.labels.davis import write_mask
from pipelines.propagation_folder import finished_videos, prepare_propagation
from pipelines.video_labeller import LabelJob, VideoLabeller
from tests.conftest import REPOSITORY
from tests.pipelines.test_archive import LAB, moving_square, picture_folder

NO_MOUNT = 77
STEP_KIB = 4
"""A page: the least that tmpfs gives."""


def test_a_full_disk_at_any_moment_of_a_video(tmp_path: Path) -> None:
    if shutil.which("unshare") is None:
        pytest.skip("unshare is missing")
    (tmp_path / "disk").mkdir()
    script = (
        f"mount -t tmpfs -o size=1m tmpfs '{tmp_path}/disk' || exit {NO_MOUNT}\n"
        f"exec '{sys.executable}' -m tests.pipelines.test_full_disk '{tmp_path}'\n"
    )
    command = ["unshare", "-rm", "sh", "-c", script]
    done = subprocess.run(command, cwd=REPOSITORY, check=False, capture_output=True, text=True)
    if done.returncode == NO_MOUNT or done.stderr.startswith("unshare:"):
        pytest.skip("file systems cannot be mounted here")
    assert done.returncode == 0, done.stderr
    *full, whole = done.stdout.splitlines()
    assert len(full) > 4 and whole == "made"
    assert any("overlays/v.mp4: No space left on device" in message for message in full)


def fill(place: Path) -> None:
    """Label a video on a disk that grows until it is large enough; prints what happened each time."""
    out = place / "disk" / "out"
    picture_folder(place / "archive" / "v")
    write_mask(place / "labels" / "v" / "00000.png", moving_square(0)[1])
    labels, wanted = LabelSource(place / "labels"), Wanted(out, "auto", overlays=True)
    confidence = load_confidence_model()
    worker = VideoLabeller(
        LabelJob(LAB, get_protocol("crw"), labels, None, wanted, confidence, False, workers=1)
    )
    record = {"video_id": "v", "path": str(place / "archive" / "v"), "correct": False}
    undisturbed = _labelled(worker, record, out)
    prepare_propagation(out, {}, overwrite=True)
    for kib in range(4 * STEP_KIB, 1024, STEP_KIB):
        subprocess.run(["mount", "-o", f"remount,size={kib}k", str(place / "disk")], check=True)
        (row,) = worker({"videos": [record]})
        print(row["message"] or row["state"])
        if row["state"] == "made":
            break
        assert (row["kind"], row["fatal"]) == ("storage", True), row
        assert {p for p in out.rglob("*") if p.is_file()} == {out / "summary.json"}
    assert _contents(out) == undisturbed


def _labelled(worker: VideoLabeller, record: dict[str, object], out: Path) -> dict[str, bytes]:
    prepare_propagation(out, {}, overwrite=False)
    (row,) = worker({"videos": [record]})
    assert row["state"] == "made" and finished_videos(out) == {"v"}, row
    return _contents(out)


def _contents(out: Path) -> dict[str, bytes]:
    return {str(p.relative_to(out)): p.read_bytes() for p in out.rglob("*") if p.is_file()}


if __name__ == "__main__":
    fill(Path(sys.argv[1]))
