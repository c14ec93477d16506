"""MLflow, so wrapped that a tracking failure warns and never stops the work.

The driver makes the run and closes it; workers log into it by its id. Without a tracking URI the
store is a SQLite file in the run's own folder, always by absolute path.
"""

import logging
import os
import tempfile
import time
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipelines.s3_path import S3Path
from pipelines.storage import Location

log = logging.getLogger("huetrack.tracking")


@dataclass(frozen=True)
class TrackedRun:
    """Where a run is tracked. `run_id` is empty when tracking could not be set up."""

    uri: str
    run_id: str


def default_uri(run_folder: Location) -> str:
    """`MLFLOW_TRACKING_URI`, or a SQLite file in the run's folder; "" for one on S3, which holds none."""
    configured = os.environ.get("MLFLOW_TRACKING_URI")
    if configured or isinstance(run_folder, S3Path):
        return configured or ""
    return f"sqlite:///{(run_folder / 'mlflow.db').resolve()}"


class Tracker:
    """Logs into one MLflow run; after a failure it warns once and stays silent."""

    def __init__(self, run: TrackedRun) -> None:
        self._run = run
        self._broken = run.run_id == ""

    def metrics(self, values: Mapping[str, float], step: int) -> None:
        def write(client: Any) -> None:
            from mlflow.entities import Metric

            now_ms = time.time_ns() // 1_000_000
            batch = [Metric(name, float(value), now_ms, step) for name, value in values.items()]
            client.log_batch(self._run.run_id, metrics=batch)

        self._attempt(write)

    def params(self, values: Mapping[str, Any]) -> None:
        def write(client: Any) -> None:
            for name, value in values.items():
                client.log_param(self._run.run_id, name, value)

        self._attempt(write)

    def artifact(self, path: Location, folder: str | None = None) -> None:
        def write(client: Any) -> None:
            if isinstance(path, Path):
                client.log_artifact(self._run.run_id, str(path), folder)
                return
            with tempfile.TemporaryDirectory() as place:
                copy = Path(place) / path.name
                copy.write_bytes(path.read_bytes())
                client.log_artifact(self._run.run_id, str(copy), folder)

        self._attempt(write)

    def text(self, content: str, name: str) -> None:
        """An artifact of this name that holds the text."""
        self._attempt(lambda client: client.log_text(self._run.run_id, content, name))

    def dataset(self, name: str, source: str, digest: str) -> None:
        """Record the dataset as an input of the run."""

        def write(client: Any) -> None:
            from mlflow.entities import Dataset, DatasetInput, InputTag

            entity = Dataset(name, digest, "local", source)
            tag = InputTag("mlflow.data.context", "training")
            client.log_inputs(self._run.run_id, [DatasetInput(entity, [tag])])

        self._attempt(write)

    def finish(self, status: str) -> None:
        """`status` is FINISHED, FAILED or KILLED."""
        self._attempt(lambda client: client.set_terminated(self._run.run_id, status))

    def _attempt(self, write: Callable[[Any], None]) -> None:
        if self._broken:
            return
        try:
            write(_client(self._run.uri))
        except Exception as error:
            self._broken = True
            log.warning("tracking at %s failed, going on without it: %s", self._run.uri, error)


def start_run(
    uri: str, run_folder: Location, experiment: str, name: str, resume: str
) -> TrackedRun:
    """Make a run, or take up the one with id `resume`. Never raises: it warns."""
    if not uri:
        log.warning("no tracking: a run on S3 needs --tracking-uri or MLFLOW_TRACKING_URI")
        return TrackedRun(uri, "")
    try:
        client = _client(uri)
        if resume:
            client.update_run(resume, status="RUNNING")
            return TrackedRun(uri, resume)
        found = client.get_experiment_by_name(experiment)
        if found is not None:
            experiment_id = found.experiment_id
        else:
            artifacts = run_folder.resolve() / "mlartifacts"
            address = artifacts.as_uri() if isinstance(artifacts, Path) else str(artifacts)
            location = address if uri.startswith("sqlite:") else None
            experiment_id = client.create_experiment(experiment, artifact_location=location)
        run = client.create_run(experiment_id, run_name=name)
        return TrackedRun(uri, run.info.run_id)
    except Exception as error:
        log.warning("no tracking at %s: %s", uri, error)
        return TrackedRun(uri, "")


def _client(uri: str) -> Any:
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    # Alembic and SQLAlchemy talk a lot while they make a new SQLite store.
    logging.getLogger("alembic").setLevel(logging.WARNING)
    logging.getLogger("mlflow").setLevel(logging.WARNING)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from mlflow import MlflowClient

        return MlflowClient(tracking_uri=uri)
