"""A video at the size it is shown in."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from model.errors import UserError
from pipelines.footage import footage_at
from pipelines.shown_video import ShownVideo, film_at
from tests.conftest import MakeVideo


def test_tall_frames_are_reduced_and_small_ones_stay(tmp_path: Path, make_video: MakeVideo) -> None:
    path = make_video(tmp_path / "v.mp4", frames=5, size_hw=(48, 64))
    footage = footage_at(path)
    reduced = list(ShownVideo(footage, 24).frames())
    assert [frame.shape for frame in reduced] == [(24, 32, 3)] * 5
    true = [frame for _, frame in footage.frames()]
    quarters = true[2].reshape(24, 2, 32, 2, 3).mean(axis=(1, 3))
    assert np.abs(reduced[2] - quarters).max() <= 1
    whole = ShownVideo(footage, 100)
    assert all(np.array_equal(a, b) for a, b in zip(whole.frames(), true, strict=True))
    assert whole.about_frames() == 5


def test_a_folder_of_pictures_is_a_video(tmp_path: Path) -> None:
    for name in ("2.png", "10.png"):
        Image.new("RGB", (8, 6)).save(tmp_path / name)
    video = ShownVideo(footage_at(tmp_path), 256)
    assert video.about_frames() == len(list(video.frames())) == 2


def test_what_is_no_video_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="gone: no such video"):
        footage_at(tmp_path / "gone")
    with pytest.raises(UserError, match="without pictures"):
        footage_at(tmp_path)
    (tmp_path / "text.mp4").write_text("no video")
    video = ShownVideo(footage_at(tmp_path / "text.mp4"), 256)
    with pytest.raises(UserError, match=r"text\.mp4"):
        video.about_frames()
    with pytest.raises(UserError, match="0 px"):
        ShownVideo(video.footage, 0)


def test_a_film_has_a_films_name_and_a_folder(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"ends in \.mp4"), film_at(tmp_path / "film.avi"):
        pass
    with film_at(tmp_path / "new" / "film.mp4") as path:
        path.write_bytes(b"x")
    assert (tmp_path / "new" / "film.mp4").read_bytes() == b"x"
