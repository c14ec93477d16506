"""MLflow, so wrapped that a tracking failure warns and never stops the work.

The driver makes the run and closes it; workers log into it by its id. Without a tracking URI the
store is a SQLite file in the run's own folder, always by absolute path (`jobs/tracking_uri.py`).
"""

import logging
import os
import re
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from jobs.tracking_uri import TrackingUri, without_credentials
from pipelines.s3_path import S3Path
from pipelines.storage import Location

if TYPE_CHECKING:
    from mlflow import MlflowClient

log = logging.getLogger("huetrack.tracking")

# The most that one request to an MLflow server may hold.
METRICS_PER_REQUEST = 1000
PARAMS_PER_REQUEST = 100

UNSENT_METRICS = 100_000
"""Values kept while the server does not answer, the newest ones: some hundred hours of training."""
PAUSE_S = 30.0
"""Least time between two attempts while the server does not answer."""
PAUSE_FACTOR = 20.0
"""And it is so many times what an attempt took, so that a dead server costs 5 % of the time at most."""

Item = TypeVar("Item")


@dataclass(frozen=True)
class TrackedRun:
    """Where a run is tracked. `run_id` is empty when tracking could not be set up."""

    uri: TrackingUri
    run_id: str

    def __str__(self) -> str:
        return f"{self.uri} (run {self.run_id or 'none'})"


class Tracker:
    """Logs into one MLflow run.

    A failure is one warning. Metrics that could not be sent go with the next that can; other things are
    lost.
    """

    def __init__(self, run: TrackedRun, clock: Callable[[], float] = time.monotonic) -> None:
        self.run = run
        self._clock = clock
        self._paused_until_s = 0.0
        self._failing = False
        self._unsent: list[tuple[str, float, int, int]] = []

    def metrics(self, values: Mapping[str, float], step: int) -> None:
        now_ms = time.time_ns() // 1_000_000
        self._unsent.extend((name, float(value), now_ms, step) for name, value in values.items())
        del self._unsent[:-UNSENT_METRICS]

        def write(client: "MlflowClient") -> None:
            from mlflow.entities import Metric

            for part in _parts(self._unsent, METRICS_PER_REQUEST):
                client.log_batch(self.run.run_id, metrics=[Metric(*values) for values in part])
            self._unsent.clear()

        self.attempt(write)

    def params(self, values: Mapping[str, Any]) -> None:
        def write(client: "MlflowClient") -> None:
            from mlflow.entities import Param

            params = [Param(name, str(value)) for name, value in values.items()]
            for part in _parts(params, PARAMS_PER_REQUEST):
                client.log_batch(self.run.run_id, params=part)

        self.attempt(write)

    def artifact(self, path: Location, folder: str | None = None) -> None:
        def write(client: "MlflowClient") -> None:
            if isinstance(path, S3Path):
                with tempfile.TemporaryDirectory() as place:
                    copy = Path(place) / path.name
                    copy.write_bytes(path.read_bytes())
                    client.log_artifact(self.run.run_id, str(copy), folder)
            else:
                client.log_artifact(self.run.run_id, str(path), folder)

        self.attempt(write)

    def image(self, picture_HW3: np.ndarray, name: str, step: int) -> None:
        """A picture, uint8 RGB [H, W, 3], as the image `name` at this step."""
        self.attempt(
            lambda client: client.log_image(
                self.run.run_id, picture_HW3, key=name, step=step, synchronous=True
            )
        )

    def text(self, content: str, name: str) -> None:
        """An artifact of this name that holds the text."""
        self.attempt(lambda client: client.log_text(self.run.run_id, content, name))

    def dataset(self, name: str, source: str, digest: str) -> None:
        """Record the dataset at `source`, a path or an s3:// address, as an input of the run."""

        def write(client: "MlflowClient") -> None:
            from mlflow.data.dataset_source_registry import resolve_dataset_source
            from mlflow.data.meta_dataset import MetaDataset
            from mlflow.entities import Dataset, DatasetInput, InputTag

            described = MetaDataset(  # type: ignore[abstract]  # it is meant to be made
                resolve_dataset_source(source), name, digest
            )
            dataset = Dataset(**described.to_dict())
            tag = InputTag("mlflow.data.context", "training")
            client.log_inputs(self.run.run_id, [DatasetInput(dataset, [tag])])

        self.attempt(write)

    def finish(self, status: str) -> None:
        """`status` is FINISHED, FAILED or KILLED."""
        self.attempt(lambda client: client.set_terminated(self.run.run_id, status))

    def attempt(self, write: Callable[["MlflowClient"], None]) -> None:
        """Call `write`, unless there is no run or an earlier failure is recent. Never raises."""
        started_s = self._clock()
        if not self.run.run_id or started_s < self._paused_until_s:
            return
        try:
            # Recorded, hence not shown: MLflow advises on type hints and the like, whatever the filters.
            with warnings.catch_warnings(record=True):
                write(open_client(self.run.uri))
        except Exception as error:
            now_s = self._clock()
            self._paused_until_s = now_s + max(PAUSE_S, PAUSE_FACTOR * (now_s - started_s))
            if not self._failing:
                log.warning(
                    "tracking at %s failed, going on without: %s", self.run.uri, _line(error)
                )
            self._failing = True
            return
        if self._failing:
            log.warning("tracking at %s works again", self.run.uri)
        self._failing = False


def start_run(uri: TrackingUri, experiment: str, name: str, resume: str) -> TrackedRun:
    """Make a run, or take up the one with id `resume` unless the store says that it has none such.

    Never raises: it warns. Where the store does not answer, a run that is known is logged into all the
    same, from when it does.
    """
    if not uri:
        log.warning("no tracking: a run on S3 needs --tracking-uri or MLFLOW_TRACKING_URI")
        return TrackedRun(uri, "")
    known = resume
    try:
        client = open_client(uri)
        if resume and _exists(client, resume):
            client.update_run(resume, status="RUNNING")
            return TrackedRun(uri, resume)
        known = ""
        found = client.get_experiment_by_name(experiment)
        if found is not None:
            experiment_id = found.experiment_id
        else:
            experiment_id = client.create_experiment(experiment, artifact_location=uri.artifacts)
        run = client.create_run(experiment_id, run_name=name)
        return TrackedRun(uri, run.info.run_id)
    except Exception as error:
        until = "until it answers again" if known else "in this run"
        log.warning("no tracking at %s %s: %s", uri, until, _line(error))
        return TrackedRun(uri, known)


def _exists(client: "MlflowClient", run_id: str) -> bool:
    from mlflow.exceptions import MlflowException

    try:
        client.get_run(run_id)
    except MlflowException as error:
        if error.error_code == "RESOURCE_DOES_NOT_EXIST":
            return False
        raise
    return True


def open_client(uri: TrackingUri) -> "MlflowClient":
    """MLflow's client, impatient and quiet: what fails is told by the caller, without credentials."""
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    # What MLflow prints, and its own warnings, hold whole addresses.
    os.environ["MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT"] = "true"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from mlflow import MlflowClient

        logging.getLogger("mlflow").setLevel(logging.CRITICAL)
        # Alembic and SQLAlchemy talk a lot while they make a new SQLite store.
        logging.getLogger("alembic").setLevel(logging.WARNING)
        return MlflowClient(tracking_uri=uri.secret)


def _line(error: Exception) -> str:
    """One line; of a server that is not there only that, since its address has been said."""
    text = " ".join(str(error).split())
    reason = re.search(r"Max retries exceeded .*(Errno -?\d+\] [\w ]+|timed out)", text)
    if reason:
        return f"it does not answer ({reason[1].rpartition('] ')[2]})"
    return without_credentials(text)


def _parts(items: Sequence[Item], size: int) -> Iterator[Sequence[Item]]:
    for first in range(0, len(items), size):
        yield items[first : first + size]
