"""MLflow for jobs that go through many videos: one run a job, with its configuration and its pace.

Nothing is tracked unless a server is named: unlike a training run, an output folder has no place for a
store of its own.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import Any, Self

from jobs.tracking import TrackedRun, Tracker, start_run
from jobs.tracking_uri import TrackingUri, configured_uri
from pipelines.progress import Remark, Throughput
from pipelines.storage import Location

LOGGED_EVERY_S = 5.0


class TrackedJob:
    """Logs one job; call it like `pipelines.progress.Progress`.

    Without a URI and without `MLFLOW_TRACKING_URI` it does nothing. A failure of tracking is one
    warning, and the job goes on.
    """

    def __init__(
        self,
        uri: TrackingUri | None,
        experiment: str,
        out: Location,
        parameters: dict[str, Any],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._clock = clock
        self._logged_s = -LOGGED_EVERY_S
        self._out = out
        uri = uri or configured_uri()
        self._run = TrackedRun(uri, "")
        if uri:
            self._run = start_run(uri, experiment, out.name, resume="")
        self._tracker = Tracker(self._run)
        self._tracker.params(parameters)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        interrupted = kind is not None and issubclass(kind, KeyboardInterrupt)
        status = "FINISHED" if kind is None else "KILLED" if interrupted else "FAILED"
        self._tracker.finish(status)

    def __call__(self, stage: str, done: int, total: int, remark: Remark = "") -> None:
        """Log the pace of a stage, at most every five seconds and at the end."""
        if not isinstance(remark, Throughput):
            return
        now_s = self._clock()
        if now_s - self._logged_s < LOGGED_EVERY_S and done < total:
            return
        self._logged_s = now_s
        pace = {
            "videos_per_s": remark.videos_per_s,
            "frames_per_s": remark.frames_per_s,
            "videos_done": remark.videos,
            "errors": remark.errors,
            "bytes": remark.bytes,
        }
        self._tracker.metrics({f"{stage}/{name}": value for name, value in pace.items()}, done)

    def log_totals(self, totals: Mapping[str, float], step: int, files: Sequence[str]) -> None:
        """Log what the job came to, and files of its output folder as artifacts."""
        self._tracker.metrics(totals, step)
        for name in files:
            self._tracker.text((self._out / name).read_text(encoding="utf-8"), name)

    def describe(self) -> str:
        """Where the run is, for the closing summary; empty when nothing is tracked."""
        return str(self._run) if self._run.uri else ""
