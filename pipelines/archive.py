"""Labels over an archive: what somebody annotated in each video carried through its frames, as a stage of
Ray Data.

A video is the unit of commit and resume (`pipelines/propagation_folder.py`). A video that fails is a row
of `errors.parquet`.
"""

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

import pyarrow as pa
import pyarrow.parquet as pq

from model.confidence.scorer import ConfidenceModel, load_confidence_model
from model.errors import UserError
from model.propagation.protocols import MatchingProtocol
from pipelines.archive_plan import Direction, LabelSource, Plan, plan
from pipelines.archive_stage import label_videos
from pipelines.archive_summary import ArchiveSummary, write_archive_summary
from pipelines.folder_lock import only_run
from pipelines.footage import Footage
from pipelines.label_state import LabelStates
from pipelines.labelled_video import Wanted
from pipelines.labels.formats import known_format
from pipelines.models import WITHOUT_MATCHING, ModelSpec
from pipelines.overwriting import corrections_at_stake, refuse_to_remove
from pipelines.progress import Meter, Progress
from pipelines.propagation_folder import (
    finished_videos,
    forget_outcome,
    forget_unlabelled,
    prepare_propagation,
    tidy,
)
from pipelines.review.exported import unedited_frames
from pipelines.s3 import StorageError
from pipelines.shards import ERROR_SCHEMA, VideoError
from pipelines.storage import (
    Location,
    fingerprint,
    parquet_source,
    write_table,
)
from pipelines.video_labeller import PASSING_KINDS, LabelJob, LabelledRow

MOST_UNSTORED = 3
"""Videos in a row that could not be written, after which the archive is not gone on with: S3 is away."""


@dataclass(frozen=True)
class ArchiveConfig:
    """What decides the masks."""

    model: ModelSpec
    protocol: MatchingProtocol
    overlays: bool
    anchors: Literal["first", "all"] = "first"
    """Whether the first annotated frame of a video is used, or every one."""
    direction: Direction = "forwards"
    """From an annotated frame on, or to both sides of it."""
    labels_format: str = "auto"
    out_format: str = "auto"
    confidence: bool = True
    """Whether predictions say how far they can be trusted."""
    confidence_model: ConfidenceModel | None = None
    """What says it; None: the one that comes with the package."""
    return_check: bool = False
    """Whether predictions are also carried back to the annotated frame, beside a confidence model that
    does not need it."""

    def __post_init__(self) -> None:
        if self.direction == "both" and self.model.kind in WITHOUT_MATCHING:
            raise UserError(f"--model {self.model.kind} goes forwards only, not --direction both")
        if self.return_check and not self.confidence:
            raise UserError("--return-check and --no-confidence exclude each other")
        for name in (self.labels_format, self.out_format):
            if name != "auto":
                known_format(name)

    def content(self) -> dict[str, Any]:
        scorer = self.scorer()
        return {
            "model": self.model.describe(),
            "protocol": self.model.describe_protocol(self.protocol),
            "overlays": self.overlays,
            "confidence": scorer and f"model {fingerprint(asdict(scorer))}",
            "return_check": self.checks_return(),
            "anchors": self.anchors,
            "direction": self.direction,
            "out_format": self.out_format,
        }

    def scorer(self) -> ConfidenceModel | None:
        """What every worker scores with. None: nothing is scored."""
        return (self.confidence_model or load_confidence_model()) if self.confidence else None

    def checks_return(self) -> bool:
        """Whether predictions are carried back: somebody wants it, or the confidence model needs it."""
        scorer = self.scorer()
        return scorer is not None and (self.return_check or scorer.uses("return_overlap"))


@dataclass(frozen=True)
class Corrections:
    """Annotations that somebody made after looking at the predictions: further anchors."""

    place: Location
    format: str = "auto"
    accept_unchanged: bool = False
    """Whether frames count that came back from `huetrack review export` as they were."""

    def source(self, out: Location) -> LabelSource:
        """Those that count for this output. Raises `UserError` when there are none at all."""
        source = LabelSource(self.place, self.format, "all")
        if self.accept_unchanged:
            return source
        return replace(source, without=unedited_frames(source.open(), self.place, out))


def propagate_archive(
    archive: Location,
    labels: Location,
    out: Location,
    config: ArchiveConfig,
    *,
    workers: int,
    corrections: Corrections | None = None,
    overwrite: bool = False,
    also_read: Sequence[Location] = (),
    retry_errors: bool = False,
    progress: Progress = lambda *_: None,
) -> ArchiveSummary:
    """Label every video that has labels and is not finished. Ray must be connected.

    Of finished videos those spans are made again that `corrections` touch, and labels that have changed.
    `retry_errors` also tries videos that failed in an earlier run. `overwrite` begins anew; what is read,
    `also_read` beside the other places, must not lie in what that removes, and corrections must be given
    again. Raises `UserError` for input that cannot work, for an output folder that was made with another
    configuration, and for one that another run is making; `StorageError` when the output cannot be
    written.
    """
    if overwrite:
        weights = config.model.weights
        corrected = None if corrections is None else corrections.place
        read = (archive, labels, corrected, weights, *also_read)
        refuse_to_remove(out, [place for place in read if place is not None])
    for folder in (out, *out.parents):
        if folder.exists() and not folder.is_dir():
            raise UserError(f"{folder}: is not a folder")
    source = LabelSource(labels, config.labels_format, config.anchors, config.direction)
    with only_run(out, makes="propagation"):
        return _Run(archive, source, out, config, workers, corrections, progress).run(
            overwrite, retry_errors
        )


class _Run:
    """One run over an archive."""

    def __init__(
        self,
        archive: Location,
        labels: LabelSource,
        out: Location,
        config: ArchiveConfig,
        workers: int,
        corrections: Corrections | None,
        progress: Progress,
    ) -> None:
        self._archive = archive
        self._labels = labels
        self._out = out
        self._config = config
        self._workers = workers
        self._corrections = None if corrections is None else corrections.source(out)
        self._progress = progress

    def run(self, overwrite: bool, retry_errors: bool) -> ArchiveSummary:
        started_s = time.monotonic()
        planned = plan(self._archive, self._labels)
        corrected, astray = self._corrected_videos(planned)
        prepare_propagation(
            self._out,
            self._config.content(),
            overwrite,
            lambda: corrections_at_stake(
                self._out, planned.videos, self._labels, self._corrections
            ),
        )
        forget_unlabelled(self._out)
        finished = finished_videos(self._out)
        states = LabelStates(self._out, planned.states)
        known = {item.video_id for item in planned.videos} - finished
        # What failed before fails again, unless the cause was passing or somebody corrected it.
        kept = [
            error
            for error in read_errors(self._out / "errors.parquet")
            if error.video_id in known - corrected
            and error.kind not in PASSING_KINDS
            and not retry_errors
        ]
        left = known - {error.video_id for error in kept}
        pending = [item for item in planned.videos if item.video_id in left]
        touched = finished & (corrected | states.changed())
        again = [item for item in planned.videos if item.video_id in touched]
        errors = [*planned.errors, *astray, *kept]
        states.keep(left)
        if pending or again:
            forget_outcome(self._out)
        rows = self._labelled(pending, again, len(planned.videos))
        errors += [
            VideoError(row.video_id, row.uri, row.kind, row.message, row.attempts)
            for row in rows
            if row.kind
        ]
        states.keep({row.video_id for row in rows if not row.kind})
        errors.sort(key=lambda error: error.video_id)
        tidy(self._out)
        table = pa.Table.from_pylist([asdict(error) for error in errors], schema=ERROR_SCHEMA)
        write_table(self._out / "errors.parquet", table)
        return write_archive_summary(
            self._out,
            self._config.content(),
            archive=str(self._archive),
            labels=str(self._labels.place),
            videos=planned.items + len(astray),
            rows=rows,
            errors=errors,
            unedited=0 if self._corrections is None else len(self._corrections.without),
            seconds=time.monotonic() - started_s,
        )

    def _corrected_videos(self, planned: Plan) -> tuple[set[str], list[VideoError]]:
        """Videos that corrections name, and rows for corrections whose video cannot be labelled."""
        if self._corrections is None:
            return set(), []
        known = {item.video_id for item in planned.videos}
        named = set(self._corrections.open().videos())
        told = {error.video_id for error in planned.errors}
        place, message = str(self._corrections.place), "corrections of a video that is not there"
        astray = [
            VideoError(name, place, "no_video", message, 1) for name in sorted(named - known - told)
        ]
        return named & known, astray

    def _labelled(
        self, pending: Sequence[Footage], again: Sequence[Footage], videos: int
    ) -> list[LabelledRow]:
        """Label the videos that are pending, and correct the others; shows the progress."""
        config = self._config
        job = LabelJob(
            config.model,
            config.protocol,
            self._labels,
            self._corrections,
            Wanted(self._out, config.out_format, config.overlays),
            config.scorer(),
            config.checks_return(),
            self._workers,
        )
        meter, rows = Meter(), []
        done = videos - len(pending) - len(again)
        self._progress("propagate", done, videos, meter.now())
        unstored = 0
        for row in label_videos(job, pending, again):
            unstored = unstored + 1 if row.kind == "storage" else 0
            if row.fatal or unstored == MOST_UNSTORED:
                raise StorageError(f"{row.message}; a rerun goes on from here")
            rows.append(row)
            work = meter.add(
                videos=1, errors=[row.kind] if row.kind else [], frames=row.frames, bytes=row.bytes
            )
            self._progress("propagate", done + len(rows), videos, work)
        return rows


def read_errors(path: Location) -> list[VideoError]:
    """The rows of an `errors.parquet`; none where there is no such file."""
    try:
        return [VideoError(**row) for row in pq.read_table(parquet_source(path)).to_pylist()]
    except FileNotFoundError:
        return []
