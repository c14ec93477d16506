"""MLflow for `huetrack preprocess`: what the finished dataset comes to."""

from dataclasses import asdict

from jobs.tracked_job import TrackedJob
from pipelines.dataset_folder import PreprocessSummary

_TOTALS = ("videos", "videos_failed", "shards", "clips", "frames", "bytes", "seconds")
_FILES = ("codebook.json", "summary.json")


class TrackedPreprocess(TrackedJob):
    """Logs one preprocessing; `finish` it with the summary."""

    def finish(self, summary: PreprocessSummary) -> None:
        """Log the totals of the finished dataset, errors by kind, and its codebook and summary."""
        record = asdict(summary)
        totals = {f"dataset/{name}": record[name] for name in _TOTALS}
        errors = {f"dataset/errors/{kind}": count for kind, count in summary.errors.items()}
        self.log_totals(totals | errors, summary.shards, _FILES)
