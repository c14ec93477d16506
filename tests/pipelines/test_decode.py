"""The decoding child: times and pixels against ffprobe and ffmpeg, and every way it can fail."""

import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import psutil
import pytest

from model.errors import UserError
from pipelines.decode import DecodeConfig, DecodeError, Decoder
from tests.conftest import MakeVideo
from tests.ffmpeg_oracle import by_the_rule, ffmpeg_frames, needs_ffmpeg, probed_times
from tests.processes import processes_below

CLIPS = [
    "clips/lipnet_grid__GRID__bbaf2n.mpg",
    "clips/intel_sample__asl_gestures__no.mkv",
    "clips/fight_surv__fi014.mp4",
    "clips/jhmdb__HittingaSingle_swing_baseball_f_cm_np1_fr_med_0.avi",
    "clips/hmdb51__examples__Golf_Tips_-_Hit_The_Driver_300+_Yards!!!_golf_f_nm_np1_fr_med_0.avi",
    "clips/ucf101__ApplyEyeMakeup__v_ApplyEyeMakeup_g01_c01.avi",
    "clips/ucf101__ApplyEyeMakeup__v_ApplyEyeMakeup_g01_c04.avi",
    "broken/tricky/torchcodec__nasa_13013_vfr.mp4",
    "broken/tricky/torchcodec__test_non_zero_start.mp4",
    "broken/tricky/torchcodec__testsrc2_odd_width_mpeg2.mp4",
    "broken/tricky/torchcodec__av1_video.mkv",
]
ROTATED = [f"broken/tricky/decord__video_{degrees}.mov" for degrees in (0, 90, 180, 270)] + [
    "broken/tricky/torchcodec__nasa_13013_rotated_749a19.mp4"
]
BROKEN = {
    "V-AURA__76UZQRJq028_181000_191000.mp4": "unreadable",
    "mmtracking__._mot.mp4": "unreadable",
    "mp4parse-rust__bipbop_480wp_1001kbps-cenc-video-key1-init.mp4": "no_video_stream",
    "mp4parse-rust__chunk_out_of_range.mp4": "unreadable",
    "mp4parse-rust__invalid_userdata.mp4": "no_video_stream",
    "mp4parse-rust__test_case_1185230.mp4": "unreadable",
    "mp4parse-rust__zero_empty_stsc.mp4": "unreadable",
}


@pytest.fixture(scope="module", params=["auto", "decord"])
def decoder(request: pytest.FixtureRequest) -> Iterator[Decoder]:
    """One child of each kind for the tests that do not harm it."""
    with Decoder(DecodeConfig(decoder=request.param)) as decoder:
        yield decoder


def decoded(decoder: Decoder, path: Path) -> tuple[np.ndarray, np.ndarray]:
    """All times [N] and frames [N, H, W, 3] of a video."""
    chunks = list(decoder.chunks(path))
    times_s = np.concatenate([chunk.timestamps_s for chunk in chunks])
    return times_s, np.concatenate([chunk.frames_NHW3 for chunk in chunks])


def newest_child() -> psutil.Process:
    """The decoding process that was started last; those of Ray's workers are no children of this one."""
    own = psutil.Process().children()
    decoding = [p for p in processes_below(psutil.Process(), "pipelines.decode_child") if p in own]
    return max(decoding, key=psutil.Process.create_time)


def error_of(decoder: Decoder, path: Path) -> DecodeError:
    with pytest.raises(DecodeError) as caught:
        list(decoder.chunks(path))
    return caught.value


@needs_ffmpeg
@pytest.mark.parametrize("name", CLIPS)
def test_real_clips_agree_with_ffprobe_and_ffmpeg(
    shared_data: Path, decoder: Decoder, name: str
) -> None:
    path = shared_data / name
    if not path.is_file():
        pytest.skip(f"no {path}")
    times_s, frames = decoded(decoder, path)
    source_s = probed_times(path)
    kept = by_the_rule(source_s)
    assert times_s == pytest.approx(source_s[kept], abs=1e-3)
    assert frames.shape == (len(kept), 256, 256, 3)
    assert frames.dtype == np.uint8
    expected = ffmpeg_frames(path)
    difference = np.abs(frames.astype(np.int16) - expected[kept]).mean(axis=(1, 2, 3))
    # Another scaling filter, never another frame or swapped channels.
    assert difference.max() < 6, difference.round(1)


@needs_ffmpeg
@pytest.mark.parametrize("name", ROTATED)
def test_rotation_is_that_of_ffmpeg(shared_data: Path, decoder: Decoder, name: str) -> None:
    path = shared_data / name
    if not path.is_file():
        pytest.skip(f"no {path}")
    _, frames = decoded(decoder, path)
    expected = ffmpeg_frames(path)[0].astype(np.int16)
    turned = [np.abs(np.rot90(frames[0], k).astype(np.int16) - expected).mean() for k in range(4)]
    assert np.argmin(turned) == 0
    assert turned[0] < 6


@needs_ffmpeg
@pytest.mark.parametrize(("suffix", "codec"), [("ts", "copy"), ("ts", "mpeg2video"), ("mpg", "")])
def test_mpeg_streams_repeat_no_frame(
    tmp_path: Path, make_video: MakeVideo, decoder: Decoder, suffix: str, codec: str
) -> None:
    """They hold no index: seeking in them must not cost frames or give wrong ones."""
    source = make_video(tmp_path / "source.mp4", frames=300, fps_hz=25, size_hw=(96, 128))
    path = tmp_path / f"video.{suffix}"
    command = ["ffmpeg", "-v", "error", "-i", str(source)] + (["-c:v", codec] if codec else [])
    subprocess.run([*command, str(path)], check=True)
    times_s, frames = decoded(decoder, path)
    kept = by_the_rule(np.arange(300) / 25)
    assert times_s == pytest.approx(np.array(kept) / 25, abs=1e-3)
    expected = ffmpeg_frames(path)
    difference = np.abs(frames.astype(np.int16) - expected[kept]).mean(axis=(1, 2, 3))
    assert difference.max() < 6


@pytest.mark.parametrize(("name", "kind"), BROKEN.items())
def test_broken_files_have_a_kind_and_one_line(
    shared_data: Path, decoder: Decoder, name: str, kind: str
) -> None:
    path = shared_data / "broken" / "bad" / name
    if not path.is_file():
        pytest.skip(f"no {path}")
    error = error_of(decoder, path)
    assert error.kind == kind
    assert error.message == str(error)
    assert error.message.strip()
    assert "\n" not in error.message
    assert not re.search(r"\d\d:\d\d:\d\d", error.message)  # two runs must give the same row
    assert error_of(decoder, path).message == error.message


def test_what_is_not_a_video(tmp_path: Path, make_video: MakeVideo, decoder: Decoder) -> None:
    text = tmp_path / "text.mp4"
    text.write_text("not a video")
    empty = tmp_path / "empty.mp4"
    empty.touch()
    for path in (text, empty, tmp_path / "missing.mp4", tmp_path):
        assert error_of(decoder, path).kind == "unreadable"
    times_s, _ = decoded(decoder, make_video(tmp_path / "good.mp4"))
    assert len(times_s) == 12


def test_what_pyav_opens_is_not_handed_to_decord(tmp_path: Path, make_video: MakeVideo) -> None:
    """Of damaged streams decord's threads make now this, now that; a corpus must not depend on it."""
    path = make_video(tmp_path / "hollow.mp4", frames=24)
    content = bytearray(path.read_bytes())
    begin = content.index(b"mdat") + 4
    length = int.from_bytes(content[begin - 8 : begin - 4], "big") - 8
    content[begin : begin + length] = b"\xff" * length
    path.write_bytes(content)
    with Decoder(DecodeConfig(decoder="auto")) as decoder:
        hollow = error_of(decoder, path)
        path.write_text("no container")
        text = error_of(decoder, path)
    assert hollow.kind in {"unreadable", "no_video_stream"}
    assert "decord" not in hollow.message
    assert text.kind == "unreadable"
    assert "PyAV: " in text.message and "decord: " in text.message


@needs_ffmpeg
def test_a_file_with_sound_only(tmp_path: Path, decoder: Decoder) -> None:
    path = tmp_path / "sound.mp4"
    sound = ["ffmpeg", "-v", "error", "-f", "lavfi", "-i", "sine=duration=0.5", str(path)]
    subprocess.run(sound, check=True)
    assert error_of(decoder, path).kind == "no_video_stream"


def test_a_damaged_end_is_truncated_after_the_frames_before_it(
    tmp_path: Path, make_video: MakeVideo
) -> None:
    path = make_video(tmp_path / "cut.mp4", frames=300, fps_hz=25, size_hw=(96, 128))
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 6 // 10])
    seen = 0
    with Decoder(DecodeConfig(fps_hz=25, size_px=64, decoder="decord")) as decoder:
        with pytest.raises(DecodeError) as caught:
            for chunk in decoder.chunks(path):
                seen += len(chunk.timestamps_s)
        assert caught.value.kind == "truncated"
        assert 0 < seen < 300
        assert f"after {seen} frames" in caught.value.message


@needs_ffmpeg
@pytest.mark.parametrize("suffix", ["mp4", "mkv", "avi", "webm"])
def test_a_file_that_lost_its_end_is_truncated(
    tmp_path: Path, make_video: MakeVideo, suffix: str
) -> None:
    source = make_video(tmp_path / "source.mp4", frames=100, fps_hz=25, size_hw=(96, 128))
    path = tmp_path / f"cut.{suffix}"
    codec = ["-c:v", "libvpx-vp9", "-cpu-used", "8"] if suffix == "webm" else ["-c", "copy"]
    command = ["ffmpeg", "-v", "error", "-i", str(source), *codec]
    command += ["-movflags", "+faststart"] if suffix == "mp4" else []
    subprocess.run([*command, str(path)], check=True)
    with Decoder(DecodeConfig(size_px=64)) as decoder:
        times_s, _ = decoded(decoder, path)
        assert len(times_s) == 24
        whole_bytes = path.stat().st_size
        path.write_bytes(path.read_bytes()[: whole_bytes * 6 // 10])
        error = error_of(decoder, path)
    assert error.kind == "truncated"
    missing_bytes = whole_bytes - whole_bytes * 6 // 10
    assert f"ends {missing_bytes} bytes early" in error.message


def test_awkward_names(tmp_path: Path, make_video: MakeVideo, decoder: Decoder) -> None:
    for name in ("-i.mp4", "_x.mp4", "a b\tc.mp4", "č 日本.mp4", "100%d.mp4", "a'b\"c.mp4"):
        times_s, _ = decoded(decoder, make_video(tmp_path / name, frames=4))
        assert times_s == pytest.approx([0, 2 / 12], abs=1e-5), name


def test_a_child_killed_while_it_decodes(tmp_path: Path, make_video: MakeVideo) -> None:
    path = make_video(tmp_path / "long.mp4", frames=160, fps_hz=30)
    with Decoder(DecodeConfig(fps_hz=30, size_px=128)) as decoder:
        chunks = decoder.chunks(path)
        assert len(next(chunks).timestamps_s) == Decoder.CHUNK_FRAMES
        newest_child().kill()
        with pytest.raises(DecodeError) as caught:
            list(chunks)
        assert caught.value.kind == "crashed"
        assert "-9" in caught.value.message
        # Leaving early is fine too: what the child still sends must not reach the next video.
        next(decoder.chunks(path))
        short_s, _ = decoded(decoder, make_video(tmp_path / "short.mp4", frames=5, fps_hz=30))
        assert short_s == pytest.approx(np.arange(5) / 30, abs=1e-3)
        child = newest_child()
        child.kill()
        child.wait()
        times_s, _ = decoded(decoder, path)  # died between two videos: nobody is to blame
        assert len(times_s) == 160


def test_a_child_that_hangs_is_killed_and_replaced(tmp_path: Path, make_video: MakeVideo) -> None:
    silent = tmp_path / "silent.mp4"
    os.mkfifo(silent)
    good = make_video(tmp_path / "good.mp4", frames=4)
    with Decoder(DecodeConfig()) as decoder:
        decoded(decoder, good)  # the child runs and has loaded its libraries
        child = newest_child()
        decoder.config = DecodeConfig(deadline_s=1)
        error = error_of(decoder, silent)
        assert (error.kind, error.message) == ("timeout", "no progress for 1 s; decoder killed")
        assert not child.is_running()
        decoder.config = DecodeConfig()
        times_s, _ = decoded(decoder, good)
        assert len(times_s) == 2


def test_max_frames_ends_early_and_keeps_the_child(
    tmp_path: Path, make_video: MakeVideo, decoder: Decoder
) -> None:
    path = make_video(tmp_path / "video.mp4", frames=48)
    decoded(decoder, path)
    child = newest_child()
    (chunk,) = decoder.chunks(path, max_frames=3)
    assert chunk.timestamps_s == pytest.approx([0, 2 / 12, 4 / 12], abs=1e-5)
    assert newest_child() == child


def test_native_libraries_cannot_print_into_the_answers(
    tmp_path: Path, make_video: MakeVideo, capfd: pytest.CaptureFixture[str]
) -> None:
    """decord and FFmpeg print warnings about this file; the answers stay whole."""
    path = make_video(tmp_path / "cut.mp4", frames=120, fps_hz=12)
    path.write_bytes(path.read_bytes()[:-1500])
    with Decoder(DecodeConfig()) as decoder:
        for _ in range(2):
            try:
                list(decoder.chunks(path))
            except DecodeError as error:
                assert error.kind in {"truncated", "unreadable"}
            times_s, _ = decoded(decoder, make_video(tmp_path / "good.mp4"))
            assert len(times_s) == 12
    captured = capfd.readouterr()
    assert (captured.out, captured.err) == ("", "")


def test_the_child_ends_with_its_decoder(tmp_path: Path, make_video: MakeVideo) -> None:
    decoder = Decoder(DecodeConfig())
    assert decoder.peak_rss_bytes() == 0
    decoded(decoder, make_video(tmp_path / "good.mp4"))
    child = newest_child()
    assert 20e6 < decoder.peak_rss_bytes() < 2e9
    decoder.close()
    decoder.close()
    assert not child.is_running()


@pytest.mark.parametrize(
    ("settings", "cause"),
    [
        ({"fps_hz": 0.0}, "fps_hz"),
        ({"deadline_s": 0.0}, "deadline_s"),
        ({"size_px": 100}, "multiple of 8"),
        ({"size_px": 0}, "multiple of 8"),
    ],
)
def test_impossible_settings_are_refused(settings: dict[str, float], cause: str) -> None:
    with pytest.raises(UserError, match=cause):
        DecodeConfig(**settings)  # type: ignore[arg-type]
