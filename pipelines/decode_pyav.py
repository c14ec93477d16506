"""Sampled frames through PyAV, decoding no more than they need.

A first pass over the packets (no decoding) tells which timestamps will be kept. In the second the
decoder passes over frames that are neither kept nor referred to by others. Where packets carry no
presentation times (AVI), or the decoder does not give back what the packets promised, every frame is
decoded and the sampling rule applied to what comes out. Both ways give the same frames.
"""

from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np
from av.container import InputContainer
from av.video.frame import VideoFrame
from av.video.reformatter import Colorspace, VideoReformatter
from av.video.stream import VideoStream

from pipelines.container_size import declared_bytes
from pipelines.decode_protocol import NotOpened, RawChunk, Request, Unreadable
from pipelines.sampling import StreamSampler, sample_indices

DISCARDING_CODECS = frozenset({"h264", "mpeg4", "mpeg2video", "mpeg1video"})
"""Codecs whose bitstream says for certain that no other frame refers to a frame. (In HEVC it says so
only for a temporal layer.)"""


def pyav_chunks(request: Request, *, discard: bool = True) -> Iterator[RawChunk]:
    """One thread. `discard=False` is the plain way, in which every frame is decoded.

    Raises `NotOpened`, and `Unreadable` with kind `no_video_stream` or `truncated`; other errors of
    FFmpeg pass through.
    """
    times: list[float] = []
    frames: list[np.ndarray] = []
    kept = _kept_frames(request, discard)
    for count, (time_s, frame) in enumerate(kept, start=1):
        times.append(round(time_s, 6))
        frames.append(frame)
        if len(frames) == request.chunk_frames or count == request.max_frames:
            yield RawChunk(times, "yuv420p", np.stack(frames))
            times, frames = [], []
        if count == request.max_frames:
            return
    if frames:
        yield RawChunk(times, "yuv420p", np.stack(frames))


def _kept_frames(request: Request, discard: bool) -> Iterator[tuple[float, np.ndarray]]:
    """(seconds from the first frame, planes of the resized frame) of every kept frame, in order."""
    resize = _Resizer(request.size_px)
    count = 0
    with _opened(request.path) as container:
        stream = _video_stream(container)
        wanted = _wanted_pts(request, container, stream)
        if discard and wanted is not None:
            time_base_s = float(stream.time_base or 0)
            for frame in _matching(container, stream, wanted):
                yield (wanted[count] - wanted[0]) * time_base_s, resize(frame)
                count += 1
            if count == len(wanted):
                return
    with _opened(request.path) as container:
        for already, kept in enumerate(_sampled(container, request.fps_hz)):
            if already >= count:
                yield kept[0], resize(kept[1])
                count += 1
    if count == 0:
        raise Unreadable("no_video_stream", "no frame could be decoded")


def _opened(path: str) -> InputContainer:
    # Names with "%d" or ":" are names, not patterns or protocols.
    try:
        return av.open(f"file:{path}")
    except MemoryError:
        raise
    except av.error.FFmpegError as error:
        raise NotOpened(error.strerror or str(error)) from error


def _video_stream(container: InputContainer) -> VideoStream:
    if not container.streams.video:
        raise Unreadable("no_video_stream", "the file holds no video stream")
    stream = container.streams.video[0]
    # Both: dav1d has threads of its own, and what they make of a damaged stream differs from run to run.
    stream.thread_type = "NONE"
    stream.codec_context.thread_count = 1
    return stream


def _wanted_pts(
    request: Request, container: InputContainer, stream: VideoStream
) -> list[int] | None:
    """Presentation times of the frames to keep, in the stream's time base, from the packets alone.

    Leaves the container at its beginning. None where the packets do not tell. Raises
    `Unreadable("truncated")` when packets are missing and the container says that the file was longer.
    """
    pts: list[int] = []
    time_base_s = float(stream.time_base or 0)
    sampler = StreamSampler(request.fps_hz)
    packets = enough = 0
    told = stream.codec.name in DISCARDING_CODECS and container.format.name != "avi"
    begin = end = None
    for packet in container.demux(stream):
        if packet.size == 0:
            continue
        packets += 1
        if packet.pts is None or packet.dts is None:
            told = False
            continue
        if not packet.is_discard:
            pts.append(packet.pts)
        begin = packet.dts if begin is None else begin
        enough += sampler.keep(packet.dts * time_base_s)
        if request.max_frames is not None and enough > request.max_frames + 1:
            end = packet.dts  # what is shown before this time has been seen
            break
    else:
        _refuse_truncated(request.path, packets, stream.frames)
    distinct = np.unique(np.array(pts, dtype=np.int64))
    if not told or begin is None or len(distinct) != len(pts) or not len(pts) or time_base_s <= 0:
        return None
    if end is not None:
        distinct = distinct[distinct < end]
    indices = sample_indices(distinct * time_base_s, request.fps_hz)[: request.max_frames]
    if end is not None and len(indices) < (request.max_frames or 0):
        return None
    container.seek(begin, stream=stream)
    return [int(stamp) for stamp in distinct[indices]]


def _refuse_truncated(path: str, packets: int, promised: int) -> None:
    """A file may lack its last bytes and still hold every frame that it promises."""
    size = Path(path).stat().st_size
    missing = (declared_bytes(Path(path)) or 0) - size
    if missing > 0 and (promised == 0 or packets < promised):
        count = f"{packets} of {promised}" if promised else f"{packets}"
        raise Unreadable("truncated", f"the file ends {missing} bytes early, after {count} frames")


def _matching(
    container: InputContainer, stream: VideoStream, wanted: list[int]
) -> Iterator[VideoFrame]:
    """The frames with these times, until one does not come."""
    context = stream.codec_context
    chosen = set(wanted)
    rest = iter(wanted)
    expected = next(rest, None)
    for packet in container.demux(stream):
        needed = packet.pts is None or packet.pts in chosen
        context.skip_frame = "DEFAULT" if needed else "NONREF"
        for frame in packet.decode():
            if expected is None or frame.pts is None or frame.pts > expected:
                return
            if frame.pts == expected:
                yield frame
                expected = next(rest, None)
        if expected is None:
            return


def _sampled(container: InputContainer, fps_hz: float) -> Iterator[tuple[float, VideoFrame]]:
    """Every frame decoded; those kept, with their seconds from the first."""
    stream = _video_stream(container)
    # AVI stores no presentation times, and what the demuxer makes up is wrong around B-frames.
    # The decoder hands out frames in presentation order with the decoding times in order.
    only_dts = container.format.name == "avi"
    sampler = StreamSampler(fps_hz)
    first_s: float | None = None
    for frame in container.decode(stream):
        stamp = frame.dts if only_dts else frame.pts
        if stamp is None or frame.time_base is None:
            continue
        time_s = float(stamp * frame.time_base)
        first_s = time_s if first_s is None else first_s
        if sampler.keep(time_s):
            yield time_s - first_s, frame


class _Resizer:
    """A decoded frame -> its planes at size_px x size_px (`frame_shape` of yuv420p), upright.

    Scaled bicubically as YCbCr 4:2:0, the form in which nearly every video is stored, which costs a
    third of scaling RGB; shards store 4:2:0 as well.
    """

    def __init__(self, size_px: int) -> None:
        self._size_px = size_px
        self._reformatter = VideoReformatter()  # keeps its tables from frame to frame

    def __call__(self, frame: VideoFrame) -> np.ndarray:
        planes = self._reformatter.reformat(
            frame,
            self._size_px,
            self._size_px,
            "yuv420p",
            dst_colorspace=Colorspace.ITU601,
            interpolation="BICUBIC",
            dst_color_range="MPEG",
        ).to_ndarray()
        turns = round(frame.rotation / 90) % 4
        return self._turned(planes, turns) if turns else planes

    def _turned(self, planes: np.ndarray, turns: int) -> np.ndarray:
        """Quarter turns against the clock."""
        size, half = self._size_px, self._size_px // 2
        luma = np.rot90(planes[:size], turns)
        chroma = np.rot90(planes[size:].reshape(2, half, half), turns, axes=(1, 2))
        return np.concatenate([luma, chroma.reshape(half, size)])
