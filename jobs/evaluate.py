"""`huetrack evaluate`: the field's metrics as its own tools compute them: tables, JSON and curves."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter
from rich.console import Console
from rich.table import Table

from jobs.evaluate_tables import (
    box_tables,
    keypoint_tables,
    mask_tables,
    part_tables,
    point_tables,
)
from jobs.options import LocationOption
from model.metrics.keypoints import PckMode
from model.metrics.parts import VIP_CLASSES
from model.metrics.points import QueryMode
from pipelines.evaluation import DavisDataset, evaluate_masks
from pipelines.evaluation_boxes import evaluate_boxes
from pipelines.evaluation_keypoints import evaluate_keypoints
from pipelines.evaluation_parts import evaluate_parts
from pipelines.evaluation_points import evaluate_points
from pipelines.storage import write_json

if TYPE_CHECKING:
    from pipelines.evaluation_curves import Evaluation


@dataclass(frozen=True)
class EvaluateMasksOptions:
    """DAVIS J&F of predicted masks."""

    truth: LocationOption
    """Folder of true masks: VIDEO/masks/*.png, masks/VIDEO/*.png, Annotations/480p/VIDEO/*.png or
    VIDEO/*.png. Its first frames say which objects count; first and last frames are not scored."""

    pred: LocationOption
    """Folder of predicted masks, in any of the same layouts and under the same names."""

    json: LocationOption | None = None
    """File to write all numbers to: global, per object and per frame."""

    curves: LocationOption | None = None
    """Folder for a PNG a sequence: J and F of every object over the frames."""

    workers: int = field(default_factory=lambda: os.cpu_count() or 1)
    """Threads; by default one for each CPU core."""

    sequences: tuple[str, ...] | None = None
    """A sequence to score, the flag once for each; by default all that TRUTH has."""

    dataset: DavisDataset = "davis2017"
    """davis2017: every object by itself. davis2016: all that is not 0 is one object."""


def evaluate_masks_command(options: Annotated[EvaluateMasksOptions, Parameter(name="*")]) -> int:
    """Score predicted masks as the tools of DAVIS do: J, F, recall, decay.

    Example: huetrack evaluate masks --truth DAVIS --pred out --json scores.json --curves curves
    """
    evaluation = evaluate_masks(
        options.truth, options.pred, options.workers, options.sequences, options.dataset
    )
    return _report(evaluation, mask_tables(evaluation), options.json, options.curves)


@dataclass(frozen=True)
class EvaluateKeypointsOptions:
    """PCK of predicted joints."""

    truth: LocationOption
    """Folder of true joints as J-HMDB has them: VIDEO/joint_positions.mat (pos_img, 2 x joints x frames,
    from 1 on) or CLASS/VIDEO/joint_positions.mat; or keypoints.json beside it."""

    pred: LocationOption
    """Folder of predicted joints in the same layout; NaN for a joint that could not be predicted."""

    mode: PckMode = "reference"
    """reference: as the field's script, which leaves failed joints out. strict: they are wrong. The tables
    by sequence and joint and the curves are of this mode; the last table and the JSON have both."""

    json: LocationOption | None = None
    """File to write all numbers to: global, per joint, per sequence and per frame."""

    curves: LocationOption | None = None
    """Folder for PNGs: PCK over alpha, and a picture a sequence over its frames."""

    sequences: tuple[str, ...] | None = None
    """A sequence to score, the flag once for each; by default all that TRUTH has."""


def evaluate_keypoints_command(
    options: Annotated[EvaluateKeypointsOptions, Parameter(name="*")],
) -> int:
    """Score predicted joints: PCK at 0.1 to 0.5 as label propagation reports it on J-HMDB.

    Example: huetrack evaluate keypoints --truth joint_positions --pred out --mode strict
    """
    evaluation = evaluate_keypoints(options.truth, options.pred, options.sequences)
    tables = keypoint_tables(evaluation, options.mode)
    return _report(evaluation, tables, options.json, options.curves, options.mode)


@dataclass(frozen=True)
class EvaluatePartsOptions:
    """Mean IoU of predicted part maps."""

    truth: LocationOption
    """Folder of true part maps, palette PNG, in any layout that masks may have. All frames count."""

    pred: LocationOption
    """Folder of predicted part maps under the same names; another size is brought to the truth's."""

    classes: int = len(VIP_CLASSES)
    """Number of classes, background included: the indices 0 to CLASSES - 1. True pixels of index 255
    (void) do not count; any other index is an error."""

    json: LocationOption | None = None
    """File to write all numbers to: global, per class, per sequence and per frame."""

    curves: LocationOption | None = None
    """Folder for a PNG a sequence: mean IoU over the frames."""

    sequences: tuple[str, ...] | None = None
    """A sequence to score, the flag once for each; by default all that TRUTH has."""


def evaluate_parts_command(options: Annotated[EvaluatePartsOptions, Parameter(name="*")]) -> int:
    """Score predicted part maps: mean IoU over classes as on VIP.

    Example: huetrack evaluate parts --truth Category_ids --pred out --json scores.json
    """
    evaluation = evaluate_parts(options.truth, options.pred, options.classes, options.sequences)
    return _report(evaluation, part_tables(evaluation), options.json, options.curves)


@dataclass(frozen=True)
class EvaluateBoxesOptions:
    """Success and precision of predicted boxes."""

    truth: LocationOption
    """Folder of true boxes: SEQUENCE/groundtruth.txt, SEQUENCE/groundtruth_rect.txt or SEQUENCE.txt, a
    line a frame with x, y, width and height."""

    pred: LocationOption
    """Folder of predicted boxes in the same layout, with a line for each true one."""

    json: LocationOption | None = None
    """File to write all numbers to: global, per sequence and per frame."""

    curves: LocationOption | None = None
    """Folder for PNGs: success and precision plots, and a picture a sequence over its frames."""

    sequences: tuple[str, ...] | None = None
    """A sequence to score, the flag once for each; by default all that TRUTH has."""


def evaluate_boxes_command(options: Annotated[EvaluateBoxesOptions, Parameter(name="*")]) -> int:
    """Score predicted boxes: area under the success curve and precision at 20 px as on OTB.

    Example: huetrack evaluate boxes --truth OTB100 --pred out --curves curves
    """
    evaluation = evaluate_boxes(options.truth, options.pred, options.sequences)
    return _report(evaluation, box_tables(evaluation), options.json, options.curves)


@dataclass(frozen=True)
class EvaluatePointsOptions:
    """TAP-Vid's scores of predicted point tracks."""

    truth: LocationOption
    """Folder of true tracks: VIDEO.npz (points [N, T, 2] in shares of the frame, occluded [N, T],
    query_points [N, 3] where they do not start at the first visible frame) or VIDEO.csv
    (video_id,point_id,frame,x_px,y_px,visible)."""

    pred: LocationOption
    """Folder of predicted tracks in either form, with the same points."""

    query_mode: QueryMode = "first"
    """first: frames after a point's query count. strided: all but that frame."""

    frame_size: tuple[float, float] | None = None
    """Width and height of the frames whose pixels CSV files mean, since scores are of frames brought to
    256x256; by default the size_hw of an npz file on the other side."""

    json: LocationOption | None = None
    """File to write all numbers to: global, per sequence and per frame."""

    curves: LocationOption | None = None
    """Folder for a PNG a sequence: position accuracy over the frames."""

    sequences: tuple[str, ...] | None = None
    """A sequence to score, the flag once for each; by default all that TRUTH has."""


def evaluate_points_command(options: Annotated[EvaluatePointsOptions, Parameter(name="*")]) -> int:
    """Score predicted point tracks as TAP-Vid does: average Jaccard, position and occlusion accuracy.

    Example: huetrack evaluate points --truth tracks --pred out --frame-size 854 480
    """
    evaluation = evaluate_points(
        options.truth, options.pred, options.query_mode, options.frame_size, options.sequences
    )
    return _report(evaluation, point_tables(evaluation), options.json, options.curves)


def _report(
    evaluation: "Evaluation",
    tables: Sequence[Table],
    json: LocationOption | None,
    curves: LocationOption | None,
    mode: PckMode = "reference",
) -> int:
    console = Console()
    for table in tables:
        console.print(table)
    if json is not None:
        write_json(json, evaluation.to_json())
        console.print(f"all numbers: {json}", markup=False, highlight=False, soft_wrap=True)
    if curves is not None:
        from pipelines.evaluation_curves import write_curves  # matplotlib is slow to import

        count = write_curves(curves, evaluation, mode)
        line = f"curves: {count} pictures in {curves}"
        console.print(line, markup=False, highlight=False, soft_wrap=True)
    return 0
