"""Declared sizes against files that ffmpeg wrote whole."""

import shutil
import subprocess
from pathlib import Path

import pytest

from pipelines.container_size import declared_bytes
from tests.conftest import MakeVideo


@pytest.mark.skipif(not shutil.which("ffmpeg"), reason="ffmpeg is missing")
@pytest.mark.parametrize("suffix", ["mp4", "mov", "mkv", "avi"])
def test_whole_and_cut_files(tmp_path: Path, make_video: MakeVideo, suffix: str) -> None:
    source = make_video(tmp_path / "source.mp4", frames=60)
    path = tmp_path / f"video.{suffix}"
    faststart = ["-movflags", "+faststart"] if suffix in ("mp4", "mov") else []
    command = ["ffmpeg", "-v", "error", "-i", str(source), "-c", "copy", *faststart, str(path)]
    subprocess.run(command, check=True)
    whole = path.stat().st_size
    assert declared_bytes(path) == whole
    content = path.read_bytes()
    path.write_bytes(content[: whole * 2 // 3])
    assert declared_bytes(path) == whole
    path.write_bytes(content + b"\0" * 6)  # what follows the last box is nobody's
    assert declared_bytes(path) == whole


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\0\0\0",
        b"text, not a video at all",
        b"RIFF",
        b"\x1aE\xdf\xa3",
        b"\x1aE\xdf\xa3\x80\x18S\x80g\x01\xff\xff\xff\xff\xff\xff\xff",  # a stream: length unknown
        b"\0\0\0\x08ftyp\0\0\0\0mdat" + b"x" * 40,  # a box up to the end of the file
        b"\0\0\0\x08ftyp\0\0\0\x03mdat",
    ],
)
def test_files_that_do_not_say(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "file"
    path.write_bytes(content)
    assert declared_bytes(path) is None


def test_a_long_box_and_many_boxes(tmp_path: Path) -> None:
    path = tmp_path / "file.mp4"
    path.write_bytes(b"\0\0\0\x08ftyp\0\0\0\x01mdat" + (1 << 40).to_bytes(8, "big"))
    assert declared_bytes(path) == 8 + (1 << 40)
    path.write_bytes(b"\0\0\0\x08free" * 20_000)
    assert declared_bytes(path) is None
