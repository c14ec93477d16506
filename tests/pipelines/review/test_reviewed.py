"""Tables of predictions as a reviewer sees them."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from model.confidence.flags import FLAGS
from model.errors import UserError
from pipelines.review.reviewed import LOW_BIT, prediction_files, reviewed_videos
from tests.predictions import write_predictions


def test_confidences_flags_and_names_are_read_by_object_and_frame(tmp_path: Path) -> None:
    confidence = np.array([[1, 0.8, 0.4], [1, np.nan, 0.9]])
    flags = {(0, 1): ["lost", "drift"], (1, 2): ["merged", "of_another_version"]}
    write_predictions(
        tmp_path,
        "a b",
        confidence,
        flags,
        ids=(3, 7),
        frames=("img1", "img2", "img10"),
        names={7: "dog"},
    )
    (tmp_path / "predictions" / ".a.parquet.1.partial").touch()
    (video,) = reviewed_videos(prediction_files(tmp_path))
    assert (video.video_id, video.fps_hz, video.object_ids) == ("a b", 12.0, (3, 7))
    assert video.frames == ("img1", "img2", "img10")
    assert np.array_equal(video.confidence_OT, confidence.astype(np.float32), equal_nan=True)
    lost, drift, merged = (1 << FLAGS.index(name) for name in ("lost", "drift", "merged"))
    assert video.bits_OT.tolist() == [[0, lost | drift, LOW_BIT], [0, 0, merged]]
    assert video.flagged.tolist() == [False, True, True]
    assert video.least_confidence == pytest.approx([1, 0.8, 0.4])
    assert (video.label(3), video.label(7)) == ("object 3", "dog")
    assert video.anchor_T.tolist() == [True, False, False]


def test_a_file_that_is_no_table_is_named(tmp_path: Path) -> None:
    folder = tmp_path / "predictions"
    folder.mkdir()
    (folder / "v.parquet").write_bytes(b"PAR1 no")
    with pytest.raises(UserError, match=r"predictions/v\.parquet: not a table of predictions"):
        list(reviewed_videos(prediction_files(tmp_path)))
    pq.write_table(pa.table({"video_id": ["v"]}), folder / "v.parquet")
    with pytest.raises(UserError, match=r"v\.parquet: not a table of predictions"):
        list(reviewed_videos(prediction_files(tmp_path)))


def test_a_video_without_objects_has_frames_and_no_confidence(tmp_path: Path) -> None:
    write_predictions(tmp_path, "v", np.zeros((0, 0)))
    (video,) = reviewed_videos(prediction_files(tmp_path))
    assert (video.object_ids, video.frames) == ((), ())
    assert video.flagged.shape == video.least_confidence.shape == (0,)
