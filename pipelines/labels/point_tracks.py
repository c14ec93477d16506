"""Tracks of points: a CSV file of any number of videos, and an npz file a video in the manner of TAP-Vid.

CSV: `video_id,point_id,frame,x_px,y_px,visible`, frames from 0 on and pixel indices, so that the centre of
the first pixel is 0, 0. Where `visible` is 0 the point is hidden, and its place may be empty.

npz: `points` [N, T, 2] as x, y in shares of the width and the height, from the outer edge of the first
pixel to that of the last, or `target_points`, the same in pixels of a frame of 256x256; `occluded` bool
[N, T]; `size_hw` [2], the rows and columns of a frame; optionally `ids` [N] (0, 1, 2 ... without), `frames`
[T], the index of each (0, 1, 2 ... without), and `query_points` [N, 3], whose first number is the frame in
which a tracker is given the point. NaN is a point that is hidden, at no known place.

Frames are named by their index. A hidden point keeps its place where there is one.

Shape suffixes: N points, T frames, 2 (x, y).
"""

import csv
import io
import math
import zipfile
import zlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from model.errors import UserError
from model.propagation.annotations import Annotation, PointAnnotation
from pipelines.labels import checks
from pipelines.labels.codec import (
    MAX_FRAMES,
    Frame,
    ParsedVideo,
    VideoInfo,
    frame_index,
    of_kind,
    safe_name,
)
from pipelines.storage import Location, write_bytes, write_text

COLUMNS = ("video_id", "point_id", "frame", "x_px", "y_px", "visible")
_MAX_ARRAY_BYTES = 1 << 32
_VISIBLE = {"1": True, "0": False, "true": True, "false": False}
RASTER_PX = 256
"""Side of the frames to which TAP-Vid brings all videos."""


class _Point(NamedTuple):
    x_px: float
    y_px: float
    hidden: bool


def parse_tracks_csv(path: Location) -> dict[str, ParsedVideo]:
    """Videos by name. Raises `UserError`."""
    content = checks.read_content(path)
    found: dict[str, dict[Frame, dict[int, _Point]]] = {}
    try:
        rows = csv.DictReader(io.StringIO(content.decode("utf-8-sig"), newline=""), strict=True)
        if tuple(rows.fieldnames or ()) != COLUMNS:
            raise UserError(f"{path}: the columns must be {','.join(COLUMNS)}")
        for row in rows:
            where = f"{path}, line {rows.line_num}"
            if None in row or None in row.values():
                raise UserError(f"{where}: needs {len(COLUMNS)} values")
            points = found.setdefault(safe_name(where, row["video_id"]), {}).setdefault(
                checks.frame_number(where, row["frame"]), {}
            )
            point_id = checks.integer(where, "point_id", row["point_id"])
            if point_id in points:
                raise UserError(f"{where}: point {point_id} is in the frame twice")
            points[point_id] = _place(where, row)
    except (UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{path}: not a readable table ({error})") from error
    return {video_id: _csv_video(video_id, frames) for video_id, frames in found.items()}


def _place(where: str, row: Mapping[str, str]) -> _Point:
    visible = _VISIBLE.get(row["visible"].strip().lower())
    if visible is None:
        raise UserError(f"{where}: visible must be 0 or 1, not {row['visible'][:20]!r}")
    if not visible and not row["x_px"].strip() and not row["y_px"].strip():
        return _Point(math.nan, math.nan, True)
    x_px, y_px = (checks.finite(where, name, row[name]) for name in ("x_px", "y_px"))
    return _Point(x_px, y_px, not visible)


def _csv_video(video_id: str, frames: Mapping[Frame, Mapping[int, _Point]]) -> ParsedVideo:
    def read(frame: Frame) -> PointAnnotation:
        points = frames[frame]
        ids = tuple(sorted(points))
        places_N2 = np.array([(points[i].x_px, points[i].y_px) for i in ids])
        return PointAnnotation(ids, places_N2, np.array([points[i].hidden for i in ids]))

    return ParsedVideo(VideoInfo(video_id), tuple(sorted(frames, key=int)), read)


def write_tracks_csv(
    root: Location, video: VideoInfo, frames: Iterable[tuple[Frame, Annotation]]
) -> None:
    """`root/VIDEO.csv`, rows by frame and point."""
    path = root / f"{safe_name(root, video.video_id)}.csv"
    rows: list[tuple[int, int, str, str, int]] = []
    for frame, annotation in of_kind(path, PointAnnotation, frames):
        where = f"{path}, frame {frame}"
        index = frame_index(where, frame)
        points = checks.points_to_write(where, annotation)
        for point_id, (x, y), hidden in zip(
            points.ids, points.xy_px_N2.tolist(), points.occluded.tolist(), strict=True
        ):
            shown = ("", "") if math.isnan(x) else (repr(x), repr(y))
            rows.append((index, point_id, *shown, int(not hidden)))
    if not rows:
        raise UserError(f"{path}: not one point to write")
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for index, point_id, x_px, y_px, visible in sorted(rows, key=lambda row: row[:2]):
        writer.writerow([video.video_id, point_id, index, x_px, y_px, visible])
    write_text(path, text.getvalue())


def parse_tracks_npz(
    path: Location, video_id: str, size_without: tuple[int, int] | None = None
) -> ParsedVideo:
    """An npz file; `size_without` are the rows and columns of a frame where it does not say them.

    Raises `UserError`; pickled content is refused.
    """
    arrays = _read_arrays(path)
    points, occluded = arrays["points"], arrays["occluded"]
    if points.ndim != 3 or points.shape[2] != 2 or points.dtype.kind != "f":
        raise UserError(f"{path}: points must be floats [N, T, 2], not {points.shape}")
    if occluded.shape != points.shape[:2] or occluded.dtype.kind != "b":
        raise UserError(f"{path}: occluded must be bool [N, T] like points, not {occluded.shape}")
    size_hw = _size(path, arrays)
    size = size_hw or size_without
    if size is None:
        raise UserError(f"{path}: holds no size_hw, the rows and columns of a frame")
    if not np.isfinite(points[~(occluded | np.isnan(points).all(axis=2))]).all():
        raise UserError(f"{path}: a point that is seen has no finite place")
    ids = _numbers(path, "ids", arrays, points.shape[0], checks.MAX_ID)
    frames = _numbers(path, "frames", arrays, points.shape[1], MAX_FRAMES - 1)
    if list(frames) != sorted(frames):
        raise UserError(f"{path}: frames must go up")
    position: dict[Frame, int] = {frame: index for index, frame in enumerate(frames)}
    scale = np.array(size[::-1], np.float64)

    def read(frame: Frame) -> PointAnnotation:
        index = position[frame]
        places = points[:, index].astype(np.float64) * scale - 0.5
        places[~np.isfinite(places).all(axis=1)] = np.nan
        return PointAnnotation(ids, places, occluded[:, index] | np.isnan(places).any(axis=1))

    queries = _queries(path, arrays, ids)
    return ParsedVideo(VideoInfo(video_id, size_hw, query_frames=queries), tuple(position), read)


def _size(path: Location, arrays: Mapping[str, NDArray[Any]]) -> tuple[int, int] | None:
    if "size_hw" not in arrays:
        return None
    if arrays["size_hw"].shape != (2,):
        raise UserError(f"{path}: size_hw must be the rows and the columns of a frame")
    return checks.size_hw(path, *arrays["size_hw"].tolist())


def _queries(
    path: Location, arrays: Mapping[str, NDArray[Any]], ids: Sequence[int]
) -> dict[int, int]:
    queries = arrays.get("query_points")
    if queries is None:
        return {}
    if queries.shape != (len(ids), 3) or queries.dtype.kind not in "fiu":
        raise UserError(f"{path}: query_points are {queries.shape}, not numbers [N, 3] like points")
    frames = np.round(queries[:, 0]).tolist()
    return {
        point_id: checks.frame_number(f"{path}, query_points", frame)
        for point_id, frame in zip(ids, frames, strict=True)
    }


def _read_arrays(path: Location) -> dict[str, NDArray[Any]]:
    content = checks.read_content(path)
    known = {"points", "target_points", "occluded", "size_hw", "ids", "frames", "query_points"}
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            promised = sum(member.file_size for member in archive.infolist())
        if promised > _MAX_ARRAY_BYTES:
            raise UserError(f"{path}: {promised} bytes of arrays are more than tracks can have")
        with np.load(io.BytesIO(content), allow_pickle=False) as found:
            arrays = {name: np.asarray(found[name]) for name in known & set(found.files)}
    except UserError:
        raise
    except (
        ValueError,
        TypeError,
        OSError,
        EOFError,
        KeyError,
        MemoryError,
        OverflowError,
        NotImplementedError,  # zipfile: encrypted, or a compression that it does not know
        SyntaxError,  # a header that is no Python literal
        zipfile.BadZipFile,
        zlib.error,
    ) as error:
        raise UserError(f"{path}: not a readable npz file ({error})") from error
    if "points" not in arrays and "target_points" in arrays:
        arrays["points"] = arrays["target_points"] / RASTER_PX
    missing = [name for name in ("points", "occluded") if name not in arrays]
    if missing:
        raise UserError(f"{path}: holds no {' and no '.join(missing)}")
    return arrays


def _numbers(
    path: Location, name: str, arrays: Mapping[str, NDArray[Any]], count: int, high: int
) -> tuple[int, ...]:
    """`count` different whole numbers in [0, high]; 0, 1, 2 ... where the file does not have them."""
    values = arrays.get(name)
    if values is None:
        return tuple(range(count))
    if values.shape != (count,) or values.dtype.kind not in "iu":
        raise UserError(f"{path}: {name} must be {count} whole numbers, not {values.shape}")
    numbers = tuple(checks.integer(path, name, value, 0, high) for value in values.tolist())
    if len(set(numbers)) != count:
        raise UserError(f"{path}: {name} has a number twice")
    return numbers


def write_tracks_npz(
    root: Location, video: VideoInfo, frames: Iterable[tuple[Frame, Annotation]]
) -> None:
    """`root/VIDEO.npz`; needs the size of a frame, and the same points in every frame."""
    path = root / f"{safe_name(root, video.video_id)}.npz"
    if video.size_hw is None:
        raise UserError(f"{path}: points in shares of a frame need its size")
    ids: Sequence[int] | None = None
    found: dict[int, PointAnnotation] = {}
    for frame, annotation in of_kind(path, PointAnnotation, frames):
        where = f"{path}, frame {frame}"
        if ids is not None and tuple(annotation.ids) != ids:
            raise UserError(f"{where}: all frames must have the same points in the same order")
        ids = tuple(annotation.ids)
        found[frame_index(where, frame)] = checks.points_to_write(where, annotation)
    in_order = [found[frame] for frame in sorted(found)]
    xy_px_NT2 = np.stack([points.xy_px_N2 for points in in_order], axis=1)
    shares = (xy_px_NT2 + 0.5) / np.array(video.size_hw[::-1], np.float64)
    buffer = io.BytesIO()
    np.savez_compressed(
        buffer,
        points=shares,
        occluded=np.stack([points.occluded for points in in_order], axis=1),
        size_hw=np.array(video.size_hw, np.int64),
        ids=np.array(ids, np.int64),
        frames=np.array(sorted(found), np.int64),
    )
    write_bytes(path, buffer.getvalue())
