"""Codecs, frame rates and odd files: the sampled times against ffprobe, the frames against ffmpeg."""

import functools
import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from pipelines.decode import DecodeConfig, DecodeError, Decoder
from tests.conftest import MakeVideo
from tests.ffmpeg_oracle import by_the_rule, ffmpeg_frames, needs_ffmpeg, probed_times

pytestmark = needs_ffmpeg

CODECS = {
    "h264.mp4": "-c:v libx264 -preset ultrafast -bf 2",
    "hevc.mp4": "-c:v libx265 -preset ultrafast -x265-params log-level=none",
    "hevc-10-bit.mkv": "-c:v libx265 -preset ultrafast -x265-params log-level=none -pix_fmt yuv420p10le",
    "vp9.webm": "-c:v libvpx-vp9 -cpu-used 8 -deadline realtime",
    "av1.mkv": "-c:v libsvtav1 -preset 12",
    "mpeg4.mp4": "-c:v mpeg4 -bf 2 -q:v 3",
    "mpeg4.avi": "-c:v mpeg4 -bf 2 -q:v 3",
    "mjpeg.avi": "-c:v mjpeg -q:v 3",
    "h264-444.mkv": "-c:v libx264 -preset ultrafast -pix_fmt yuv444p",
}
RATES = ["10", "12.5", "15", "24000/1001", "24", "25", "30000/1001", "30", "50", "60"]


@pytest.fixture(scope="module", params=["auto", "decord"])
def decoder(request: pytest.FixtureRequest) -> Iterator[Decoder]:
    with Decoder(DecodeConfig(decoder=request.param)) as decoder:
        yield decoder


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for both decoders, so that each file is encoded once."""
    return tmp_path_factory.mktemp("clips")


def encode(path: Path, options: str, rate: str = "30", size: str = "96x64", more: str = "") -> Path:
    """1.2 seconds of a turning test picture; a file that is there stays."""
    if path.exists():
        return path
    source = f"testsrc2=duration=1.2:size={size}:rate={rate},rotate=t/2{more}"
    command = ["ffmpeg", "-v", "error", "-f", "lavfi", "-i", source, "-pix_fmt", "yuv420p"]
    subprocess.run([*command, *options.split(), str(path)], check=True, timeout=200)
    return path


@functools.cache
def oracles(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Times and pictures of the frames to keep, according to ffprobe and ffmpeg."""
    source_s = probed_times(path)
    kept = by_the_rule(source_s)
    return source_s[kept], ffmpeg_frames(path)[kept].astype(np.int16)


def agrees(decoder: Decoder, path: Path, tolerance: float = 6) -> int:
    """Number of kept frames, after both oracles were asked."""
    chunks = list(decoder.chunks(path))
    times_s = np.concatenate([chunk.timestamps_s for chunk in chunks])
    frames = np.concatenate([chunk.frames_NHW3 for chunk in chunks])
    expected_s, expected = oracles(path)
    assert times_s == pytest.approx(expected_s, abs=1e-3)
    difference = np.abs(frames.astype(np.int16) - expected).mean(axis=(1, 2, 3))
    assert difference.max() < tolerance, difference.round(1)
    return len(expected_s)


@pytest.mark.parametrize("name", CODECS)
def test_codecs(clips: Path, decoder: Decoder, name: str) -> None:
    assert agrees(decoder, encode(clips / name, CODECS[name])) in (7, 8)


@pytest.mark.parametrize("rate", RATES)
def test_frame_rates(clips: Path, decoder: Decoder, rate: str) -> None:
    for suffix in ("mp4", "mkv"):
        name = f"{rate.replace('/', '-')}-hz.{suffix}"
        path = encode(clips / name, CODECS["h264.mp4"], rate)
        assert agrees(decoder, path) in (7, 8)  # the last frame may come before 7/6 s


@pytest.mark.parametrize("size", ["98x66", "94x130", "16x16", "1280x64"])
def test_sizes(clips: Path, decoder: Decoder, size: str) -> None:
    assert agrees(decoder, encode(clips / f"{size}.mp4", CODECS["h264.mp4"], size=size), 10) == 8


def test_odd_sizes(clips: Path, decoder: Decoder) -> None:
    path = clips / "odd.mkv"
    options = "-c:v libx264 -pix_fmt yuv444p"
    assert agrees(decoder, encode(path, options, size="97x65"), 8) == 8


def test_variable_rate(clips: Path, decoder: Decoder) -> None:
    """Every frame but some: gaps of up to half a second."""
    more = ",select='not(between(n\\,5\\,18))*not(eq(n\\,25))'"
    options = CODECS["h264.mp4"] + " -fps_mode vfr"
    kept = agrees(decoder, encode(clips / "variable.mp4", options, more=more))
    assert kept == 6


def test_an_edit_list_that_skips_the_beginning(tmp_path: Path) -> None:
    """Frames before the edit are not shown, so they are not sampled."""
    source = encode(tmp_path / "source.mp4", "-c:v libx264 -g 60 -bf 2")
    path = tmp_path / "edited.mp4"
    command = ["ffmpeg", "-v", "error", "-ss", "0.5", "-i", str(source), "-c", "copy", str(path)]
    subprocess.run(command, check=True)
    with Decoder(DecodeConfig()) as decoder:
        assert agrees(decoder, path) == 5


def test_more_frames_promised_than_there_are(tmp_path: Path, make_video: MakeVideo) -> None:
    """The AVI header lies about its length: what is there is read."""
    source = make_video(tmp_path / "source.mp4", frames=30, fps_hz=30)
    path = tmp_path / "video.avi"
    command = ["ffmpeg", "-v", "error", "-i", str(source), "-c:v", "mpeg4", str(path)]
    subprocess.run(command, check=True)
    content = bytearray(path.read_bytes())
    for box, offset in ((b"avih", 8 + 16), (b"strh", 8 + 32)):
        at = content.index(box) + offset
        assert int.from_bytes(content[at : at + 4], "little") == 30
        content[at : at + 4] = (300).to_bytes(4, "little")
    path.write_bytes(content)
    for name in ("auto", "decord"):
        with Decoder(DecodeConfig(decoder=name)) as decoder:  # type: ignore[arg-type]
            assert agrees(decoder, path) == 6


def test_timestamps_that_run_backwards(shared_data: Path, decoder: Decoder) -> None:
    path = shared_data / "broken" / "bad" / "decord__unordered.mov"
    if not path.is_file():
        pytest.skip(f"no {path}")
    times_s = np.concatenate([chunk.timestamps_s for chunk in decoder.chunks(path)])
    source_s = np.sort(probed_times(path))
    assert times_s == pytest.approx(source_s[by_the_rule(source_s)], abs=1e-3)


def test_a_header_without_frames(tmp_path: Path, decoder: Decoder) -> None:
    """A recording that was stopped at once: an MP4 with a video track and no sample."""
    path = tmp_path / "empty.mp4"
    options = ["-c:v", "libx264", "-movflags", "empty_moov+frag_keyframe", "-frames:v", "0"]
    source = ["-f", "lavfi", "-i", "testsrc2=size=64x64"]
    subprocess.run(["ffmpeg", "-v", "error", *source, *options, str(path)], check=True)
    with pytest.raises(DecodeError) as caught:
        list(decoder.chunks(path))
    assert caught.value.kind in {"no_video_stream", "unreadable"}


def test_a_cover_picture_is_no_video(tmp_path: Path, make_video: MakeVideo) -> None:
    """Sound with a cover: one picture, which is no clip."""
    sound, cover = tmp_path / "sound.m4a", tmp_path / "cover.png"
    make_video(tmp_path / "one.mp4", frames=1)
    subprocess.run(
        ["ffmpeg", "-v", "error", "-f", "lavfi", "-i", "sine=duration=1", str(sound)], check=True
    )
    subprocess.run(
        ["ffmpeg", "-v", "error", "-i", str(tmp_path / "one.mp4"), str(cover)], check=True
    )
    path = tmp_path / "covered.mp4"
    command = [
        "ffmpeg",
        "-v",
        "error",
        "-i",
        str(sound),
        "-i",
        str(cover),
        "-map",
        "0",
        "-map",
        "1",
    ]
    command += ["-c", "copy", "-disposition:v:0", "attached_pic", str(path)]
    subprocess.run(command, check=True)
    with Decoder(DecodeConfig()) as decoder, pytest.raises(DecodeError) as caught:
        list(decoder.chunks(path))
    assert caught.value.kind == "no_video_stream"


@pytest.mark.parametrize("name", ["auto", "decord"])
def test_a_video_that_takes_more_memory_than_it_may(clips: Path, name: str) -> None:
    """Sixteen frames of 7680x4320 are kept for reference: three quarters of a gigabyte."""
    path = clips / "huge.mp4"
    if not path.exists():
        options = "-c:v libx264 -preset ultrafast -refs 16 -level 6.2"
        command = ["ffmpeg", "-v", "error", "-f", "lavfi", "-i", "color=size=7680x4320:rate=24"]
        subprocess.run([*command, *options.split(), "-frames:v", "18", str(path)], check=True)
    with Decoder(DecodeConfig(decoder=name, memory_mb=1000)) as decoder:  # type: ignore[arg-type]
        with pytest.raises(DecodeError) as caught:
            list(decoder.chunks(path))
        assert caught.value.kind == "out_of_memory"
        small = encode(clips / "h264.mp4", CODECS["h264.mp4"])
        assert sum(len(chunk.timestamps_s) for chunk in decoder.chunks(small)) == 8
