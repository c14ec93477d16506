"""Videos in and out, with ffprobe and ffmpeg as oracles."""

import json
import shutil
import struct
import subprocess
from fractions import Fraction
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from model.errors import UserError
from pipelines.video import read_frames, write_h264

needs_ffmpeg = pytest.mark.skipif(
    not (shutil.which("ffprobe") and shutil.which("ffmpeg")), reason="ffprobe or ffmpeg is missing"
)


def moving_pattern(count: int, height: int, width: int) -> list[np.ndarray]:
    rng = np.random.default_rng(5)
    coarse = rng.integers(30, 220, (8, 8, 3)).astype(np.uint8)
    plane = cv2.resize(coarse, (width + 2 * count, height + count), interpolation=cv2.INTER_CUBIC)
    return [plane[i : i + height, 2 * i : 2 * i + width] for i in range(count)]


def psnr_db(a: np.ndarray, b: np.ndarray) -> float:
    error = np.mean((a.astype(float) - b.astype(float)) ** 2)
    return float(10 * np.log10(255**2 / max(error, 1e-9)))


def probe(path: Path) -> dict[str, Any]:
    command = ["ffprobe", "-v", "error", "-count_frames", "-show_streams", "-of", "json", str(path)]
    report = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)
    (stream,) = report["streams"]
    return dict(stream)


@needs_ffmpeg
@pytest.mark.parametrize(
    ("fps_hz", "rate"),
    [
        (24.0, "24/1"),
        (24000 / 1001, "24000/1001"),
        (Fraction(30000, 1001), "30000/1001"),
        (12.5, "25/2"),
    ],
)
def test_ffprobe_sees_h264_that_browsers_play(
    tmp_path: Path, fps_hz: float | Fraction, rate: str
) -> None:
    path = tmp_path / "clip.mp4"
    assert write_h264(path, moving_pattern(9, 64, 96), fps_hz) == 9
    stream = probe(path)
    assert stream["codec_name"] == "h264"
    assert stream["pix_fmt"] == "yuv420p"
    assert stream["nb_read_frames"] == stream["nb_frames"] == "9"
    assert stream["avg_frame_rate"] == stream["r_frame_rate"] == rate
    assert (stream["width"], stream["height"]) == (96, 64)
    assert float(stream["start_time"]) == 0
    assert (stream["color_range"], stream["color_space"]) in {
        ("tv", "bt470bg"),  # ffprobe's two names for the BT.601 matrix
        ("tv", "smpte170m"),
    }
    content = path.read_bytes()
    assert 0 < content.index(b"moov") < content.index(b"mdat"), "the index must come first"


@needs_ffmpeg
def test_ffmpeg_decodes_the_pictures_that_went_in(tmp_path: Path) -> None:
    frames = moving_pattern(6, 64, 96)
    path = tmp_path / "clip.mp4"
    write_h264(path, frames, 24, crf=12)
    command = ["ffmpeg", "-v", "error", "-i", str(path), "-f", "rawvideo"]
    command += ["-pix_fmt", "rgb24", "-sws_flags", "bicubic+accurate_rnd+full_chroma_int", "-"]
    raw = subprocess.run(command, capture_output=True, check=True).stdout
    decoded = np.frombuffer(raw, np.uint8).reshape(6, 64, 96, 3)
    for frame, back in zip(frames, decoded, strict=True):
        assert psnr_db(frame, back) > 36
        # No cast: the colour matrix and the range are the ones the file is tagged with.
        assert np.abs(back.mean((0, 1)) - frame.mean((0, 1))).max() < 0.8


def test_frames_and_times_come_back(tmp_path: Path) -> None:
    frames = moving_pattern(8, 64, 96)
    path = tmp_path / "clip.mp4"
    write_h264(path, frames, Fraction(24000, 1001))
    back = list(read_frames(path))
    assert [time for time, _ in back] == pytest.approx([i * 1001 / 24000 for i in range(8)])
    for frame, (_, decoded) in zip(frames, back, strict=True):
        assert decoded.dtype == np.uint8
        assert psnr_db(frame, decoded) > 30
    # In order, too: each decoded frame is nearer to its own source than to any other one.
    best = [int(np.argmax([psnr_db(frame, decoded) for frame in frames])) for _, decoded in back]
    assert best == list(range(8))


def test_a_lower_crf_is_nearer_to_the_source(tmp_path: Path) -> None:
    frames = moving_pattern(4, 64, 96)
    quality = {}
    for crf in (10, 40):
        write_h264(tmp_path / "clip.mp4", frames, 24, crf=crf)
        decoded = [frame for _, frame in read_frames(tmp_path / "clip.mp4")]
        quality[crf] = psnr_db(np.array(frames), np.array(decoded))
    assert quality[10] > quality[40] + 3


def test_odd_sizes_are_padded_with_the_last_row_and_column(tmp_path: Path) -> None:
    frames = moving_pattern(3, 97, 143)
    path = tmp_path / "odd.mp4"
    write_h264(path, frames, 24, crf=1)
    for frame, (_, decoded) in zip(frames, read_frames(path), strict=True):
        assert decoded.shape == (98, 144, 3)
        padded = np.pad(frame, ((0, 1), (0, 1), (0, 0)), mode="edge")
        assert psnr_db(decoded, padded) > 30
        assert psnr_db(decoded[-1:], padded[-1:]) > 28
        assert psnr_db(decoded[:, -1:], padded[:, -1:]) > 28


def test_the_same_frames_give_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a.mp4", "b.mp4"):
        write_h264(tmp_path / name, moving_pattern(12, 64, 96), 24)
    assert (tmp_path / "a.mp4").read_bytes() == (tmp_path / "b.mp4").read_bytes()


def test_a_writer_that_fails_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "clip.mp4"
    write_h264(path, moving_pattern(2, 64, 96), 24)
    before = path.read_bytes()

    def broken() -> Any:
        yield from moving_pattern(2, 64, 96)
        raise RuntimeError("the source broke")

    with pytest.raises(RuntimeError, match="the source broke"):
        write_h264(path, broken(), 24)
    assert path.read_bytes() == before
    assert [entry.name for entry in tmp_path.iterdir()] == ["clip.mp4"]


@pytest.mark.parametrize(
    ("frames", "fps_hz", "cause"),
    [
        ([], 24, "no frames"),
        ([np.zeros((8, 8, 3), np.uint8)], 0, "frame rate"),
        ([np.zeros((8, 8, 3), np.float32)], 24, "float32"),
        ([np.zeros((8, 8), np.uint8)], 24, r"\[8, 8\]"),
        ([np.zeros((8, 0, 3), np.uint8)], 24, r"\[8, 0, 3\]"),
        ([np.zeros((8, 8, 3), np.uint8), np.zeros((8, 10, 3), np.uint8)], 24, "frame 1"),
    ],
)
def test_frames_that_cannot_be_written_are_named(
    tmp_path: Path, frames: list[np.ndarray], fps_hz: float, cause: str
) -> None:
    with pytest.raises(UserError, match=rf"bad\.mp4.*{cause}"):
        write_h264(tmp_path / "bad.mp4", frames, fps_hz)
    assert not list(tmp_path.iterdir())


def test_a_missing_folder_is_an_oserror(tmp_path: Path) -> None:
    with pytest.raises(OSError, match=r"nowhere"):
        write_h264(tmp_path / "nowhere" / "clip.mp4", moving_pattern(2, 64, 96), 24)


@needs_ffmpeg
@pytest.mark.parametrize("matrix", [(0, 1, -1, 0), (-1, 0, 0, -1), (0, -1, 1, 0)])
def test_rotation_metadata_is_applied(tmp_path: Path, matrix: tuple[int, int, int, int]) -> None:
    """The track header's display matrix (ISO/IEC 14496-12, `tkhd`); ffmpeg applies it as well."""

    def pack(a: int, b: int, c: int, d: int) -> bytes:
        return struct.pack(">9i", a << 16, b << 16, 0, c << 16, d << 16, 0, 0, 0, 1 << 30)

    path = tmp_path / "turned.mp4"
    write_h264(path, moving_pattern(3, 64, 96), 24)
    before, header, after = path.read_bytes().partition(b"tkhd")
    assert pack(1, 0, 0, 1) in after[:100]
    path.write_bytes(before + header + after.replace(pack(1, 0, 0, 1), pack(*matrix), 1))
    command = ["ffmpeg", "-v", "error", "-i", str(path), "-frames:v", "1"]
    command += ["-f", "rawvideo", "-pix_fmt", "rgb24", "-"]
    raw = subprocess.run(command, capture_output=True, check=True).stdout
    _, first = next(iter(read_frames(path)))
    assert first.shape == ((64, 96, 3) if matrix[0] else (96, 64, 3))
    assert psnr_db(first, np.frombuffer(raw, np.uint8).reshape(first.shape)) > 35


@needs_ffmpeg
def test_times_start_at_zero_whatever_the_file_says(tmp_path: Path) -> None:
    plain, late = tmp_path / "plain.mp4", tmp_path / "late.mkv"
    write_h264(plain, moving_pattern(5, 64, 96), 25)
    command = ["ffmpeg", "-v", "error", "-i", str(plain), "-c", "copy"]
    subprocess.run([*command, "-output_ts_offset", "3.2", str(late)], check=True)
    assert float(probe(late)["start_time"]) > 3
    times = [time for time, _ in read_frames(late)]
    assert times == pytest.approx([0.0, 0.04, 0.08, 0.12, 0.16], abs=2e-3)


@needs_ffmpeg
def test_times_of_avi_with_b_frames_are_in_order(tmp_path: Path) -> None:
    """AVI has no presentation times; every frame still gets its place on the grid."""
    plain, avi = tmp_path / "plain.mp4", tmp_path / "b_frames.avi"
    write_h264(plain, moving_pattern(12, 64, 96), 25)
    command = ["ffmpeg", "-v", "error", "-i", str(plain), "-c:v", "mpeg4", "-bf", "2", str(avi)]
    subprocess.run(command, check=True)
    times = [time for time, _ in read_frames(avi)]
    assert times == pytest.approx(np.arange(12) / 25)


def test_what_is_not_a_video_is_named(tmp_path: Path) -> None:
    text = tmp_path / "notes.mp4"
    text.write_text("not a video")
    for path in (text, tmp_path / "missing.mp4", tmp_path):
        with pytest.raises(UserError, match=path.name):
            list(read_frames(path))


def test_a_damaged_file_is_named_and_not_read_silently(tmp_path: Path) -> None:
    path = tmp_path / "cut.mp4"
    write_h264(path, moving_pattern(30, 128, 192), 24)
    content = path.read_bytes()
    path.write_bytes(content[: content.index(b"mdat") + 200])
    with pytest.raises(UserError, match=r"cut\.mp4"):
        list(read_frames(path))


@needs_ffmpeg
def test_a_file_with_sound_only_is_named(tmp_path: Path) -> None:
    path = tmp_path / "sound.wav"
    command = ["ffmpeg", "-v", "error", "-f", "lavfi", "-i", "sine=duration=0.1", str(path)]
    subprocess.run(command, check=True)
    with pytest.raises(UserError, match=r"sound\.wav: no video stream"):
        list(read_frames(path))


@needs_ffmpeg
def test_real_clips_agree_with_ffprobe(shared_data: Path) -> None:
    """Frame counts and times of awkward files: variable rate, late start, rotation, AVI."""
    names = [
        "broken/tricky/torchcodec__nasa_13013_vfr.mp4",
        "broken/tricky/PySceneDetect__delayed_start.mp4",
        "broken/tricky/decord__video_90.mov",
        "clips/jhmdb__HittingaSingle_swing_baseball_f_cm_np1_fr_med_0.avi",
    ]
    paths = [shared_data / name for name in names if (shared_data / name).is_file()]
    if not paths:
        pytest.skip(f"no such clips in {shared_data}")
    for path in paths:
        command = ["ffprobe", "-v", "error", "-select_streams", "v:0", "-of", "csv=p=0"]
        command += ["-show_entries", "frame=best_effort_timestamp_time", str(path)]
        report = subprocess.run(command, capture_output=True, check=True, text=True).stdout
        expected = np.array([float(cell) for cell in report.replace(",", " ").split()])
        times = [time for time, _ in read_frames(path)]
        assert times == pytest.approx(expected - expected[0], abs=1e-3), path.name
