"""What each Ray Train worker runs: the training loop, fed by Ray Data, reporting to the outside."""

import tempfile
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import ray.train
import ray.train.torch
import torch
import torch.distributed as dist

from jobs.system_metrics import worker_system_metrics
from jobs.tracking import TrackedRun, Tracker
from model.colorizer import Colorizer, ColorizerConfig
from model.fit import FitConfig, Fitter, TrainRecord, ValidationRecord, fit
from model.objectives.colorization import ClipBatch, Colorization
from pipelines.batches import batches_of
from pipelines.clip_rows import BatchConfig, ClipDataset
from pipelines.run_folder import History
from pipelines.storage import Location

CHECKPOINT_FILE = "checkpoint.pt"


@dataclass(frozen=True)
class WorkerSpec:
    """Everything a worker needs to know."""

    dataset: Location
    run: Location
    model: ColorizerConfig
    fit: FitConfig
    batches: BatchConfig
    seed: int
    cpus: int
    """Cores of this machine that the workers on it share."""
    tracked: TrackedRun


def train_worker(loop_config: dict[str, Any]) -> None:
    """Entry point on every worker; `loop_config["spec"]` is a `WorkerSpec`."""
    spec: WorkerSpec = loop_config["spec"]
    context = ray.train.get_context()
    if not torch.cuda.is_available():
        torch.set_num_threads(max(1, spec.cpus // context.get_local_world_size()))
    torch.manual_seed(spec.seed)
    device = ray.train.torch.get_device()
    objective = Colorization(Colorizer(spec.model)).to(device)
    module = ray.train.torch.prepare_model(objective)
    fitter = Fitter(objective, spec.fit, device, module)
    _take_up_checkpoint(fitter, device)
    reporter = WorkerReporter(spec, fitter.step)
    shard = ray.train.get_dataset_shard("train")
    dataset = ClipDataset.open(spec.dataset)
    batch_size = max(1, spec.batches.batch_size // context.get_world_size())

    def epoch(index: int) -> Iterable[ClipBatch]:
        seed = spec.seed * 1_000_003 + index
        return batches_of(shard, dataset, spec.batches, batch_size=batch_size, shuffle_seed=seed)

    with worker_system_metrics(spec.tracked):
        fit(fitter, epoch, reporter)


def _take_up_checkpoint(fitter: Fitter, device: torch.device) -> None:
    """Continue from Ray Train's latest checkpoint, if there is one."""
    checkpoint = ray.train.get_checkpoint()
    if checkpoint is None:
        return
    with checkpoint.as_directory() as folder:
        path = Path(folder) / CHECKPOINT_FILE
        fitter.load_state_dict(torch.load(path, map_location=device, weights_only=True))


class WorkerReporter:
    """Sends records to MLflow and `history.jsonl`, validates, and hands checkpoints to Ray Train.

    Only rank 0 writes; every rank takes part in validation and checkpoints, which are barriers.
    """

    def __init__(self, spec: WorkerSpec, first_step: int) -> None:
        context = ray.train.get_context()
        self._spec = spec
        self._rank = context.get_world_rank()
        self._workers = context.get_world_size()
        self._tracker = Tracker(spec.tracked)
        self._last: dict[str, float] = {}
        self._validation: list[ClipBatch] | None = None
        # A resumed run repeats the steps after its checkpoint, and what was logged of them.
        self._history = History(spec.run, first_step) if self._rank == 0 else None

    def _write(self, kind: str, record: TrainRecord | ValidationRecord) -> None:
        if self._history is None:
            return
        values = {k: v for k, v in asdict(record).items() if k != "step"}
        self._history.append({"kind": kind, "step": record.step, **values})
        self._tracker.metrics({f"{kind}/{k}": v for k, v in values.items()}, record.step)
        self._last.update({f"{kind}/{k}": v for k, v in values.items()})

    def on_train(self, record: TrainRecord) -> None:
        self._write("train", record)

    def validate(self, fitter: Fitter) -> None:
        sums, clips = fitter.evaluate(self._validation_batches())
        total = torch.tensor([*sums.tolist(), float(clips)], device=fitter.device)
        if dist.is_initialized():
            dist.all_reduce(total)
        loss, accuracy, copy_accuracy, count = total.tolist()
        if count == 0:
            return  # the dataset has no held-out video
        record = ValidationRecord(
            fitter.step, loss / count, accuracy / count, copy_accuracy / count, int(count)
        )
        self._write("validation", record)

    def _validation_batches(self) -> list[ClipBatch]:
        """This rank's share of the held-out clips; they are few and stay in memory."""
        if self._validation is None:
            config = self._spec.batches
            batches = batches_of(
                ray.train.get_dataset_shard("val"),
                ClipDataset.open(self._spec.dataset),
                config,
                batch_size=max(1, config.batch_size // self._workers),
                shuffle_seed=None,
            )
            mine = [b for i, b in enumerate(batches) if i % self._workers == self._rank]
            self._validation = mine
        return self._validation

    def checkpoint(self, fitter: Fitter) -> None:
        metrics = {"step": fitter.step, **self._last}
        if self._history is None:
            ray.train.report(metrics)
            return
        self._history.flush()
        with tempfile.TemporaryDirectory() as folder:
            torch.save(fitter.state_dict(), Path(folder) / CHECKPOINT_FILE)
            checkpoint = ray.train.Checkpoint.from_directory(folder)
            ray.train.report(metrics, checkpoint=checkpoint)
