"""`summary.json` of a propagation: what the run did, and totals over everything that is there."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from pipelines.predictions import FOLDER as PREDICTIONS
from pipelines.predictions import PredictionTotals, prediction_totals
from pipelines.propagation_folder import TOTALS
from pipelines.shards import VideoError
from pipelines.storage import Location, fingerprint, read_json, write_json
from pipelines.video_labeller import LabelledRow


@dataclass(frozen=True)
class ArchiveSummary:
    """`summary.json` of a propagation."""

    config: dict[str, Any]
    fingerprint: str
    archive: str
    labels: str
    videos: int
    """Videos of the archive, and labels whose video is not there."""
    videos_failed: int
    errors: dict[str, int]
    """Failed videos by kind."""
    videos_made: int
    """Videos labelled by this run; the others were there already."""
    videos_corrected: int
    """Videos of which this run made a part again."""
    corrections_unedited: int
    """Frames of the corrections that are as they were exported, and so did not count."""
    frames_made: int
    seconds: float
    frames_per_s: float
    predictions: int
    """Rows of `predictions/`: objects times frames."""
    mean_confidence: float | None
    """Over the objects that were predicted; None without confidences."""
    share_flagged: float | None
    """Of these the share with a flag."""

    @property
    def error_rate(self) -> float:
        return self.videos_failed / self.videos if self.videos else 0.0


def write_archive_summary(
    out: Location,
    config: dict[str, Any],
    *,
    archive: str,
    labels: str,
    videos: int,
    rows: Sequence[LabelledRow],
    errors: Sequence[VideoError],
    unedited: int,
    seconds: float,
) -> ArchiveSummary:
    """`rows` are what this run made or could not make, `errors` all videos that have no labels."""
    frames = sum(row.frames for row in rows)
    path = out / "summary.json"
    if any(row.state in ("made", "corrected") for row in rows):
        totals = prediction_totals(out / PREDICTIONS)
    else:
        totals = _totals_before(read_json(path), out)
    kinds = sorted({error.kind for error in errors})
    summary = ArchiveSummary(
        config=config,
        fingerprint=fingerprint(config),
        archive=archive,
        labels=labels,
        videos=videos,
        videos_failed=len(errors),
        errors={kind: sum(error.kind == kind for error in errors) for kind in kinds},
        videos_made=sum(row.state == "made" for row in rows),
        videos_corrected=sum(row.state == "corrected" for row in rows),
        corrections_unedited=unedited,
        frames_made=frames,
        seconds=round(seconds, 3),
        frames_per_s=round(frames / seconds, 3),
        predictions=totals.rows,
        mean_confidence=totals.mean_confidence,
        share_flagged=totals.share_flagged,
    )
    write_json(path, asdict(summary))
    return summary


def _totals_before(summary: dict[str, Any], out: Location) -> PredictionTotals:
    """Those of the run before, where nothing has changed since."""
    try:
        return PredictionTotals(*(summary[name] for name in TOTALS))
    except KeyError:  # it did not come to an end
        return prediction_totals(out / PREDICTIONS)
