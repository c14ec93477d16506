"""A propagation, its most needed frame exported, corrected in place, and given back as a correction."""

from pathlib import Path

import numpy as np
import pytest

from model.propagation.annotations import MaskAnnotation
from pipelines.archive import Corrections
from pipelines.labels.codec import VideoInfo
from pipelines.labels.cvat_images_writer import ImageLabels, write_images
from pipelines.labels.davis import read_mask, write_mask
from pipelines.labels.formats import open_labels
from pipelines.review.archive import review_of
from pipelines.review.export import ExportFormat, export_frames
from pipelines.review.selection import most_needed
from tests.pipelines.test_archive import propagated
from tests.pipelines.test_corrections import NEAR, j_of, put_video, scene


@pytest.mark.parametrize("form", ["davis", "cvat"])
def test_the_frame_that_is_asked_for_puts_the_video_right(
    tmp_path: Path, in_this_process: None, form: ExportFormat
) -> None:
    put_video(tmp_path, "lost")
    propagated(tmp_path, protocol=NEAR, overlays=True)
    assert (tmp_path / "out" / "overlays" / "lost.jpg").is_file()
    archive = review_of(tmp_path / "out")
    needed = most_needed(archive, 1, 1)
    assert len(needed) == 1
    frame = needed[0]
    before = [j_of(tmp_path, "lost", index) for index in range(9)]
    to = tmp_path / "to"
    export_frames(archive, needed, to, form)
    predicted = read_mask(tmp_path / "out" / "masks" / "lost" / f"{frame.frame}.png")
    if predicted.any():
        exported = open_labels(to).read("lost", frame.frame)
        assert np.array_equal(exported.ids_HW, predicted)  # type: ignore[union-attr]
    if form == "davis":
        write_mask(to / "Annotations" / "lost" / f"{frame.frame}.png", scene(frame.index)[1])
    else:
        picture, ids = scene(frame.index)
        info = VideoInfo("lost", picture.shape[:2])
        write_images(to / "annotations.xml", [ImageLabels(info, frame.frame, MaskAnnotation(ids))])
    summary, errors = propagated(
        tmp_path, protocol=NEAR, overlays=True, corrections=Corrections(to)
    )
    assert (summary.videos_corrected, errors) == (1, [])
    after = [j_of(tmp_path, "lost", index) for index in range(9)]
    assert after[: frame.index] == before[: frame.index]
    assert after[frame.index] == 1
    assert sum(after) > sum(before) + 2
