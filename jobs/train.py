"""`huetrack train`: Ray Train around `model.fit`, with checkpoints, resume and tracking."""

import tempfile
import threading
from collections import Counter
from dataclasses import KW_ONLY, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import yaml
from cyclopts import Parameter

from jobs.cluster import available_cpus, connected_ray
from jobs.console import ProgressDisplay, print_facts
from jobs.options import LocationOption, plain
from jobs.registry import check_name, register_tracker
from jobs.tracking import TrackedRun, Tracker, start_run
from jobs.tracking_uri import TrackingUriOption, default_uri, refuse_shared_sqlite
from model.colorizer import Colorizer, ColorizerConfig, load_weights, save_colorizer
from model.errors import UserError
from model.fit import FitConfig
from pipelines.clip_rows import BatchConfig, ClipDataset, clip_rows
from pipelines.codebook import load_codebook
from pipelines.manifest import load_manifest, manifest_fingerprint
from pipelines.run_folder import CODEBOOK_FILE, CONFIG_FILE, WEIGHTS_FILE, read_history
from pipelines.storage import Location, arrow_paths, remove_folder, write_bytes, write_text

if TYPE_CHECKING:
    from ray.train import Checkpoint


@dataclass(frozen=True)
class TrainOptions:
    """Options of `huetrack train`."""

    dataset: LocationOption
    """Dataset folder made by `huetrack preprocess`, local or s3://BUCKET/PREFIX."""
    _: KW_ONLY
    run: LocationOption
    """Folder for this run, local or s3://BUCKET/PREFIX: configuration, checkpoints, weights, history,
    tracking."""
    objective: Literal["colorization"] = "colorization"
    """Training signal."""
    workers: int = 1
    """Training workers; each takes a GPU where there is one, else a share of the cores."""
    seed: int = 0
    """Initial weights and order of the clips."""
    resume: bool = False
    """Go on from the run's last checkpoint."""
    overwrite: bool = False
    """Remove an earlier run in the folder."""
    max_failures: int = 2
    """Lost workers after which training gives up; each costs the steps since the last checkpoint."""
    tracking_uri: TrackingUriOption | None = None
    """MLflow server; by default MLFLOW_TRACKING_URI or a SQLite file in the run's folder (none on S3)."""
    experiment: str = "huetrack"
    """MLflow experiment."""
    register: str = "huetrack"
    """Name in MLflow's model registry that the trained tracker gets a new version of; "" for none."""
    model: ColorizerConfig = field(default_factory=ColorizerConfig)
    fit: FitConfig = field(default_factory=FitConfig)
    batches: BatchConfig = field(default_factory=BatchConfig)


def train_command(options: Annotated[TrainOptions, Parameter(name="*")]) -> int:
    """Train the colouriser on a dataset, with no labels.

    The defaults are the paper's (400,000 steps of 32 clips at 256x256); configs/ holds smaller
    recipes. Kill it at any time: the same command with --resume goes on from the last checkpoint.

    Example: huetrack train dataset --run runs/first --config configs/two-cores.yaml
    """
    facts = train(options)
    print_facts(f"Run {options.run}", facts)
    return 0


def train(options: TrainOptions) -> dict[str, object]:
    """Train and export; returns the facts for the closing summary. Raises `UserError`."""
    check_name(options.register)
    dataset = ClipDataset.open(options.dataset)
    clips = _check(options, dataset)
    resumed_run_id = _prepare_folder(options)
    codebook = load_codebook(options.dataset / CODEBOOK_FILE)
    if codebook.fingerprint != dataset.codebook_fingerprint:
        raise UserError(
            f"{options.dataset}: its shards were made with codebook "
            f"{dataset.codebook_fingerprint}, codebook.json is {codebook.fingerprint}"
        )
    write_bytes(options.run / CODEBOOK_FILE, (options.dataset / CODEBOOK_FILE).read_bytes())
    uri = options.tracking_uri or default_uri(options.run)
    tracked = start_run(uri, options.run, options.experiment, options.run.name, resumed_run_id)
    _save_config(options, tracked)
    tracker = Tracker(tracked)
    digest = manifest_fingerprint(load_manifest(options.dataset / "manifest.parquet"))
    if tracked.run_id != resumed_run_id:
        tracker.params(_flat(plain(options)))
        tracker.dataset(options.dataset.name, str(options.dataset.resolve()), digest)
        tracker.artifact(options.run / CONFIG_FILE)
        tracker.artifact(options.run / CODEBOOK_FILE)
    try:
        with connected_ray(options.workers):
            refuse_shared_sqlite(uri)
            checkpoint = _fit(options, dataset, tracked)
        _export(checkpoint, options)
    except BaseException as error:
        tracker.finish("KILLED" if isinstance(error, KeyboardInterrupt) else "FAILED")
        raise
    with checkpoint.as_directory() as folder:
        tracker.artifact(Path(folder), "checkpoint")
    tracker.artifact(options.run / WEIGHTS_FILE)
    registered = ""
    if options.register:
        registered = register_tracker(tracker, options.run / WEIGHTS_FILE, options.register)
    tracker.finish("FINISHED")
    return {
        "clips": f"{clips['train']} for training, {clips['val']} held out",
        **_last_records(options.run),
        "weights": options.run / WEIGHTS_FILE,
        "tracking": tracked,
        **({"registered": registered} if registered else {}),
    }


def _check(options: TrainOptions, dataset: ClipDataset) -> Counter[str]:
    """Clips by split. Raises `UserError` for what cannot work, before anything is started."""
    if options.workers < 1:
        raise UserError("--workers must be at least 1")
    dataset.reduction(options.batches)
    split_of = {v.video_id: v.split for v in load_manifest(options.dataset / "manifest.parquet")}
    clips: Counter[str] = Counter(train=0, val=0)
    clips.update(split_of[video_id] for video_id in dataset.video_ids())
    if options.batches.batch_size < options.workers:
        raise UserError("batches.batch_size must be at least one clip a worker")
    if clips["train"] < options.batches.batch_size:
        raise UserError(
            f"{options.dataset}: {clips['train']} training clips are fewer than one batch of "
            f"{options.batches.batch_size} (set --batches.batch-size)"
        )
    return clips


def _prepare_folder(options: TrainOptions) -> str:
    """Make the run's folder; returns the id of the tracked run that is taken up again, or ""."""
    if not options.run.resolve().name:
        raise UserError(f"{options.run}: a run needs a folder with a name")
    config_file = options.run / CONFIG_FILE
    if options.resume and config_file.exists():
        before = yaml.safe_load(config_file.read_text(encoding="utf-8"))
        now = plain(options)
        changed = [key for key in ("model", "batches", "seed") if before.get(key) != now[key]]
        if changed:
            raise UserError(
                f"{config_file}: the run to resume has another {changed[0]} "
                f"({before.get(changed[0])} instead of {now[changed[0]]})"
            )
        return str(before.get("mlflow_run_id", ""))
    if options.overwrite and options.run.exists():
        if not config_file.exists() and any(options.run.iterdir()):
            raise UserError(f"{options.run}: holds no run, so it is not removed")
        remove_folder(options.run)
    if options.run.exists() and any(options.run.iterdir()):
        raise UserError(
            f"{options.run}: is not empty (use --resume, --overwrite or another folder)"
        )
    options.run.mkdir(parents=True, exist_ok=True)
    return ""


def _save_config(options: TrainOptions, tracked: TrackedRun) -> None:
    record = plain(options) | {"mlflow_run_id": tracked.run_id}
    for flag in ("resume", "overwrite"):
        del record[flag]
    write_text(options.run / CONFIG_FILE, yaml.safe_dump(record, sort_keys=False))


def _fit(options: TrainOptions, dataset: ClipDataset, tracked: TrackedRun) -> "Checkpoint":
    """Run Ray Train; returns the last checkpoint."""
    import ray.train
    import torch
    from ray.train.torch import TorchTrainer

    from jobs.train_worker import WorkerSpec, train_worker

    gpus = int(ray.cluster_resources().get("GPU", 0)) if torch.cuda.is_available() else 0
    if 0 < gpus < options.workers:
        raise UserError(f"--workers {options.workers}: the cluster has {gpus} GPUs")
    spec = WorkerSpec(
        options.dataset.resolve(),
        options.run.resolve(),
        options.model,
        options.fit,
        options.batches,
        options.seed,
        available_cpus(),
        tracked,
    )
    (folder,), filesystem = arrow_paths([options.run.resolve().parent])
    trainer = TorchTrainer(
        train_worker,
        train_loop_config={"spec": spec},
        datasets={
            "train": clip_rows(dataset, "train", options.batches, options.seed),
            "val": clip_rows(dataset, "val", options.batches),
        },
        dataset_config=ray.train.DataConfig(datasets_to_split=["train"]),
        scaling_config=ray.train.ScalingConfig(num_workers=options.workers, use_gpu=gpus > 0),
        run_config=ray.train.RunConfig(
            name=options.run.resolve().name,
            storage_path=folder,
            storage_filesystem=filesystem,
            failure_config=ray.train.FailureConfig(max_failures=options.max_failures),
            checkpoint_config=ray.train.CheckpointConfig(num_to_keep=2),
        ),
    )
    with ProgressDisplay() as display, _HistoryFollower(options, display):
        result = trainer.fit()
    if result.error is not None:
        raise result.error
    if result.checkpoint is None:
        raise RuntimeError(f"{options.run}: training ended without a checkpoint")
    return result.checkpoint


class _HistoryFollower:
    """Shows the newest records of `history.jsonl` while the workers write it."""

    def __init__(self, options: TrainOptions, display: ProgressDisplay) -> None:
        self._options = options
        self._display = display
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._follow, daemon=True)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _follow(self) -> None:
        while not self._stop.wait(1.0):
            records = read_history(self._options.run)
            trained = [r for r in records if r["kind"] == "train"]
            if not trained:
                continue
            newest = trained[-1]
            remark = f"loss {newest['loss']:.3f}, {newest['images_per_s']:.0f} images/s"
            validated = [r for r in records if r["kind"] == "validation"]
            if validated:
                remark += f", held-out accuracy {validated[-1]['accuracy']:.3f}"
                remark += f" (copying {validated[-1]['copy_accuracy']:.3f})"
            self._display("train", int(newest["step"]), self._options.fit.steps, remark)


def _export(checkpoint: "Checkpoint", options: TrainOptions) -> None:
    """Write the weights of a checkpoint as `model.safetensors`."""
    import torch

    prefix = "colorizer."
    colorizer = Colorizer(options.model)
    with checkpoint.as_directory() as folder, tempfile.TemporaryDirectory() as made:
        path, weights = Path(folder) / "checkpoint.pt", Path(made) / WEIGHTS_FILE
        state = torch.load(path, map_location="cpu", weights_only=True)["objective"]
        load_weights(colorizer, {k.removeprefix(prefix): v for k, v in state.items()}, path)
        save_colorizer(colorizer, weights)
        write_bytes(options.run / WEIGHTS_FILE, weights.read_bytes())


def _last_records(run: Location) -> dict[str, object]:
    facts: dict[str, object] = {}
    for record in read_history(run):
        if record["kind"] == "train":
            facts["steps"] = record["step"]
            facts["loss"] = f"{record['loss']:.4f}"
        else:
            facts["held-out loss"] = f"{record['loss']:.4f}"
            facts["held-out colour accuracy"] = (
                f"{record['accuracy']:.4f} (copying the last reference {record['copy_accuracy']:.4f})"
            )
    return facts


def _flat(record: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """{"a": {"b": 1}} -> {"a.b": 1}, for MLflow parameters."""
    flat: dict[str, Any] = {}
    for key, value in record.items():
        if isinstance(value, dict):
            flat |= _flat(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat
