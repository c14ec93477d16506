"""Whole videos through PyAV: H.264 files that browsers play, and every frame with its time.

Shape legend: H height and W width in pixels, 3 the channels R, G, B.
"""

import contextlib
import os
from collections.abc import Iterable, Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.codec.context import ThreadType
from av.container import InputContainer, OutputContainer
from av.video.frame import VideoFrame
from av.video.reformatter import ColorPrimaries, ColorRange, Colorspace, ColorTrc, Interpolation
from av.video.stream import VideoStream

from model.errors import UserError
from pipelines.storage import Location, open_binary

# Broadcast rates are multiples of 1/1001 (23.976... = 24000/1001), so this finds them in a float.
_LARGEST_RATE_DENOMINATOR = 1001
# A header can claim any size; 8K UHD is the largest picture that is decoded.
_LARGEST_FRAME_PIXELS = 7680 * 4320
# Accurate rounding costs little here. Reading takes the fast path instead: four times as fast, and
# the same pixels as ffmpeg and decord give (about 1.5 levels of 255 darker than exact).
_TO_YUV = Interpolation.BICUBIC | Interpolation.ACCURATE_RND | Interpolation.BITEXACT
_TO_RGB = Interpolation.BICUBIC


def write_h264(
    path: Path, frames: Iterable[np.ndarray], fps_hz: float | Fraction, crf: int = 20
) -> int:
    """Writes `frames` (uint8 RGB [H, W, 3], all of one size) with `H264Writer`; returns their number."""
    with H264Writer(path, fps_hz, crf) as film:
        for frame_HW3 in frames:
            film.write(frame_HW3)
    return film.count


class H264Writer:
    """H.264 in MP4, a frame at a time.

    The pixel format is yuv420p (ITU-R BT.601 matrix, limited range, tagged as such) and the index
    stands before the data, so browsers play and stream the file. An odd height or width is made
    even by repeating the last row or column. `crf` is x264's constant rate factor: 0 lossless,
    51 worst. The same frames give the same bytes. The file appears under its name when the `with`
    block has ended well.

    Raises UserError if there is no frame, a frame is not uint8 [H, W, 3] or has another size than
    the first, the rate is not positive, or the encoder refuses; OSError if the disk does.
    """

    def __init__(self, path: Path, fps_hz: float | Fraction, crf: int = 20) -> None:
        if not 0 < fps_hz < float("inf"):
            raise UserError(f"{path}: frame rate must be positive, got {fps_hz}")
        self.count = 0
        self._path = path
        self._rate = Fraction(fps_hz).limit_denominator(_LARGEST_RATE_DENOMINATOR)
        self._crf = crf
        self._shape: tuple[int, ...] = ()
        self._temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
        self._container: OutputContainer | None = None
        self._stream: VideoStream | None = None

    def __enter__(self) -> "H264Writer":
        return self

    def write(self, frame_HW3: np.ndarray) -> None:
        """The next frame, uint8 RGB [H, W, 3]."""
        self._shape = self._shape or frame_HW3.shape
        _check_frame(self._path, self.count, frame_HW3, self._shape)
        with self._explained():
            if self._container is None or self._stream is None:
                self._container, self._stream = self._open()
            frame = _yuv_frame(frame_HW3)
            frame.pts = self.count
            frame.time_base = 1 / self._rate
            self._container.mux(self._stream.encode(frame))
        self.count += 1

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            with self._explained():
                if kind is None:
                    self._finish()
                elif self._container is not None:
                    self._container.close()
        finally:
            self._temporary.unlink(missing_ok=True)

    def _finish(self) -> None:
        if self._container is None or self._stream is None:
            raise UserError(f"{self._path}: no frames to write")
        with self._container:
            self._container.mux(self._stream.encode(None))
        self._temporary.replace(self._path)

    def _open(self) -> tuple[OutputContainer, VideoStream]:
        options = {"movflags": "+faststart", "fflags": "+bitexact"}
        container = av.open(str(self._temporary), "w", format="mp4", options=options)
        stream = container.add_stream("libx264", rate=self._rate, options=_x264_options(self._crf))
        assert isinstance(stream, VideoStream)
        height, width = self._shape[:2]
        stream.height, stream.width = height + height % 2, width + width % 2
        stream.pix_fmt = "yuv420p"
        stream.time_base = 1 / self._rate
        context = stream.codec_context
        context.thread_count = 1
        context.color_range = ColorRange.MPEG
        context.colorspace = Colorspace.SMPTE170M
        context.color_primaries = ColorPrimaries.BT709
        context.color_trc = ColorTrc.BT709
        return container, stream

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        """What PyAV raises, as what the rest of the program expects."""
        try:
            yield
        except av.error.FFmpegError as error:
            if isinstance(error, OSError):
                raise OSError(error.errno, error.strerror, str(self._path)) from error
            raise UserError(f"{self._path}: cannot encode: {error.strerror}") from error


def _x264_options(crf: int) -> dict[str, str]:
    # With macroblock-tree rate control (x264's default) the bytes of small pictures were seen to
    # depend on where buffers lay in memory, even with one thread.
    return {"crf": str(crf), "x264-params": "mbtree=0"}


def _check_frame(path: Path, index: int, frame_HW3: np.ndarray, shape: tuple[int, ...]) -> None:
    if frame_HW3.dtype != np.uint8 or frame_HW3.ndim != 3 or frame_HW3.shape[2] != 3:
        found = f"{frame_HW3.dtype} {list(frame_HW3.shape)}"
        raise UserError(f"{path}: frame {index} is {found}, expected uint8 [H, W, 3]")
    if frame_HW3.shape != shape or 0 in shape:
        raise UserError(
            f"{path}: frame {index} is {list(frame_HW3.shape)}, the first is {list(shape)}"
        )


def _yuv_frame(rgb_HW3: np.ndarray) -> VideoFrame:
    """The frame as yuv420p, BT.601 limited range, padded to even sizes by edge replication."""
    height, width = rgb_HW3.shape[:2]
    padded_HW3 = np.pad(rgb_HW3, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
    frame = VideoFrame.from_ndarray(np.ascontiguousarray(padded_HW3), format="rgb24")
    return frame.reformat(
        format="yuv420p",
        dst_colorspace=Colorspace.ITU601,
        dst_color_range=ColorRange.MPEG,
        interpolation=_TO_YUV,
        threads=1,
    )


@contextlib.contextmanager
def open_video(path: Location) -> Iterator[InputContainer]:
    """The container of a video; an object on S3 is fetched in parts as they are needed.

    Raises `av.error.FFmpegError` and `OSError`.
    """
    with contextlib.ExitStack() as stack:
        source = str(path) if isinstance(path, Path) else stack.enter_context(open_binary(path))
        yield stack.enter_context(av.open(source, "r"))


def read_frames(path: Location) -> Iterator[tuple[float, np.ndarray]]:
    """Yields (time in seconds, uint8 RGB [H, W, 3]) for every frame of the first video stream.

    Times are the presentation times, moved so that the first frame is at 0; a frame without a
    usable time is one frame period after the one before it. Rotation metadata (multiples of 90
    degrees) is applied. If the size changes within the stream, frames are scaled to the first.

    Raises UserError naming the file if it is missing, holds no video or no frame, is larger than
    8K UHD, or is damaged (the frames before the damage have been yielded by then).
    """
    count = 0
    try:
        with open_video(path) as container:
            if not container.streams.video:
                raise UserError(f"{path}: no video stream")
            stream = container.streams.video[0]
            if stream.width * stream.height > _LARGEST_FRAME_PIXELS:
                raise UserError(f"{path}: {stream.width}x{stream.height} is larger than 8K UHD")
            stream.thread_type = ThreadType.AUTO
            for timed_frame in _timed(container.decode(stream), stream):
                yield timed_frame
                count += 1
    except (av.error.FFmpegError, OSError) as error:
        reason = error.strerror or str(error)
        where = f" after frame {count - 1}" if count else ""
        raise UserError(f"{path}: cannot be read{where}: {reason}") from error
    if count == 0:
        raise UserError(f"{path}: the video stream holds no frame")


def _timed(frames: Iterator[VideoFrame], stream: VideoStream) -> Iterator[tuple[float, np.ndarray]]:
    rate = stream.average_rate or stream.guessed_rate or Fraction(25)
    period_s = float(1 / rate)
    # AVI stores no presentation times: what the demuxer makes up is wrong around B-frames, while
    # the decoder hands out frames in presentation order with the decoding times in order.
    only_dts = stream.container.format.name == "avi"
    start_s: float | None = None
    previous_s = -period_s
    width, height = stream.width, stream.height
    for frame in frames:
        stamp = frame.dts if only_dts else frame.pts
        unit_s = frame.time_base
        seconds = None if stamp is None or unit_s is None else float(stamp * unit_s)
        if start_s is None:
            start_s = seconds or 0.0
            width, height = frame.width, frame.height
        time_s = previous_s + period_s if seconds is None else seconds - start_s
        if time_s <= previous_s:
            time_s = previous_s + period_s
        rgb = frame.reformat(width, height, "rgb24", interpolation=_TO_RGB, threads=1)
        yield time_s, _upright(rgb.to_ndarray(), frame.rotation)
        previous_s = time_s


def _upright(rgb_HW3: np.ndarray, rotation_deg: int) -> np.ndarray:
    """Turns by the display matrix's angle, which is counter-clockwise like `np.rot90`."""
    return np.ascontiguousarray(np.rot90(rgb_HW3, round(rotation_deg / 90) % 4))
