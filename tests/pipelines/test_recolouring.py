"""The recoloured film: the video, the carried colours, the error under both."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from skimage.color import rgb2lab

from model.errors import UserError
from model.propagation.colours import ColourPropagator
from model.propagation.encoders import LabEncoder
from model.propagation.protocols import get_protocol
from pipelines.error_curve import HEIGHT_PX, CurveStrip
from pipelines.footage import footage_at
from pipelines.recolouring import recolour
from pipelines.shown_video import ShownVideo
from pipelines.video import read_frames

SIZE = (48, 160)


def silent(*_: object) -> None:
    pass


def moving_video(folder: Path, frames: int = 4) -> ShownVideo:
    """Cells of flat colours that move by one cell a frame, as pictures, so that nothing is lost."""
    folder.mkdir()
    coarse = np.random.default_rng(0).integers(0, 256, (6, 20 + frames, 3)).astype(np.uint8)
    plane = coarse.repeat(8, axis=0).repeat(8, axis=1)
    for index in range(frames):
        Image.fromarray(plane[:, 8 * index : 8 * index + SIZE[1]]).save(folder / f"{index}.png")
    return ShownVideo(footage_at(folder), 256)


def test_carried_colours_stand_beside_the_video_over_their_error(tmp_path: Path) -> None:
    video = moving_video(tmp_path / "v")
    propagator = ColourPropagator(LabEncoder(), get_protocol("crw"))
    result = recolour(video, propagator, tmp_path / "film.mp4", silent)

    frames = list(video.frames())
    ab = [rgb2lab(frame)[4::8, 4::8, 1:] for frame in frames]
    still = [float(np.linalg.norm(cells - ab[0], axis=-1).mean()) for cells in ab]
    assert result.still_errors == pytest.approx(still, abs=0.1)
    assert result.mean_still_error == pytest.approx(np.mean(still[1:]), abs=0.1)
    assert result.errors[0] == 0.0
    assert 0 < result.mean_error < 0.3 * result.mean_still_error  # only new cells are wrong

    film = [frame for _, frame in read_frames(tmp_path / "film.mp4")]
    height, width = SIZE
    assert [frame.shape for frame in film] == [(height + HEIGHT_PX, 2 * width, 3)] * 4
    left, right = film[3][:height, :width], film[3][:height, width:]
    centres = np.s_[4::8, 4:-32:8]  # known cells
    assert np.abs(left[centres].astype(int) - frames[3][centres]).mean() < 12
    apart = np.linalg.norm(rgb2lab(right) - rgb2lab(frames[3]), axis=-1)
    still_apart = np.linalg.norm(rgb2lab(frames[0]) - rgb2lab(frames[3]), axis=-1)
    assert apart[centres].mean() < 0.6 * still_apart[centres].mean()


def test_the_line_runs_along_the_curve() -> None:
    strip = CurveStrip({"a": [0.0, 3.0, 1.0], "b": [1.0, 1.0, 1.0]}, "error", 10.0, 300)
    pictures = [strip.at(index) for index in range(3)]
    assert {picture.shape for picture in pictures} == {(HEIGHT_PX, 300, 3)}
    base = np.median(np.stack(pictures), axis=0)
    columns = [np.flatnonzero((picture != base).any(axis=(0, 2))) for picture in pictures]
    assert all(len(column) == 1 for column in columns)
    first, middle, last = (int(column[0]) for column in columns)
    assert first < middle < last
    assert abs((first + last) / 2 - middle) <= 1


def test_a_single_frame_is_a_film_too(tmp_path: Path) -> None:
    video = moving_video(tmp_path / "v", frames=1)
    result = recolour(
        video,
        ColourPropagator(LabEncoder(), get_protocol("crw")),
        tmp_path / "film.mp4",
        silent,
    )
    assert (result.errors, result.mean_error) == ((0.0,), 0.0)
    assert len(list(read_frames(tmp_path / "film.mp4"))) == 1


def test_pictures_that_change_size_are_named_with_both_sizes(tmp_path: Path) -> None:
    for index, size in enumerate([(32, 24), (32, 24), (40, 24)]):
        Image.new("RGB", size).save(tmp_path / f"{index:05d}.png")
    propagator = ColourPropagator(LabEncoder(), get_protocol("crw"))
    told = rf"{tmp_path}: frame 2 is 40x24 px \(width x height\), the first frame 32x24 px"
    with pytest.raises(UserError, match=told):
        recolour(ShownVideo(footage_at(tmp_path), 256), propagator, tmp_path / "f.mp4", silent)
