"""MLflow for `huetrack propagate`: what the labelled archive comes to."""

from dataclasses import asdict

from jobs.tracked_job import TrackedJob
from pipelines.archive_summary import ArchiveSummary

_TOTALS = (
    "videos",
    "videos_failed",
    "videos_made",
    "videos_corrected",
    "frames_made",
    "seconds",
    "frames_per_s",
    "predictions",
    "mean_confidence",
    "share_flagged",
)


class TrackedPropagation(TrackedJob):
    """Logs one propagation; `finish` it with the summary."""

    def finish(self, summary: ArchiveSummary) -> None:
        """Log the totals, errors by kind, and the summary's file."""
        record = asdict(summary)
        totals = {f"archive/{name}": record[name] for name in _TOTALS if record[name] is not None}
        errors = {f"archive/errors/{kind}": count for kind, count in summary.errors.items()}
        self.log_totals(totals | errors, summary.videos, ["summary.json"])
