"""Options of `huetrack train`."""

from dataclasses import KW_ONLY, dataclass, field
from typing import Literal

from jobs.options import LocationOption
from jobs.placement import LabelSelectorOption
from jobs.probe_options import ProbeConfig
from jobs.tracking_uri import TrackingUriOption
from model.colorizer import ColorizerConfig
from model.errors import UserError
from model.fitter import FitConfig
from model.objectives.colorization import ColorizationConfig
from pipelines.clip_rows import BatchConfig


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
    """Go on from the run's last checkpoint, or begin where there is none. Settings of model, colorization,
    fit and batches, seed and init are the run's where they are not given."""
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

    def __post_init__(self) -> None:
        if not 0 <= self.seed < 1 << 63:
            raise UserError(f"--seed must lie in 0..2^63-1, not {self.seed}")
        if self.resume and self.overwrite:
            raise UserError("--resume and --overwrite exclude each other")

    @property
    def least_workers(self) -> int:
        """The number of workers below which there is no training."""
        return self.workers if self.min_workers is None else self.min_workers
