"""Archives: video files and folders of pictures."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from model.errors import UserError
from pipelines.footage import DEFAULT_FPS_HZ, Footage, find_footage, pictures_in
from tests.conftest import MakeVideo


def put_pictures(folder: Path, names: list[str], size_wh: tuple[int, int] = (24, 16)) -> Path:
    """Flat pictures whose red value is their index."""
    folder.mkdir(parents=True)
    for index, name in enumerate(names):
        Image.new("RGB", size_wh, (10 * index, 0, 200)).save(folder / name)
    return folder


@pytest.mark.parametrize(
    "layout",
    ["{}", "{}/frames", "JPEGImages/{}", "JPEGImages/480p/{}", "JPEGImages/Full-Resolution/{}"],
)
def test_layouts_of_picture_folders(tmp_path: Path, layout: str) -> None:
    for name in ("dog", "-bear"):
        put_pictures(tmp_path / layout.format(name), ["00000.png", "00001.png"])
    (tmp_path / "Annotations").mkdir()
    found = find_footage(tmp_path)
    assert [footage.video_id for footage in found] == ["-bear", "dog"]
    assert found[1].path == tmp_path / layout.format("dog")
    assert found[1].bytes == sum(p.stat().st_size for p in found[1].path.iterdir())
    assert not found[1].is_file
    assert found[1].fps_hz() == DEFAULT_FPS_HZ


def test_files_and_folders_together(tmp_path: Path, make_video: MakeVideo) -> None:
    make_video(tmp_path / "b clip.mp4", frames=5, fps_hz=25)
    put_pictures(tmp_path / "a", ["x.png"])
    (tmp_path / "notes.txt").write_text("no video")
    pictures, video = find_footage(tmp_path)
    assert (pictures.video_id, video.video_id) == ("a", "b clip")
    assert video.is_file
    assert video.fps_hz() == pytest.approx(25)
    assert video.first_frame() == ("00000", (48, 64))
    frames = list(video.frames())
    assert [name for name, _ in frames] == [f"{i:05d}" for i in range(5)]
    assert {(frame.shape, frame.dtype.name) for _, frame in frames} == {((48, 64, 3), "uint8")}


def test_pictures_come_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    names = ["img1.png", "img2.png", "img10.png", "img11.png"]
    folder = put_pictures(tmp_path / "v", names)
    (folder / ".hidden.png").write_bytes(b"")
    (folder / "notes.txt").write_bytes(b"")
    assert [path.name for path in pictures_in(folder)] == names
    (footage,) = find_footage(tmp_path)
    assert footage.first_frame() == ("img1", (16, 24))
    read = list(footage.frames())
    assert [name for name, _ in read] == [Path(name).stem for name in names]
    for index, (_, frame) in enumerate(read):
        assert (frame == np.array([10 * index, 0, 200])).all()  # RGB, not BGR


def test_damaged_pictures_are_named(tmp_path: Path) -> None:
    folder = put_pictures(tmp_path / "v", ["0.png", "1.png"])
    for name in ("1.png", "0.png"):
        (folder / name).write_bytes(b"no picture")
        with pytest.raises(UserError, match=rf"{name}: not a readable picture"):
            list(Footage("v", folder, 0).frames())
    with pytest.raises(UserError, match=r"0\.png: not a readable picture"):
        Footage("v", folder, 0).first_frame()


def test_archives_without_videos_are_refused(tmp_path: Path, make_video: MakeVideo) -> None:
    with pytest.raises(UserError, match=r"nowhere: no such folder"):
        find_footage(tmp_path / "nowhere")
    with pytest.raises(UserError, match="neither videos nor folders"):
        find_footage(tmp_path)
    make_video(tmp_path / "a.mp4", frames=2)
    make_video(tmp_path / "a.mov.mp4", frames=2)
    assert [footage.video_id for footage in find_footage(tmp_path)] == ["a", "a.mov"]
    put_pictures(tmp_path / "a", ["0.png"])
    with pytest.raises(UserError, match=r"a\.mp4 and a share an id"):
        find_footage(tmp_path)


def test_a_file_that_is_no_video_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_bytes(b"no video")
    (footage,) = find_footage(tmp_path)
    for ask in (footage.first_frame, footage.fps_hz):
        with pytest.raises(UserError, match=r"a\.mp4"):
            ask()
