"""A propagation as a whole: the archive, its tracking, its review page, and what is said at the end."""

import sys
from collections.abc import Mapping
from typing import Any

from jobs.cluster import connected_ray
from jobs.console import ProgressDisplay, print_facts
from jobs.metrics import WorkFigures
from jobs.options import plain
from jobs.placement import label_selector
from jobs.propagate_options import PropagateOptions
from jobs.propagate_tracking import TrackedPropagation
from model.confidence.scorer import ConfidenceModel, load_confidence_model
from model.errors import UserError
from model.propagation.protocols import get_protocol
from pipelines.archive import (
    ArchiveConfig,
    Corrections,
    propagate_archive,
    read_errors,
)
from pipelines.archive_summary import ArchiveSummary
from pipelines.labels.coco_collection import collect_coco_videos
from pipelines.learned_temperature import settings_with_learned
from pipelines.models import parse_model
from pipelines.predictions import FOLDER as PREDICTIONS
from pipelines.progress import Progress, Remark
from pipelines.propagation_folder import COLLECTION, LABEL_FOLDERS
from pipelines.review.page import PAGE, write_review_page
from pipelines.storage import Location, local_file, remove_files
from pipelines.vos_meta import write_vos_meta

SHOWN_ERRORS = 3
"""Failed videos that are named at the end; all of them are in `errors.parquet`."""


def propagate(options: PropagateOptions) -> int:
    """The whole command, with its closing summary; returns the exit status. Raises `UserError`."""
    tracking = TrackedPropagation(
        options.tracking_uri, options.experiment, options.out, _parameters(options)
    )
    with tracking:
        summary = run_propagation(options, tracking)
        tracking.finish(summary)
    page = options.out / "report" / PAGE
    if summary.videos_made or summary.videos_corrected or not page.is_file():
        page = write_review_page(options.out)
    protocol = summary.config["protocol"]
    ignored = f" (ignored: {protocol['ignored']})" if "ignored" in protocol else ""
    print_facts(
        f"Propagation {options.out}",
        {
            "model": options.model,
            "protocol": protocol["name"] + ignored,
            "videos": f"{summary.videos} ({summary.videos_failed} failed)",
            **({"errors": _counts(summary.errors)} if summary.errors else {}),
            "made now": f"{summary.videos_made} videos, {summary.frames_made} frames "
            f"({summary.frames_per_s:.1f} frames/s)",
            **(
                {"made again in part": f"{summary.videos_corrected} videos"}
                if options.corrections or summary.videos_corrected
                else {}
            ),
            "labels": ", ".join(
                str(options.out / name) for name in LABEL_FOLDERS if (options.out / name).is_dir()
            ),
            "predictions": f"{options.out / PREDICTIONS} ({summary.predictions} rows)",
            **_trust(summary),
            "failed videos": options.out / "errors.parquet",
            "review": page,
            **({"tracking": tracking.describe()} if tracking.describe() else {}),
        },
    )
    if summary.corrections_unedited:
        print(
            f"huetrack: {summary.corrections_unedited} frames of {options.corrections} are as they were "
            "exported and do not count (--accept-unchanged: somebody found them right)",
            file=sys.stderr,
        )
    _say_what_failed(options.out)
    return 1 if summary.error_rate > options.max_error_rate else 0


def _say_what_failed(out: Location) -> None:
    """The first rows of `errors.parquet`, a line each."""
    for error in read_errors(out / "errors.parquet")[:SHOWN_ERRORS]:
        print(f"huetrack: {error.video_id}: {error.message} ({error.kind})", file=sys.stderr)


def run_propagation(
    options: PropagateOptions, tracking: Progress = lambda *_: None
) -> ArchiveSummary:
    """The command without its closing summary; `tracking` is told of the progress too. Raises
    `UserError`."""
    if options.workers < 1:
        raise UserError("--workers must be at least 1")
    if options.corrections is None and options.corrections_format != "auto":
        raise UserError("--corrections-format needs --corrections")
    if options.corrections is None and options.accept_unchanged:
        raise UserError("--accept-unchanged needs --corrections")
    model = parse_model(
        options.model,
        untrained_width=options.untrained_width,
        seed=options.seed,
        weights=options.weights,
        half=options.half,
    )
    settings = settings_with_learned(options.set, options.protocol, model.run_weights)
    config = ArchiveConfig(
        model=model,
        protocol=get_protocol(options.protocol, settings),
        overlays=options.overlays,
        anchors=options.anchors,
        direction=options.direction,
        labels_format=options.labels_format,
        out_format=options.out_format,
        confidence=options.confidence,
        confidence_model=_confidence_model(options),
        return_check=options.return_check,
    )
    corrections = None
    if options.corrections is not None:
        corrections = Corrections(
            options.corrections, options.corrections_format, options.accept_unchanged
        )
    selector = label_selector(options.label_selector)
    with connected_ray(options.workers, selector), ProgressDisplay() as display:
        figures = WorkFigures(options.out.name)

        def progress(stage: str, done: int, total: int, remark: Remark) -> None:
            display(stage, done, total, remark)
            tracking(stage, done, total, remark)
            figures(stage, done, total, remark)

        summary = propagate_archive(
            options.archive,
            options.labels,
            options.out,
            config,
            workers=options.workers,
            corrections=corrections,
            overwrite=options.overwrite,
            also_read=[] if options.confidence_model is None else [options.confidence_model],
            retry_errors=options.retry_errors,
            progress=progress,
        )
    collection = options.out / COLLECTION
    if options.out_format == "coco-video":
        collect_coco_videos(options.out / "labels", collection)
    elif collection.is_file():
        remove_files([collection])
    if options.out_format == "youtube-vos":
        write_vos_meta(options.out)
    return summary


def _confidence_model(options: PropagateOptions) -> ConfidenceModel | None:
    if options.confidence_model is None:
        return None
    if not options.confidence:
        raise UserError("--confidence-model and --no-confidence exclude each other")
    with local_file(options.confidence_model) as file:
        return load_confidence_model(file)


def _parameters(options: PropagateOptions) -> dict[str, Any]:
    """For MLflow: the options, without what says how to run and where to track."""
    left_out = ("workers", "overwrite", "retry_errors", "tracking_uri", "experiment")
    return {name: value for name, value in plain(options).items() if name not in left_out}


def _counts(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {count}" for name, count in counts.items())


def _trust(summary: ArchiveSummary) -> dict[str, object]:
    if summary.mean_confidence is None:
        return {}
    return {
        "mean confidence": f"{summary.mean_confidence:.3f} "
        f"({summary.share_flagged or 0:.1%} of objects and frames are flagged)"
    }
