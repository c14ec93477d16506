"""PyAV with and without discarding: the same frames, fewer of them decoded."""

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from pipelines.decode import DecodeConfig, Decoder
from pipelines.decode_protocol import NotOpened, Request, Unreadable
from pipelines.decode_pyav import pyav_chunks

needs_ffmpeg = pytest.mark.skipif(not shutil.which("ffmpeg"), reason="ffmpeg is missing")
ENCODERS = {
    "b-pyramid.mp4": "-c:v libx264 -bf 5 -b_strategy 0 -x264-params b-pyramid=normal",
    "open-gop.mkv": "-c:v libx264 -bf 3 -x264-params open-gop=1:keyint=20",
    "interlaced.mp4": "-c:v libx264 -bf 3 -flags +ildct+ilme -x264-params tff=1",
    "intra-refresh.mkv": "-c:v libx264 -x264-params intra-refresh=1:keyint=30",
    "b-frames.m4v": "-c:v mpeg4 -bf 3 -f mp4",
    "packed.avi": "-c:v mpeg4 -bf 3",
    "mpeg2.ts": "-c:v mpeg2video -bf 3",
    "mpeg1.mpg": "-c:v mpeg1video -bf 3",
    "layers.mp4": "-c:v libx265 -x265-params temporal-layers=3:log-level=none",
}


def kept(path: Path, *, discard: bool, fps_hz: float = 6.0, max_frames: int | None = None):  # type: ignore[no-untyped-def]
    """(times [N], planes [N, 96, 64])."""
    request = Request(str(path), "pyav", fps_hz, 64, max_frames, 8)
    chunks = list(pyav_chunks(request, discard=discard))
    times_s = np.concatenate([chunk.timestamps_s for chunk in chunks])
    return times_s, np.concatenate([chunk.frames for chunk in chunks])


def encoded(path: Path, options: str, extra: str = "") -> Path:
    """Two seconds of FFmpeg's test picture, 30 Hz, with much motion."""
    source = "testsrc2=duration=2:size=160x96:rate=30,rotate=t"
    command = ["ffmpeg", "-v", "error", "-f", "lavfi", "-i", source, *options.split()]
    subprocess.run(
        [*command, "-pix_fmt", "yuv420p", *extra.split(), str(path)], check=True, timeout=200
    )
    return path


@needs_ffmpeg
@pytest.mark.parametrize("name", ENCODERS)
def test_discarding_changes_no_frame(tmp_path: Path, name: str) -> None:
    path = encoded(tmp_path / name, ENCODERS[name])
    for fps_hz in (6.0, 12.5):
        plain_s, plain = kept(path, discard=False, fps_hz=fps_hz)
        times_s, frames = kept(path, discard=True, fps_hz=fps_hz)
        assert times_s.tolist() == plain_s.tolist()
        assert np.array_equal(frames, plain)
    assert len(kept(path, discard=True)[0]) == 12


@pytest.mark.parametrize("folder", ["clips", "broken/tricky"])
def test_discarding_changes_no_frame_of_real_clips(shared_data: Path, folder: str) -> None:
    compared = 0
    for path in sorted((shared_data / folder).iterdir())[::2]:
        plain_s, plain = kept(path, discard=False, max_frames=24)
        times_s, frames = kept(path, discard=True, max_frames=24)
        assert times_s.tolist() == plain_s.tolist(), path.name
        assert np.array_equal(frames, plain), path.name
        compared += 1
    assert compared > 5


@needs_ffmpeg
def test_a_promise_that_the_decoder_does_not_keep(tmp_path: Path) -> None:
    """Frames that refer to a lost key frame never come out: what does come is sampled instead."""
    path = encoded(tmp_path / "video.ts", "-c:v libx264 -bf 2 -x264-params keyint=15:scenecut=0")
    raw = bytearray(path.read_bytes())
    raw[2 * 188 : len(raw) // 4] = b""
    path.write_bytes(raw)
    plain_s, plain = kept(path, discard=False)
    times_s, frames = kept(path, discard=True)
    assert times_s.tolist() == plain_s.tolist()
    assert np.array_equal(frames, plain)
    assert times_s[0] == 0
    assert 6 <= len(times_s) < 12


@needs_ffmpeg
def test_colours_of_high_definition_and_full_range(tmp_path: Path) -> None:
    """Matrix and range are those that the file names."""
    source = "color=c=0xC81E5A:duration=0.5:size=64x64:rate=12"
    for name, filters in (
        ("bt709.mp4", "scale=out_color_matrix=bt709:out_range=tv,setparams=colorspace=bt709"),
        ("full.mp4", "scale=out_color_matrix=bt601:out_range=pc,setparams=range=pc"),
        ("plain.mp4", "scale=out_color_matrix=bt601:out_range=tv"),
    ):
        path = tmp_path / name
        command = ["ffmpeg", "-v", "error", "-f", "lavfi", "-i", source, "-vf", filters]
        command += ["-c:v", "libx264", "-qp", "1", "-pix_fmt", "yuv420p"]
        subprocess.run([*command, str(path)], check=True)
        with Decoder(DecodeConfig(size_px=64, decoder="pyav")) as decoder:
            (chunk,) = decoder.chunks(path)
        frames = chunk.frames_NHW3
        command = ["ffmpeg", "-v", "error", "-i", str(path), "-frames:v", "1", "-f", "rawvideo"]
        command += ["-vf", "scale=flags=accurate_rnd+full_chroma_int", "-pix_fmt", "rgb24", "-"]
        raw = subprocess.run(command, check=True, capture_output=True).stdout
        expected = np.frombuffer(raw, np.uint8).reshape(64, 64, 3).astype(int)
        assert np.abs(expected - [0xC8, 0x1E, 0x5A]).max() <= 6
        assert np.abs(frames - expected).max() <= 3, (name, frames[0, 32, 32])


def test_a_missing_file_is_not_opened(tmp_path: Path) -> None:
    request = Request(str(tmp_path / "none.mp4"), "pyav", 6.0, 64, None, 8)
    with pytest.raises(NotOpened, match="No such file"):
        list(pyav_chunks(request))


@needs_ffmpeg
def test_sound_alone_is_no_video(tmp_path: Path) -> None:
    path = tmp_path / "sound.mp4"
    command = ["ffmpeg", "-v", "error", "-f", "lavfi", "-i", "sine=duration=0.5", str(path)]
    subprocess.run(command, check=True)
    with pytest.raises(Unreadable) as caught:
        list(pyav_chunks(Request(str(path), "pyav", 6.0, 64, None, 8)))
    assert caught.value.kind == "no_video_stream"
