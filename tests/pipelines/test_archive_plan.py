"""Videos paired with their labels."""

import numpy as np
import pytest

from model.errors import UserError
from model.propagation.annotations import BoxAnnotation
from pipelines.archive_plan import LabelSource, annotated_videos, plan
from pipelines.labels.davis import write_mask
from tests.pipelines.test_archive import labelled, picture_folder


def test_a_mask_of_another_size_is_refused_where_every_video_is_looked_at(tmp_path):
    picture_folder(tmp_path / "archive" / "-first")
    write_mask(tmp_path / "labels" / "-first" / "00000.png", np.ones((32, 64), np.uint8))
    with pytest.raises(
        UserError, match=r"labels/-first/00000\.png: the mask is 64x32 px, its frame 64x64 px"
    ):
        annotated_videos(tmp_path / "archive", LabelSource(tmp_path / "labels"))


def test_nothing_that_pairs_is_refused(tmp_path):
    labelled(tmp_path, lambda i: BoxAnnotation((1,), np.array([[8.0, 24, 16, 16]])), "mot", (0, 9))
    picture_folder(tmp_path / "archive" / "other")
    with pytest.raises(UserError, match="no label belongs to a video in"):
        plan(tmp_path / "archive", LabelSource(tmp_path / "labels"))
