import cv2
import numpy as np
import pyarrow.parquet as pq
import pytest

from model.colorizer import ColorizerConfig
from model.errors import UserError
from model.propagation.protocols import get_protocol
from pipelines.archive import ArchiveConfig, propagate_archive
from pipelines.archive_plan import LabelSource, plan
from pipelines.labels.davis import read_mask, write_mask
from pipelines.models import ModelSpec, parse_model
from pipelines.video import write_h264

LAB = ModelSpec("lab", False, None, ColorizerConfig(), 0)


def moving_square(index, side=64):
    """A red square on green that moves one cell a frame, and its mask."""
    frame = np.zeros((side, side, 3), np.uint8)
    frame[:] = (20, 120, 30)
    mask = np.zeros((side, side), np.uint8)
    left = 8 * (index + 1)
    frame[24:40, left : left + 16] = (220, 30, 30)
    mask[24:40, left : left + 16] = 3
    return frame, mask


def picture_folder(folder, frames=6):
    folder.mkdir(parents=True)
    for index in range(frames):
        frame, _ = moving_square(index)
        cv2.imwrite(str(folder / f"{index:05d}.png"), frame[..., ::-1])


@pytest.fixture
def place(tmp_path):
    picture_folder(tmp_path / "archive" / "-first")
    write_h264(
        tmp_path / "archive" / "_film.mp4", (moving_square(i)[0] for i in range(6)), 12, crf=5
    )
    for name in ("-first", "_film"):
        write_mask(tmp_path / "labels" / name / "00000.png", moving_square(0)[1])
    return tmp_path


def test_masks_follow_the_square_in_pictures_and_in_a_film(place, ray_session):
    config = ArchiveConfig(LAB, get_protocol("crw"), overlays=True)
    summary = propagate_archive(
        place / "archive", place / "labels", place / "out", config, workers=2
    )
    assert (summary.videos, summary.videos_failed, summary.frames_made) == (2, 0, 12)
    for name in ("-first", "_film"):
        for index in range(6):
            mask = read_mask(place / "out" / "masks" / name / f"{index:05d}.png")
            truth = moving_square(index)[1]
            overlap = ((mask == 3) & (truth == 3)).sum() / ((mask == 3) | (truth == 3)).sum()
            assert overlap > 0.6
            assert set(np.unique(mask)) <= {0, 3}
        assert (place / "out" / "overlays" / f"{name}.mp4").is_file()


def test_what_cannot_be_labelled_is_an_error_row_and_the_rest_goes_on(place, ray_session):
    (place / "archive" / "broken.mp4").write_bytes(b"nothing")
    write_mask(place / "labels" / "broken" / "00000.png", moving_square(0)[1])
    write_mask(place / "labels" / "gone" / "00000.png", moving_square(0)[1])
    picture_folder(place / "archive" / "unlabelled")
    picture_folder(place / "archive" / "late")
    write_mask(place / "labels" / "late" / "00002.png", moving_square(2)[1])
    picture_folder(place / "archive" / "empty")
    write_mask(place / "labels" / "empty" / "00000.png", np.zeros((64, 64), np.uint8))
    picture_folder(place / "archive" / "torn")
    (place / "archive" / "torn" / "00003.png").write_bytes(b"\x89PNG torn")
    write_mask(place / "labels" / "torn" / "00000.png", moving_square(0)[1])
    config = ArchiveConfig(LAB, get_protocol("crw"), overlays=False)
    summary = propagate_archive(
        place / "archive", place / "labels", place / "out", config, workers=1
    )
    rows = pq.read_table(place / "out" / "errors.parquet").to_pylist()
    assert {row["video_id"]: row["kind"] for row in rows} == {
        "broken": "unreadable",
        "empty": "unusable",
        "gone": "no_video",
        "late": "no_first_mask",
        "torn": "unusable",
        "unlabelled": "no_labels",
    }
    assert summary.videos_made == 2
    made = {p.name for p in (place / "out" / "masks").iterdir() if not p.name.startswith(".")}
    assert made == {"-first", "_film"}


def test_a_mask_of_another_size_is_refused_before_anything_starts(place):
    write_mask(place / "labels" / "-first" / "00000.png", np.ones((32, 64), np.uint8))
    with pytest.raises(
        UserError, match=r"-first, frame 00000: 64x32 px, its frame in .* is 64x64 px"
    ):
        plan(place / "archive", LabelSource(place / "labels"))


def test_a_folder_with_other_things_in_it_is_refused(place):
    (place / "out").mkdir()
    (place / "out" / "thesis.tex").touch()
    config = ArchiveConfig(LAB, get_protocol("crw"), overlays=False)
    with pytest.raises(UserError, match="holds no propagation"):
        propagate_archive(place / "archive", place / "labels", place / "out", config, workers=1)


@pytest.mark.parametrize("name", ["identity+lab", "lab+lab", "no/such/run", "runs+lab"])
def test_models_that_make_no_sense_are_refused(name):
    with pytest.raises(UserError, match="--model"):
        parse_model(name, untrained_width=4, seed=0)
