"""PCK of predicted joints against true ones, from folders of J-HMDB's files.

The files are read by `pipelines.labels.jhmdb`. A joint that could not be predicted is NaN.

Shape suffixes: T frames, F scored frames (T - 1), K joints, 2 (x, y).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model.errors import UserError
from model.metrics.keypoints import PckMode, PckScores, joint_errors, pck
from model.propagation.annotations import KeypointAnnotation
from pipelines.evaluation_files import json_number, json_numbers, names_to_score, predictions_in
from pipelines.labels.codec import LabelReader
from pipelines.labels.formats import open_labels
from pipelines.storage import Location

FloatArray = NDArray[np.float64]

MODES: tuple[PckMode, ...] = ("reference", "strict")


@dataclass(frozen=True)
class VideoErrors:
    """Normalised errors of one video, by mode; float [F, K], see `model.metrics.keypoints`."""

    name: str
    errors_by_mode: Mapping[PckMode, FloatArray]


@dataclass(frozen=True)
class KeypointEvaluation:
    """Errors of all videos, in order of their names."""

    joints: tuple[str, ...]
    videos: tuple[VideoErrors, ...]

    def scores(self, mode: PckMode) -> PckScores:
        """PCK over all frames of all videos."""
        return pck([video.errors_by_mode[mode] for video in self.videos])

    def to_json(self) -> dict[str, Any]:
        """All numbers of both modes, ready for `json.dumps`; null where nothing counts."""
        return {"metric": "PCK", **{mode: self._mode_json(mode) for mode in MODES}}

    def _mode_json(self, mode: PckMode) -> dict[str, Any]:
        scores = self.scores(mode)
        videos = {video.name: video.errors_by_mode[mode] for video in self.videos}
        return {
            "global": named(scores, scores.mean),
            "per_joint": {
                joint: named(scores, scores.by_joint_AK[:, k])
                | {"counted": int(scores.counted_K[k])}
                for k, joint in enumerate(self.joints)
            },
            "per_sequence": {
                name: named(scores, pck([errors_FK]).mean) for name, errors_FK in videos.items()
            },
            "per_frame": {
                name: {
                    f"PCK@{alpha:g}": json_numbers(share_by_frame(errors_FK, alpha))
                    for alpha in scores.alphas
                }
                for name, errors_FK in videos.items()
            },
        }


def named(scores: PckScores, values: FloatArray) -> dict[str, float | None]:
    """Values by alpha under their names, `PCK@0.1` and so on."""
    pairs = zip(scores.alphas, values, strict=True)
    return {f"PCK@{alpha:g}": json_number(value) for alpha, value in pairs}


def share_by_frame(errors_FK: FloatArray, alpha: float) -> FloatArray:
    """Share of the joints of each frame within `alpha`, float [F]; NaN where none counts.

    The first value is that of the video's second frame.
    """
    counted_F = (~np.isnan(errors_FK)).sum(axis=1)
    right_F = (errors_FK <= alpha).sum(axis=1)
    return np.divide(right_F, counted_F, out=np.full(len(right_F), np.nan), where=counted_F > 0)


def evaluate_keypoints(
    truth: Location, pred: Location, sequences: Sequence[str] | None = None
) -> KeypointEvaluation:
    """Score the joints below `pred` against those below `truth`, in both modes.

    A prediction may have more frames than the truth, whose last ones are then not scored: J-HMDB's
    annotations end before some videos do.

    Raises:
        UserError: a folder has no joints, or not those of a sequence; a file is damaged; a prediction
            has other joints or too few frames.
    """
    true_labels, predicted = open_labels(truth, "jhmdb"), open_labels(predictions_in(pred), "jhmdb")
    names = names_to_score(
        truth, true_labels.videos(), pred, predicted.videos(), sequences, "joints"
    )
    videos: list[VideoErrors] = []
    joints = true_labels.info(names[0]).joint_names
    for name in names:
        truth_TK2, pred_TK2 = _places(true_labels, name), _places(predicted, name)
        if true_labels.info(name).joint_names != joints:
            raise UserError(f"{truth}: sequence {name!r} has other joints than {names[0]!r}")
        if len(pred_TK2) < len(truth_TK2) or pred_TK2.shape[1] != truth_TK2.shape[1]:
            raise UserError(
                f"{pred}: sequence {name!r} has {pred_TK2.shape[1]} joints in {len(pred_TK2)} frames; "
                f"the truth has {truth_TK2.shape[1]} in {len(truth_TK2)}"
            )
        try:
            errors = {m: joint_errors(truth_TK2, pred_TK2[: len(truth_TK2)], m) for m in MODES}
        except UserError as error:
            raise UserError(f"{truth}, sequence {name!r}: {error}") from error
        videos.append(VideoErrors(name, errors))
    return KeypointEvaluation(joints, tuple(videos))


def _places(labels: LabelReader, name: str) -> FloatArray:
    """The joints of every frame [T, K, 2]."""
    places_TK2 = np.empty((0, len(labels.info(name).joint_names), 2))
    frames = [labels.read(name, frame) for frame in labels.frames(name)]
    found = [each.xy_px_NK2[0] for each in frames if isinstance(each, KeypointAnnotation)]
    return np.stack(found) if found else places_TK2
