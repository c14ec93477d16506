import pytest

from model.errors import UserError
from pipelines.labels.layout import mask_files


def touch(root, *names):
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")


@pytest.mark.parametrize(
    "folder",
    [
        "{video}/masks",
        "masks/{video}",
        "Annotations/{video}",
        "Annotations/480p/{video}",
        "Annotations/Full-Resolution/{video}",
        "{video}",
    ],
)
def test_every_layout_gives_the_same_ids_and_stems(tmp_path, folder):
    for video in ("dog", "_a_b", "-x 1 ü"):
        for name in ("00002.png", "00000.png", "00001.PNG", "notes.txt", ".00003.png"):
            touch(tmp_path, f"{folder.format(video=video)}/{name}")
    files = mask_files(tmp_path)
    assert list(files) == ["-x 1 ü", "_a_b", "dog"]
    for video, frames in files.items():
        assert list(frames) == ["00000", "00001", "00002"]
        assert frames["00002"] == tmp_path / folder.format(video=video) / "00002.png"


def test_stems_are_in_string_order_and_keep_their_dots(tmp_path):
    touch(tmp_path, "v/b.1.png", "v/a.2.png", "v/a.10.png", "v/-c.png", "v/_d.png")
    assert list(mask_files(tmp_path)["v"]) == ["-c", "_d", "a.10", "a.2", "b.1"]


def test_hidden_folders_do_not_count(tmp_path):
    touch(tmp_path, "v/0.png", ".hidden/0.png", "__MACOSX.txt")
    assert list(mask_files(tmp_path)) == ["v"]


def test_480p_goes_before_full_resolution(tmp_path):
    touch(tmp_path, "Annotations/480p/dog/0.png", "Annotations/Full-Resolution/dog/0.png")
    assert mask_files(tmp_path)["dog"]["0"].parent.parent.name == "480p"


def test_images_beside_the_annotations_are_not_masks(tmp_path):
    touch(tmp_path, "Annotations/480p/dog/0.png", "JPEGImages/480p/dog/0.png", "Thumbs/x.png")
    assert list(mask_files(tmp_path)) == ["dog"]


def test_pictures_elsewhere_in_an_output_folder_are_not_masks(tmp_path):
    touch(tmp_path, "masks/dog/0.png", "report/plot.png", "overlays/dog.mp4", "summary.json")
    assert list(mask_files(tmp_path)) == ["dog"]


def test_frames_beside_the_masks_are_not_masks(tmp_path):
    touch(tmp_path, "dog/masks/0.png", "dog/frames/0.png", "dog/cover.png", "cat/frames/0.png")
    assert mask_files(tmp_path) == {"dog": {"0": tmp_path / "dog" / "masks" / "0.png"}}


def test_a_video_called_masks(tmp_path):
    touch(tmp_path, "masks/0.png", "dog/0.png")
    assert list(mask_files(tmp_path)) == ["dog", "masks"]


def test_a_video_without_masks_is_there_with_no_frames(tmp_path):
    touch(tmp_path, "dog/masks/0.png", "cat/masks/notes.txt")
    assert mask_files(tmp_path)["cat"] == {}


def test_the_same_frame_twice_is_refused(tmp_path):
    touch(tmp_path, "dog/0.png", "dog/0.PNG")
    if len(list((tmp_path / "dog").iterdir())) < 2:
        pytest.skip("this file system ignores case")
    with pytest.raises(UserError, match=r"0\.png: the same frame as 0\.PNG"):
        mask_files(tmp_path)


def test_missing_and_empty_folders_are_refused_by_name(tmp_path):
    with pytest.raises(UserError, match="nowhere: no such folder"):
        mask_files(tmp_path / "nowhere")
    touch(tmp_path, "file")
    with pytest.raises(UserError, match="file: not a folder"):
        mask_files(tmp_path / "file")
    touch(tmp_path, "empty/video/0.jpg")
    with pytest.raises(UserError, match=r"empty: no mask files; understood are .*VIDEO/masks/"):
        mask_files(tmp_path / "empty")


def test_annotated_sequences(shared_data):
    files = mask_files(shared_data / "eval")
    folders = {path.parent.name for path in (shared_data / "eval").glob("*/masks")}
    assert set(files) == folders
    assert all(files.values())
