"""Mean IoU of predicted part maps against true ones, as on VIP.

Shape suffixes: T frames, C classes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model.errors import UserError
from model.metrics.davis import VOID_INDEX
from model.metrics.parts import VIP_CLASSES, class_iou, confusion, mean_iou
from pipelines.evaluation_files import json_number, json_numbers, names_to_score, refuse_missing
from pipelines.labels.davis import read_mask
from pipelines.labels.layout import mask_files
from pipelines.storage import Location

IntArray = NDArray[np.int64]


@dataclass(frozen=True)
class VideoParts:
    """One video: the stems of its frames, the mean IoU of each, and the confusions of them all."""

    name: str
    frames: tuple[str, ...]
    mean_iou_by_frame: tuple[float, ...]
    confusion_CC: IntArray


@dataclass(frozen=True)
class PartEvaluation:
    """Confusions of all videos, in order of their names."""

    videos: tuple[VideoParts, ...]

    @cached_property
    def total_confusion(self) -> IntArray:
        """Confusions of all pixels of all videos, [C, C]."""
        return np.sum([video.confusion_CC for video in self.videos], axis=0)

    def class_names(self) -> tuple[str, ...]:
        """VIP's, if there are as many; else numbers."""
        classes = len(self.total_confusion)
        return VIP_CLASSES if classes == len(VIP_CLASSES) else tuple(map(str, range(classes)))

    def to_json(self) -> dict[str, Any]:
        """All numbers, ready for `json.dumps`; null for a class that does not occur."""
        by_class = zip(self.class_names(), class_iou(self.total_confusion), strict=True)
        return {
            "metric": "VIP mIoU",
            "global": {"mIoU": json_number(mean_iou(self.total_confusion))},
            "per_class": {name: json_number(iou) for name, iou in by_class},
            "per_sequence": {
                video.name: {"mIoU": json_number(mean_iou(video.confusion_CC))}
                for video in self.videos
            },
            "per_frame": {
                video.name: {
                    "frames": list(video.frames),
                    "mIoU": json_numbers(video.mean_iou_by_frame),
                }
                for video in self.videos
            },
        }


def evaluate_parts(
    truth: Location,
    pred: Location,
    classes: int = len(VIP_CLASSES),
    sequences: Sequence[str] | None = None,
) -> PartEvaluation:
    """Score the part maps below `pred` against those below `truth`; every true frame counts.

    Either folder has any layout of `pipelines.labels.layout`.

    Raises:
        UserError: a folder has no maps; a sequence or a frame has no prediction; a file is damaged; a
            prediction holds an index that is no class, or the truth one that is neither that nor void.
    """
    if classes < 2:
        raise UserError(f"there must be at least two classes, background included, not {classes}")
    true_files, predicted_files = mask_files(truth), mask_files(pred)
    names = names_to_score(truth, true_files, pred, predicted_files, sequences, "part maps")
    videos = []
    for name in names:
        true_frames, predicted_frames = true_files[name], predicted_files[name]
        missing = (stem for stem in true_frames if stem not in predicted_frames)
        refuse_missing(pred, missing, f"part map for frame of sequence {name!r}:")
        if not true_frames:
            raise UserError(f"{truth}: no part maps for sequence {name!r}")
        video = _score_video(name, true_frames, predicted_frames, classes)
        if video is None:
            needed = 1 + max(_greatest(read_mask(f)) for n in names for f in true_files[n].values())
            raise UserError(
                f"{truth}: sequence {name!r} has indices that are no class, the classes being 0 to "
                f"{classes - 1}; --classes {needed} has room for all"
            )
        videos.append(video)
    return PartEvaluation(tuple(videos))


def _greatest(truth_HW: NDArray[np.uint8]) -> int:
    """The greatest index that is not void."""
    return int(np.max(truth_HW, initial=0, where=truth_HW != VOID_INDEX))


def _score_video(
    name: str, truth: Mapping[str, Location], pred: Mapping[str, Location], classes: int
) -> VideoParts | None:
    """None where a true index is neither a class nor void."""
    total_CC = np.zeros((classes, classes), dtype=np.int64)
    by_frame = []
    for stem, file in truth.items():
        true_HW, predicted_HW = read_mask(file), read_mask(pred[stem])
        if _greatest(true_HW) >= classes:
            return None
        try:
            frame_CC = confusion(true_HW, predicted_HW, classes)
        except UserError as error:
            raise UserError(f"{pred[stem]}: {error}") from error
        total_CC += frame_CC
        by_frame.append(mean_iou(frame_CC))
    return VideoParts(name, tuple(truth), tuple(by_frame), total_CC)
