"""Files of point tracks, as they are read to be scored.

One file a video, `VIDEO.npz` or `VIDEO.csv`:

- npz: `points`, [N, T, 2] x and y in shares of the width and height, or `target_points`, the same in
  pixels of a frame of 256x256; `occluded`, bool [N, T]; `ids` [N] (0, 1, 2 ... without); `size_hw` of the
  video's own frames, if CSV files shall be compared with it; of the truth also `query_points`, [N, 3] frame,
  y and x, if the points do not start where they are first visible.
- csv: `video_id,point_id,frame,x_px,y_px,visible`, frames and pixel indices from 0 on. A point is hidden in
  frames without a row.

NaN in a position means hidden.

Shape suffixes: N tracks, T frames, 2 (x, y).
"""

import csv
import io
import zipfile
import zlib
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model.errors import UserError
from model.metrics.points import SIDE_PX, PointTracks
from pipelines.evaluation_files import read_file, refuse_no_folder
from pipelines.storage import Location, files_in

COLUMNS = ("video_id", "point_id", "frame", "x_px", "y_px", "visible")
MAX_PLACES = 1 << 24
"""Points times frames that a CSV file may name."""


@dataclass(frozen=True)
class PointFile:
    """What one file holds; positions brought to 256x256 where the size of the frames is known."""

    ids: tuple[int, ...]
    tracks: PointTracks
    query_frame_N: NDArray[np.int64] | None = None
    size_hw: tuple[float, float] | None = None
    in_pixels: bool = False
    """From CSV: positions are indices of the video's own pixels, and the video may go on after the last
    frame that is named."""

    def fitted(self, size_hw: tuple[float, float] | None, frames: int) -> PointTracks:
        """The tracks in pixels of 256x256, and in at least so many frames where the file leaves it open.

        Raises:
            UserError: the size of the frames is needed and not known.
        """
        if not self.in_pixels:
            return self.tracks
        if size_hw is None:
            raise UserError("pixels of frames of which size? (--frame-size WIDTH HEIGHT)")
        xy_px_NT2 = (self.tracks.xy_px_NT2 + 0.5) * (SIDE_PX / np.array(size_hw[::-1]))
        more = max(0, frames - xy_px_NT2.shape[1])
        return PointTracks(
            np.pad(xy_px_NT2, ((0, 0), (0, more), (0, 0)), constant_values=np.nan),
            np.pad(self.tracks.hidden_NT, ((0, 0), (0, more)), constant_values=True),
        )


def point_files(root: Location) -> dict[str, Location]:
    """The file of each video in `root`.

    Raises:
        UserError: `root` is no folder, there is no such file, or a video has two.
    """
    refuse_no_folder(root)
    files: dict[str, Location] = {}
    for file in files_in(root).values():
        if file.suffix in (".npz", ".csv"):
            if file.stem in files:
                raise UserError(f"{file}: the same video as {files[file.stem].name}")
            files[file.stem] = file
    if not files:
        raise UserError(f"{root}: no points; understood are VIDEO.npz and VIDEO.csv")
    return files


def read_points(path: Location) -> PointFile:
    """What one file holds.

    Raises:
        UserError: the file is missing, damaged or lacks a field.
    """
    content = read_file(path)
    try:
        if path.suffix == ".csv":
            return _from_csv(content, path.stem)
        with np.load(io.BytesIO(content), allow_pickle=False) as fields:
            return _from_fields(dict(fields))
    except UserError as error:
        raise UserError(f"{path}: {error}") from error
    except (
        OSError,
        ValueError,
        TypeError,
        KeyError,
        EOFError,
        SyntaxError,
        MemoryError,
        OverflowError,
        NotImplementedError,  # zipfile: encrypted, or a compression that it does not know
        csv.Error,
        zipfile.BadZipFile,
        zlib.error,
    ) as error:
        raise UserError(f"{path}: damaged or no file of points: {error}") from error


def _tracks(xy_NT2: NDArray[Any], hidden_NT: NDArray[Any]) -> PointTracks:
    xy, hidden = np.asarray(xy_NT2, dtype=np.float64), np.asarray(hidden_NT, dtype=bool)
    checked = PointTracks(xy, hidden)
    return PointTracks(xy, hidden | np.isnan(checked.xy_px_NT2).any(axis=2))


def _from_fields(fields: dict[str, NDArray[Any]]) -> PointFile:
    if not {"points", "target_points"} & set(fields) or "occluded" not in fields:
        raise UserError("holds no points (or target_points), or no occluded")
    positions = fields["points"] * SIDE_PX if "points" in fields else fields["target_points"]
    tracks = _tracks(positions, fields["occluded"])
    count = len(tracks.hidden_NT)
    ids = tuple(int(identity) for identity in fields.get("ids", np.arange(count)))
    if len(ids) != count or len(set(ids)) != count:
        raise UserError(f"ids must be {count} different numbers")
    if "frames" in fields and fields["frames"].tolist() != list(range(tracks.hidden_NT.shape[1])):
        raise UserError("frames must be all of the video, from 0 on")
    size_hw = None
    if "size_hw" in fields:
        height, width = map(float, fields["size_hw"])
        if not (0 < height < np.inf and 0 < width < np.inf):
            raise UserError(f"size_hw is {height:g}, {width:g}")
        size_hw = (height, width)
    if "query_points" not in fields:
        return PointFile(ids, tracks, size_hw=size_hw)
    queries = np.asarray(fields["query_points"], dtype=np.float64)
    if queries.shape != (count, 3) or not np.isfinite(queries).all():
        raise UserError(f"query_points are {queries.shape}, not a finite [N, 3] of the same points")
    return PointFile(ids, tracks, np.round(queries[:, 0]).astype(np.int64), size_hw)


def _from_csv(content: bytes, video_id: str) -> PointFile:
    rows = list(csv.DictReader(io.StringIO(content.decode("utf-8-sig"))))
    if not rows or set(rows[0]) != set(COLUMNS):
        raise UserError(f"needs rows with the columns {','.join(COLUMNS)}")
    if others := {row["video_id"] for row in rows} - {video_id}:
        raise UserError(f"holds points of another video, {min(others)!r}")
    ids = sorted({int(row["point_id"]) for row in rows})
    frames = [int(row["frame"]) for row in rows]
    if min(frames) < 0 or (max(frames) + 1) * len(ids) > MAX_PLACES:
        raise UserError(f"frames {min(frames)} to {max(frames)} of {len(ids)} points cannot be")
    place = {identity: n for n, identity in enumerate(ids)}
    xy_NT2 = np.full((len(ids), max(frames) + 1, 2), np.nan)
    hidden_NT = np.ones(xy_NT2.shape[:2], dtype=bool)
    filled: set[tuple[int, int]] = set()
    for row, frame in zip(rows, frames, strict=True):
        at = place[int(row["point_id"])], frame
        if at in filled:
            raise UserError(f"point {row['point_id']} is twice in frame {frame}")
        filled.add(at)
        hidden_NT[at] = not int(row["visible"])
        xy_NT2[at] = [float(row[name] or "nan") for name in ("x_px", "y_px")]
    return PointFile(tuple(ids), _tracks(xy_NT2, hidden_NT), in_pixels=True)
