"""Point tracks against true ones, scored as TAP-Vid does.

Points are paired by their ids. A place that is given counts for the position accuracy even where the
point is said to be hidden, as in TAP-Vid.

Shape suffixes: N tracks, T frames.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from model.errors import UserError
from model.metrics.points import (
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
from pipelines.evaluation_files import json_number, json_numbers, names_to_score, predictions_in
from pipelines.evaluation_point_files import PointFile, point_files, read_points
from pipelines.storage import Location


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
    true_files, predicted_files = point_files(truth), point_files(predictions_in(pred))
    names = names_to_score(truth, true_files, pred, predicted_files, sequences, "points")
    videos = []
    for name in names:
        true_file, predicted = read_points(true_files[name]), read_points(predicted_files[name])
        if query_mode == "strided" and true_file.query_frame_N is None:
            raise UserError(f"{true_files[name]}: query mode strided needs query_points in it")
        size_hw = given_hw or true_file.size_hw or predicted.size_hw
        try:
            videos.append(_score_video(name, true_file, predicted, size_hw, query_mode))
        except UserError as error:
            raise UserError(f"{predicted_files[name]}: {error}") from error
    return PointEvaluation(query_mode, tuple(videos))


def _score_video(
    name: str,
    truth: PointFile,
    pred: PointFile,
    size_hw: tuple[float, float] | None,
    mode: QueryMode,
) -> VideoPoints:
    frames = max(file.tracks.hidden_NT.shape[1] for file in (truth, pred))
    true_tracks, predicted = truth.fitted(size_hw, frames), pred.fitted(size_hw, frames)
    if set(truth.ids) != set(pred.ids):
        odd = min(set(truth.ids) ^ set(pred.ids))
        raise UserError(f"point {odd} is {'not in it' if odd in truth.ids else 'not in the truth'}")
    if true_tracks.hidden_NT.shape != predicted.hidden_NT.shape:
        raise UserError(
            f"{predicted.hidden_NT.shape[1]} frames, the truth has {true_tracks.hidden_NT.shape[1]}"
        )
    place = {identity: n for n, identity in enumerate(pred.ids)}
    rows = np.array([place[identity] for identity in truth.ids], dtype=np.int64)
    seen = np.logical_not(true_tracks.hidden_NT.all(axis=1))
    if not seen.any():
        raise UserError("no point of the truth is ever visible")
    seen_truth = PointTracks(true_tracks.xy_px_NT2[seen], true_tracks.hidden_NT[seen])
    seen_pred = PointTracks(predicted.xy_px_NT2[rows][seen], predicted.hidden_NT[rows][seen])
    asked = truth.query_frame_N
    query_frame_N = first_visible(seen_truth.hidden_NT) if asked is None else asked[seen]
    scores = point_scores(seen_truth, seen_pred, query_frame_N, mode)
    counts_NT = evaluated_frames(query_frame_N, seen_truth.hidden_NT.shape[1], mode)
    by_frame = position_accuracy_by_frame(seen_truth, seen_pred, counts_NT)
    return VideoPoints(name, len(query_frame_N), tuple(by_frame.tolist()), scores)
