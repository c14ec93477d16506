"""A training as a whole: Ray Train around `model.fit`, with checkpoints, resume and tracking."""

from typing import TYPE_CHECKING

from jobs.cluster import connected_ray
from jobs.options import flat, plain
from jobs.placement import label_selector
from jobs.registry import check_name, register_tracker
from jobs.tracking import Tracker, start_run
from jobs.tracking_uri import TrackingUri, default_uri, refuse_shared_sqlite
from jobs.train_checkpoint import export_weights
from jobs.train_checks import check_init, check_options
from jobs.train_folder import check_folder, check_place, last_records, prepare_folder, save_config
from jobs.train_options import TrainOptions
from jobs.train_resources import wait_for_resources, worker_resources
from jobs.train_run import run_training
from pipelines.clip_rows import ClipDataset
from pipelines.folder_lock import only_run
from pipelines.manifest import load_manifest, manifest_fingerprint
from pipelines.run_folder import CODEBOOK_FILE, CONFIG_FILE, WEIGHTS_FILE

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from ray.train import Checkpoint


def train(options: TrainOptions) -> dict[str, object]:
    """Train and export; returns the facts for the closing summary. Raises `UserError`.

    The run's folder is made when everything that can be wrong from the start has been looked at, and no
    other training may touch it meanwhile.
    """
    check_name(options.register)
    check_place(options.run)
    dataset = ClipDataset.open(options.dataset.resolve())
    check_options(options, dataset)
    with only_run(options.run, makes="run"):
        return _train(options, dataset)


def _train(options: TrainOptions, dataset: ClipDataset) -> dict[str, object]:
    check_folder(options)
    initial = check_init(options)
    uri = options.tracking_uri or default_uri(options.run)
    with connected_ray(options.workers, label_selector(options.label_selector)):
        refuse_shared_sqlite(uri)
        worker = worker_resources(options)
        wait_for_resources(options, worker)
        resumed_run_id = prepare_folder(options, initial)
        tracker = _start_tracking(options, uri, resumed_run_id)
        try:
            kept = run_training(options, dataset, tracker.run, worker)
            exported = export_weights(kept, options.model, options.run)
        except BaseException as error:
            tracker.finish("KILLED" if isinstance(error, KeyboardInterrupt) else "FAILED")
            raise
    for path in exported:
        tracker.artifact(path)
    _log_checkpoint(tracker, kept.last)
    registered = ""
    if options.register:
        registered = register_tracker(tracker, options.run / WEIGHTS_FILE, options.register)
    tracker.finish("FINISHED")
    return {
        "clips": f"{len(dataset.train)} for training, {len(dataset.val)} held out",
        **last_records(options.run),
        "weights": ", ".join(map(str, exported)),
        "tracking": tracker.run,
        **({"registered": registered} if registered else {}),
    }


def _start_tracking(options: TrainOptions, uri: TrackingUri, resumed_run_id: str) -> Tracker:
    tracked = start_run(uri, options.experiment, options.run.name, resumed_run_id)
    save_config(options, tracked.run_id or resumed_run_id)
    tracker = Tracker(tracked)
    if tracked.run_id != resumed_run_id:
        digest = manifest_fingerprint(load_manifest(options.dataset / "manifest.parquet"))
        tracker.params(flat(plain(options)))
        tracker.dataset(options.dataset.name, str(options.dataset.resolve()), digest)
        tracker.artifact(options.run / CONFIG_FILE)
        tracker.artifact(options.run / CODEBOOK_FILE)
    return tracker


def _log_checkpoint(tracker: Tracker, checkpoint: "Checkpoint") -> None:
    def write(client: "MlflowClient") -> None:
        with checkpoint.as_directory() as folder:
            client.log_artifacts(tracker.run.run_id, folder, "checkpoint")

    tracker.attempt(write)
