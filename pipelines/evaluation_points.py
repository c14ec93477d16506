"""Point tracks against true ones, scored as TAP-Vid does.

Both sides hold a file a video, `VIDEO.npz` or `VIDEO.csv` (`pipelines.labels.point_tracks`). A point is
hidden in the frames of a CSV file that have no row of it. Points are paired by their ids. A place that is
given counts for the position accuracy even where the point is said to be hidden, as in TAP-Vid.

Shape suffixes: N tracks, T frames, 2 (x, y).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from model.errors import UserError
from model.metrics.points import (
    SIDE_PX,
    THRESHOLDS_PX,
    PointScores,
    PointTracks,
    QueryMode,
    evaluated_frames,
    first_visible,
    mean_scores,
    point_scores,
    position_accuracy_by_frame,
)
from model.propagation.annotations import PointAnnotation
from pipelines.evaluation_files import json_number, json_numbers, names_to_score, predictions_in
from pipelines.labels.codec import (
    FolderLabels,
    Frame,
    LabelReader,
    ParsedVideo,
    VideoInfo,
    only_video,
)
from pipelines.labels.formats import open_labels
from pipelines.labels.label_files import Files, with_suffix
from pipelines.labels.point_tracks import parse_tracks_csv, parse_tracks_npz
from pipelines.storage import Location

RASTER_HW = (SIDE_PX, SIDE_PX)
MAX_PLACES = 1 << 24
"""Points times frames that a file may name."""


@dataclass(frozen=True)
class VideoPoints:
    """Scores of one video."""

    name: str
    points: int
    accuracy_by_frame: tuple[float, ...]
    """Average position accuracy; NaN where nothing counts."""
    scores: PointScores


@dataclass(frozen=True)
class PointEvaluation:
    """Scores of all videos, in order of their names."""

    query_mode: QueryMode
    videos: tuple[VideoPoints, ...]

    @cached_property
    def summary(self) -> PointScores:
        """Means over the videos."""
        return mean_scores([video.scores for video in self.videos])

    def to_json(self) -> dict[str, Any]:
        """All numbers, ready for `json.dumps`; null where nothing counts."""
        return {
            "metric": f"TAP-Vid, query mode {self.query_mode}",
            "global": point_numbers(self.summary),
            "per_sequence": {video.name: point_numbers(video.scores) for video in self.videos},
            "per_frame": {
                video.name: {"position_accuracy": json_numbers(video.accuracy_by_frame)}
                for video in self.videos
            },
        }


def point_numbers(scores: PointScores) -> dict[str, float | None]:
    """The numbers under the names of TAP-Vid's own tool."""
    within = zip(THRESHOLDS_PX, scores.position_accuracy, strict=True)
    jaccard = zip(THRESHOLDS_PX, scores.jaccard, strict=True)
    return {
        "average_jaccard": json_number(scores.average_jaccard),
        "average_pts_within_thresh": json_number(scores.average_position_accuracy),
        "occlusion_accuracy": json_number(scores.occlusion_accuracy),
        **{f"jaccard_{px}": json_number(value) for px, value in jaccard},
        **{f"pts_within_{px}": json_number(value) for px, value in within},
    }


def evaluate_points(
    truth: Location,
    pred: Location,
    query_mode: QueryMode = "first",
    frame_size_wh: tuple[float, float] | None = None,
    sequences: Sequence[str] | None = None,
) -> PointEvaluation:
    """Score the points below `pred` against those below `truth`.

    A point that is never visible is left out. `frame_size_wh` is the width and height of the frames
    whose pixels a CSV file means; by default the other file's `size_hw`.

    Raises:
        UserError: a folder has no points, or not those of a video; a file is damaged; the points or the
            numbers of frames differ; a size is not known; mode `strided` and a truth without queries.
    """
    if frame_size_wh is not None and min(frame_size_wh) <= 0:
        raise UserError(f"the size of a frame must be positive, not {frame_size_wh}")
    given_hw = frame_size_wh and (frame_size_wh[1], frame_size_wh[0])
    true_tracks, predicted = _Tracks(truth), _Tracks(predictions_in(pred))
    names = names_to_score(
        truth, true_tracks.labels.videos(), pred, predicted.labels.videos(), sequences, "points"
    )
    videos = []
    for name in names:
        true_info, predicted_info = true_tracks.labels.info(name), predicted.labels.info(name)
        if query_mode == "strided" and not true_info.query_frames:
            raise UserError(f"{truth}: query mode strided needs query_points for {name}")
        size_hw = given_hw or true_info.size_hw or predicted_info.size_hw
        try:
            both = true_tracks.read(name, size_hw), predicted.read(name, size_hw)
            videos.append(_score_video(true_info, *both, query_mode))
        except UserError as error:
            raise UserError(f"{pred}, video {name}: {error}") from error
    return PointEvaluation(query_mode, tuple(videos))


@dataclass(frozen=True)
class _Video:
    """The points of a video in pixels of 256x256."""

    ids: tuple[int, ...]
    tracks: PointTracks
    open_end: bool
    """Whether the video may go on after the last frame that is named."""

    def __len__(self) -> int:
        return self.tracks.hidden_NT.shape[1]

    def longer(self, frames: int) -> PointTracks:
        """At least so many frames, where the end is open: the points are hidden in those that are added."""
        more = max(0, frames - len(self)) if self.open_end else 0
        return PointTracks(
            np.pad(self.tracks.xy_px_NT2, ((0, 0), (0, more), (0, 0)), constant_values=np.nan),
            np.pad(self.tracks.hidden_NT, ((0, 0), (0, more)), constant_values=True),
        )


class _Tracks:
    """The tracks in a folder, or a table of several videos."""

    def __init__(self, place: Location) -> None:
        """Raises `UserError` when there are none, and for a video that has two files."""
        self._tables: Files = with_suffix(".csv", place)
        self._all_tables = place.is_file()
        if self._all_tables:
            self.labels: LabelReader = open_labels(place, "tracks-csv")
            return
        if not place.exists():
            raise UserError(f"{place}: no such folder")
        arrays = with_suffix(".npz", place)
        if twice := self._tables.keys() & arrays.keys():
            raise UserError(f"{self._tables[min(twice)]}: the same video as {min(twice)}.npz")
        if not self._tables and not arrays:
            raise UserError(f"{place}: no points; understood are VIDEO.npz and VIDEO.csv")
        self.labels = FolderLabels(place, {**self._tables, **arrays}, self._parse)

    def _parse(self, path: Location, video_id: str) -> ParsedVideo:
        if video_id in self._tables:
            return only_video(path, parse_tracks_csv(path), video_id)
        return parse_tracks_npz(path, video_id, size_without=RASTER_HW)

    def read(self, name: str, size_hw: tuple[float, float] | None) -> _Video:
        """All points of a video, whose frames have this size. Raises `UserError`."""
        in_table = self._all_tables or name in self._tables
        own_hw = size_hw if in_table else self.labels.info(name).size_hw or RASTER_HW
        if own_hw is None:
            raise UserError("pixels of frames of which size? (--frame-size WIDTH HEIGHT)")
        by_frame = {int(frame): self._points(name, frame) for frame in self.labels.frames(name)}
        ids = tuple(sorted({point_id for points in by_frame.values() for point_id in points.ids}))
        length = max(by_frame, default=-1) + 1
        if not in_table and length != len(by_frame):
            raise UserError("frames must be all of the video, from 0 on")
        if length * len(ids) > MAX_PLACES:
            raise UserError(f"{len(ids)} points in {length} frames cannot be")
        xy_px_NT2 = np.full((len(ids), length, 2), np.nan)
        hidden_NT = np.ones((len(ids), length), dtype=bool)
        row = {point_id: n for n, point_id in enumerate(ids)}
        for frame, points in by_frame.items():
            rows = [row[point_id] for point_id in points.ids]
            xy_px_NT2[rows, frame] = points.xy_px_N2
            hidden_NT[rows, frame] = points.occluded
        in_raster = (xy_px_NT2 + 0.5) * (SIDE_PX / np.array(own_hw[::-1]))
        return _Video(ids, PointTracks(in_raster, hidden_NT), open_end=in_table)

    def _points(self, name: str, frame: Frame) -> PointAnnotation:
        points = self.labels.read(name, frame)
        assert isinstance(points, PointAnnotation)
        return points


def _score_video(info: VideoInfo, truth: _Video, pred: _Video, mode: QueryMode) -> VideoPoints:
    if truth.ids != pred.ids:
        odd = min(set(truth.ids) ^ set(pred.ids))
        raise UserError(f"point {odd} is {'not in it' if odd in truth.ids else 'not in the truth'}")
    frames = max(len(truth), len(pred))
    true_tracks, predicted = truth.longer(frames), pred.longer(frames)
    if true_tracks.hidden_NT.shape != predicted.hidden_NT.shape:
        raise UserError(f"{len(pred)} frames, the truth has {len(truth)}")
    seen = np.logical_not(true_tracks.hidden_NT.all(axis=1))
    if not seen.any():
        raise UserError("no point of the truth is ever visible")
    seen_truth = PointTracks(true_tracks.xy_px_NT2[seen], true_tracks.hidden_NT[seen])
    seen_pred = PointTracks(predicted.xy_px_NT2[seen], predicted.hidden_NT[seen])
    query_frame_N = first_visible(seen_truth.hidden_NT)
    if info.query_frames:
        query_frame_N = np.array([info.query_frames[i] for i in truth.ids], dtype=np.int64)[seen]
    scores = point_scores(seen_truth, seen_pred, query_frame_N, mode)
    counts_NT = evaluated_frames(query_frame_N, seen_truth.hidden_NT.shape[1], mode)
    by_frame = position_accuracy_by_frame(seen_truth, seen_pred, counts_NT)
    return VideoPoints(info.video_id, len(query_frame_N), tuple(by_frame.tolist()), scores)
