"""Options of `huetrack train`, and whether a dataset can be trained on with them."""

from dataclasses import KW_ONLY, dataclass, field
from typing import Literal

from jobs.options import LocationOption
from jobs.placement import LabelSelectorOption
from jobs.tracking_uri import TrackingUriOption
from jobs.train_probe import ProbeConfig, check_probe
from model.colorizer import ColorizerConfig
from model.errors import UserError
from model.fitter import FitConfig
from model.objectives.colorization import ColorizationConfig
from pipelines.clip_rows import BatchConfig, ClipDataset
from pipelines.codebook import load_codebook
from pipelines.models import read_colorizer
from pipelines.run_folder import CODEBOOK_FILE, INITIAL_WEIGHTS_FILE, weights_of


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
    init: LocationOption | None = None
    """Run folder or .safetensors file whose weights training begins from, instead of random ones; the
    network must have the same shape. The frames may have another size."""
    workers: int = 1
    """Training workers; each takes a GPU where there is one, else a CPU. They share every batch."""
    min_workers: int | None = None
    """Go on with as few workers as this when machines are lost or late, and grow to --workers again when
    there is room; by default training waits for all of --workers."""
    device: Literal["auto", "cpu", "gpu"] = "auto"
    """Where workers train: auto takes GPUs if the cluster has any now; gpu waits for them, as a cluster
    that scales from zero needs."""
    label_selector: LabelSelectorOption = ()
    """KEY=VALUE: workers run on the nodes of a cluster that are labelled so; VALUE may be !A or in(A,B)."""
    resources_timeout_s: float = 50.0
    """Seconds to wait at the start for the workers' CPUs and GPUs, before it is an error."""
    seed: int = 0
    """Initial weights and order of the clips."""
    resume: bool = False
    """Go on from the run's last checkpoint, or begin where there is none."""
    overwrite: bool = False
    """Remove an earlier run in the folder."""
    max_failures: int = 2
    """Lost workers after which training gives up; each costs the steps since the last checkpoint.
    Machines that are preempted with a notice are not counted."""
    tracking_uri: TrackingUriOption | None = None
    """MLflow server; by default MLFLOW_TRACKING_URI or a SQLite file in the run's folder (none on S3)."""
    experiment: str = "huetrack"
    """MLflow experiment."""
    register: str = "huetrack"
    """Name in MLflow's model registry that the trained tracker gets a new version of; "" for none."""
    model: ColorizerConfig = field(default_factory=ColorizerConfig)
    colorization: ColorizationConfig = field(default_factory=ColorizationConfig)
    fit: FitConfig = field(default_factory=FitConfig)
    batches: BatchConfig = field(default_factory=BatchConfig)
    probe: ProbeConfig = field(default_factory=ProbeConfig)

    @property
    def least_workers(self) -> int:
        """The number of workers below which there is no training."""
        return self.workers if self.min_workers is None else self.min_workers


def check_options(options: TrainOptions, dataset: ClipDataset) -> None:
    """Raises `UserError` for what cannot work, before anything is started."""
    if options.workers < 1:
        raise UserError("--workers must be at least 1")
    if not 1 <= options.least_workers <= options.workers:
        raise UserError(f"--min-workers must lie in 1..{options.workers}, the number of --workers")
    if options.max_failures < 0:
        raise UserError("--max-failures must be at least 0")
    dataset.reduction(options.batches)
    check_probe(options.probe)
    if options.batches.batch_size < options.workers:
        raise UserError("batches.batch_size must be at least one clip a worker")
    if len(dataset.train) < options.batches.batch_size:
        raise UserError(
            f"{options.dataset}: {len(dataset.train)} training clips are fewer than one batch of "
            f"{options.batches.batch_size} (set --batches.batch-size)"
        )
    codebook = load_codebook(options.dataset / CODEBOOK_FILE)
    if codebook.fingerprint != dataset.codebook_fingerprint:
        raise UserError(
            f"{options.dataset}: its shards were made with codebook "
            f"{dataset.codebook_fingerprint}, codebook.json is {codebook.fingerprint}"
        )


def check_init(options: TrainOptions) -> bytes | None:
    """The file of weights to begin from; None where there is none, or a run that goes on has its copy.

    Raises `UserError` when it does not fit.
    """
    if options.init is None or (options.resume and (options.run / INITIAL_WEIGHTS_FILE).exists()):
        return None
    weights = weights_of(options.init)
    config = read_colorizer(weights).config
    if config != options.model:
        flags = " ".join(f"--model.{key.replace('_', '-')} {v}" for key, v in vars(config).items())
        raise UserError(f"--init {options.init}: its network has another shape (set {flags})")
    return weights.read_bytes()
