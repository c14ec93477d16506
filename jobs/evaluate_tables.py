"""What `huetrack evaluate` prints: one row for each sequence, object, joint or class, and the whole."""

import math
from collections.abc import Iterable, Sequence

import numpy as np
from rich.table import Table
from rich.text import Text

from model.metrics.boxes import PRECISION_PX
from model.metrics.keypoints import PckMode, PckScores, pck
from model.metrics.parts import class_iou, mean_iou
from model.metrics.points import PointScores
from pipelines.evaluation import DAVIS_TITLES, MaskEvaluation, global_numbers
from pipelines.evaluation_boxes import BoxEvaluation
from pipelines.evaluation_keypoints import MODES, KeypointEvaluation
from pipelines.evaluation_parts import PartEvaluation
from pipelines.evaluation_points import PointEvaluation


def mask_tables(evaluation: MaskEvaluation) -> list[Table]:
    """J-Mean and F-Mean by object, and the seven global numbers: means over all objects."""
    by_object = _table(
        f"{DAVIS_TITLES[evaluation.dataset]}, by object",
        ("Sequence", "Object", "Frames", "J-Mean", "F-Mean"),
        (
            (sequence.name, index, len(sequence.frames), scores.j.mean, scores.f.mean)
            for sequence in evaluation.sequences
            for index, scores in sequence.objects.items()
        ),
    )
    objects = sum(len(sequence.objects) for sequence in evaluation.sequences)
    columns = global_numbers(evaluation.summary)
    title = ", ".join(
        (_counted_as(len(evaluation.sequences), "sequence"), _counted_as(objects, "object"))
    )
    names, values = zip(*columns, strict=True)
    return [by_object, _table(title, names, [values], first_is_name=False)]


def keypoint_tables(evaluation: KeypointEvaluation, mode: PckMode) -> list[Table]:
    """PCK by sequence and by joint in one mode, and the mean over joints in both."""
    scores = evaluation.scores(mode)
    alphas = tuple(f"@{alpha:g}" for alpha in scores.alphas)
    by_video = [
        (video.name, len(video.errors_by_mode[mode]), *pck([video.errors_by_mode[mode]]).mean)
        for video in evaluation.videos
    ]
    by_joint = [
        (joint, int(scores.counted_K[k]), *scores.by_joint_AK[:, k])
        for k, joint in enumerate(evaluation.joints)
    ]
    overall = {each: evaluation.scores(each) for each in MODES}
    return [
        _table(f"PCK ({mode}), by sequence", ("Sequence", "Frames", *alphas), by_video),
        _table(f"PCK ({mode}), by joint", ("Joint", "Counted", *alphas), by_joint),
        _table(
            f"{_counted_as(len(evaluation.videos), 'sequence')}, mean over joints",
            ("Mode", "Counted", *alphas),
            [
                (each, _counted(each_scores), *each_scores.mean)
                for each, each_scores in overall.items()
            ],
        ),
    ]


def part_tables(evaluation: PartEvaluation) -> list[Table]:
    """Mean IoU by sequence, IoU by class, and the mean over the classes of all pixels."""
    confusion_CC = evaluation.total_confusion
    by_video = [
        (video.name, len(video.frames), mean_iou(video.confusion_CC)) for video in evaluation.videos
    ]
    by_class = zip(
        evaluation.class_names(),
        (int(pixels) for pixels in confusion_CC.sum(axis=1)),
        class_iou(confusion_CC),
        strict=True,
    )
    overall = [(len(evaluation.videos), mean_iou(confusion_CC))]
    return [
        _table("Parts, by sequence", ("Sequence", "Frames", "mIoU"), by_video),
        _table("Parts, by class", ("Class", "Pixels", "IoU"), by_class),
        _table("Parts, all pixels", ("Sequences", "mIoU"), overall, first_is_name=False),
    ]


def box_tables(evaluation: BoxEvaluation) -> list[Table]:
    """Area under the success curve and precision, by sequence and as their means."""
    names = ("Success AUC", f"Precision@{PRECISION_PX}px")
    by_sequence = [
        (s.name, len(s.iou_T), s.scores.success_auc, s.scores.precision_at_20_px)
        for s in evaluation.sequences
    ]
    summary = evaluation.summary
    values = (summary.success_auc, summary.precision_at_20_px)
    return [
        _table("Boxes, by sequence", ("Sequence", "Frames", *names), by_sequence),
        _table(_counted_as(len(by_sequence), "sequence"), names, [values], first_is_name=False),
    ]


def point_tables(evaluation: PointEvaluation) -> list[Table]:
    """TAP-Vid's three averages, by video and as their means."""

    def averages(scores: PointScores) -> tuple[float, float, float]:
        return (
            scores.average_jaccard,
            scores.average_position_accuracy,
            scores.occlusion_accuracy,
        )

    names = ("AJ", "<delta avg", "OA")
    by_video = [(video.name, video.points, *averages(video.scores)) for video in evaluation.videos]
    title = f"Points (query mode {evaluation.query_mode}), by sequence"
    overall = [averages(evaluation.summary)]
    return [
        _table(title, ("Sequence", "Points", *names), by_video),
        _table(_counted_as(len(by_video), "sequence"), names, overall, first_is_name=False),
    ]


def _counted_as(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"


def _counted(scores: PckScores) -> int:
    return int(np.sum(scores.counted_K))


def _table(
    title: str,
    columns: Sequence[str],
    rows: Iterable[Sequence[str | int | float]],
    first_is_name: bool = True,
) -> Table:
    """Numbers to the right, three decimals; a dash for NaN."""
    table = Table(title=title)
    for place, name in enumerate(columns):
        if place == 0 and first_is_name:
            table.add_column(name, overflow="fold")
        else:
            table.add_column(name, justify="right", no_wrap=True)
    for row in rows:
        table.add_row(*(Text(_cell(value)) for value in row))
    return table


def _cell(value: str | int | float) -> str:
    if isinstance(value, str | int):
        return str(value)
    return "-" if math.isnan(value) else f"{value:.3f}"
