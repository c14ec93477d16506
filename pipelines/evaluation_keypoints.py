"""PCK of predicted joints against true ones, from folders of J-HMDB's files.

Both sides hold `VIDEO/joint_positions.mat` (its `pos_img` is [2, K, T], from 1 on), one folder deeper as
well, as J-HMDB itself sorts its videos: `CLASS/VIDEO/joint_positions.mat`. Or `keypoints.json`: `joints`,
K names, and `keypoints`, [T, K, 2], from 1 on too. A joint that could not be predicted is NaN.

Shape suffixes: T frames, F scored frames (T - 1), K joints, 2 (x, y).
"""

import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model.errors import UserError
from model.metrics.keypoints import PckMode, PckScores, joint_errors, pck
from pipelines.evaluation_files import (
    json_number,
    json_numbers,
    names_to_score,
    predictions_in,
    read_file,
    refuse_no_folder,
)
from pipelines.labels.jhmdb import JOINTS as JHMDB_JOINTS
from pipelines.storage import Location, folders_in

FloatArray = NDArray[np.float64]

MODES: tuple[PckMode, ...] = ("reference", "strict")
FILE_NAMES = ("joint_positions.mat", "keypoints.json")
FIRST_PIXEL = 1
"""The coordinate of the first pixel's centre in these files."""


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
    true_files, predicted_files = joint_files(truth), joint_files(predictions_in(pred))
    names = names_to_score(truth, true_files, pred, predicted_files, sequences, "joints")
    videos: list[VideoErrors] = []
    joints: tuple[str, ...] = ()
    for name in names:
        true_joints, truth_TK2 = read_joints(true_files[name])
        _, pred_TK2 = read_joints(predicted_files[name])
        if videos and true_joints != joints:
            raise UserError(f"{true_files[name]}: other joints than in {names[0]!r}")
        joints = true_joints
        if len(pred_TK2) < len(truth_TK2) or pred_TK2.shape[1] != truth_TK2.shape[1]:
            raise UserError(
                f"{predicted_files[name]}: {pred_TK2.shape[1]} joints in {len(pred_TK2)} frames; "
                f"the truth has {truth_TK2.shape[1]} in {len(truth_TK2)}"
            )
        try:
            errors = {m: joint_errors(truth_TK2, pred_TK2[: len(truth_TK2)], m) for m in MODES}
        except UserError as error:
            raise UserError(f"{true_files[name]}: {error}") from error
        videos.append(VideoErrors(name, errors))
    return KeypointEvaluation(joints, tuple(videos))


def joint_files(root: Location) -> dict[str, Location]:
    """The file of each video below `root`, by the path of its folder.

    Raises:
        UserError: `root` is no folder, or there is no such file.
    """
    refuse_no_folder(root)
    files: dict[str, Location] = {}
    for name, folder in folders_in(root).items():
        if file := _joint_file(folder):
            files[name] = file
            continue
        for inner_name, inner in folders_in(folder).items():
            if file := _joint_file(inner):
                files[f"{name}/{inner_name}"] = file
    if not files:
        raise UserError(f"{root}: no joints; understood are VIDEO/{' and VIDEO/'.join(FILE_NAMES)}")
    return files


def read_joints(path: Location) -> tuple[tuple[str, ...], FloatArray]:
    """Names of the joints and their positions in pixels from 0, float [T, K, 2].

    Raises:
        UserError: the file is missing, damaged, or its positions are not of the shape they should be.
    """
    content = read_file(path)
    names, numbers = (_from_mat if path.suffix == ".mat" else _from_json)(path, content)
    try:
        xy_TK2 = np.asarray(numbers, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise UserError(f"{path}: positions of joints are not numbers: {error}") from error
    if xy_TK2.ndim != 3 or xy_TK2.shape[2] != 2 or xy_TK2.size == 0:
        raise UserError(f"{path}: positions of joints are {xy_TK2.shape}, not [T, K, 2]")
    if np.isinf(xy_TK2).any():
        raise UserError(f"{path}: a position is infinite")
    names = names or _default_names(xy_TK2.shape[1])
    if len(names) != xy_TK2.shape[1]:
        raise UserError(f"{path}: {len(names)} names of joints, {xy_TK2.shape[1]} positions")
    return names, xy_TK2 - FIRST_PIXEL


def _default_names(joints: int) -> tuple[str, ...]:
    if joints == len(JHMDB_JOINTS):
        return JHMDB_JOINTS
    return tuple(f"joint_{k}" for k in range(joints))


def _joint_file(folder: Location) -> Location | None:
    return next((folder / name for name in FILE_NAMES if (folder / name).is_file()), None)


def _from_mat(path: Location, content: bytes) -> tuple[None, Any]:
    from scipy.io import loadmat  # takes longer to import than scoring most masks

    source: Any = io.BytesIO(content)  # scipy's annotations know of paths alone
    try:
        numbers = loadmat(source, variable_names=["pos_img"])["pos_img"]
    except KeyError:
        raise UserError(f"{path}: has no pos_img") from None
    except Exception as error:  # a damaged file makes loadmat raise nearly anything
        raise UserError(f"{path}: damaged or no MATLAB file: {error}") from error
    if not isinstance(numbers, np.ndarray) or numbers.ndim != 3 or len(numbers) != 2:
        raise UserError(f"{path}: pos_img is {np.shape(numbers)}, not [2, K, T]")
    return None, numbers.transpose(2, 1, 0)


def _from_json(path: Location, content: bytes) -> tuple[tuple[str, ...], Any]:
    try:
        record = json.loads(content)
        return tuple(map(str, record["joints"])), record["keypoints"]
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path}: no JSON with joints and keypoints ({error})") from error
