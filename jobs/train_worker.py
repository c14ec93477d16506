"""What each Ray Train worker runs: the training loop, fed with its share of the clips, reporting."""

import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from itertools import islice
from typing import Any

import ray.train
import ray.train.torch
import torch
import torch.distributed as dist

from jobs.cluster import available_cpus
from jobs.metrics import TrainingFigures
from jobs.probe_options import ProbeConfig
from jobs.system_metrics import worker_system_metrics
from jobs.tracking import TrackedRun, Tracker
from jobs.train_checkpoint import NOT_VALIDATED, report_checkpoint, take_up
from jobs.train_failures import explained_failures
from model.colorizer import Colorizer, ColorizerConfig
from model.fit import TrainRecord, ValidationRecord, fit
from model.fitter import Diverged, FitConfig, Fitter
from model.objectives.colorization import ClipBatch, Colorization, ColorizationConfig
from model.one_hot import PackedClipBatch
from pipelines.batches import training_batches, validation_batches
from pipelines.clip_order import share_of_batch
from pipelines.clip_rows import BatchConfig, ClipDataset
from pipelines.models import read_colorizer
from pipelines.run_folder import History
from pipelines.storage import Location


@dataclass(frozen=True)
class WorkerSpec:
    """Everything a worker needs to know."""

    dataset: ClipDataset
    run: Location
    model: ColorizerConfig
    colorization: ColorizationConfig
    fit: FitConfig
    batches: BatchConfig
    seed: int
    tracked: TrackedRun
    probe: ProbeConfig
    initial: Location | None
    """Weights to begin from."""
    fallback: ray.train.Checkpoint | None
    """Where to go on from when Ray Train knows of no checkpoint."""


def train_worker(loop_config: dict[str, Any]) -> None:
    """Entry point on every worker; `loop_config["spec"]` is a `WorkerSpec`. Raises `WorkerFailure`."""
    spec: WorkerSpec = loop_config["spec"]
    context = ray.train.get_context()
    rank, workers = context.get_world_rank(), context.get_world_size()
    clips = len(share_of_batch(spec.batches.batch_size, rank, workers))
    batch = f"{clips} clips of {spec.batches.resolution_px} px a worker"
    with explained_failures(spec.run, rank, batch):
        _train(spec, loss_weight=clips * workers / spec.batches.batch_size)


def _train(spec: WorkerSpec, loss_weight: float) -> None:
    context = ray.train.get_context()
    cores = max(1, available_cpus() // context.get_local_world_size())
    if not torch.cuda.is_available():
        torch.set_num_threads(cores)
    torch.manual_seed(spec.seed)
    device = ray.train.torch.get_device()
    colorizer = Colorizer(spec.model) if spec.initial is None else read_colorizer(spec.initial)
    objective = Colorization(colorizer, spec.colorization)
    fitter = Fitter(objective, spec.fit, device, ray.train.torch.prepare_model, loss_weight)
    take_up(fitter, spec.fallback)
    # A checkpoint at the very end of an epoch was written before it was counted.
    fitter.epoch = fitter.step // spec.batches.batches_per_epoch
    packed = training_batches(
        spec.dataset,
        spec.batches,
        seed=spec.seed,
        first=fitter.step,
        rank=context.get_world_rank(),
        workers=context.get_world_size(),
        threads=cores,
    )
    batches = (batch.to(device) for batch in packed)

    def epoch(index: int) -> Iterable[ClipBatch]:
        return islice(batches, (index + 1) * spec.batches.batches_per_epoch - fitter.step)

    with worker_system_metrics(spec.tracked):
        fit(fitter, epoch, WorkerReporter(spec, fitter))


class WorkerReporter:
    """Sends records to MLflow and `history.jsonl`, validates, and hands checkpoints to Ray Train.

    Only rank 0 writes; every rank takes part in records, validation and checkpoints, which are barriers.
    """

    def __init__(self, spec: WorkerSpec, fitter: Fitter) -> None:
        context = ray.train.get_context()
        self._spec = spec
        self._fitter = fitter
        self._rank = context.get_world_rank()
        self._workers = context.get_world_size()
        self._tracker = Tracker(spec.tracked)
        self._validated: ValidationRecord | None = None
        self._validation: list[PackedClipBatch] | None = None
        self._saved_step = self._looked_step = fitter.step
        self._leaving: set[str] = set()
        # A resumed run repeats the steps after its checkpoint, and what was logged of them.
        self._history = History(spec.run, fitter.step) if self._rank == 0 else None
        self._figures = TrainingFigures(spec.run.name) if self._rank == 0 else None

    def _write(self, kind: str, record: TrainRecord | ValidationRecord, **also: float) -> None:
        if self._history is None:
            return
        values = {k: v for k, v in asdict(record).items() if k != "step"} | also
        self._history.append({"kind": kind, "step": record.step, **values})
        self._tracker.metrics({f"{kind}/{k}": v for k, v in values.items()}, record.step)

    def on_train(self, record: TrainRecord) -> None:
        together = self._over_workers(record)
        self._write("train", together, workers=self._workers)
        if self._figures is not None:
            self._figures(together)
        if self._is_newly_preempted():
            self._save(wait=True)

    def _over_workers(self, record: TrainRecord) -> TrainRecord:
        """The record of all workers together: means over clips, the mean share of waiting, and the sum of
        images/s."""
        names = ("loss", "accuracy", "copy_accuracy", "data_wait_share", "images_per_s")
        values = torch.tensor([getattr(record, n) for n in names], device=self._fitter.device)
        if dist.is_initialized():
            values[:3] *= self._fitter.loss_weight
            dist.all_reduce(values)
            values[:-1] /= self._workers
        return replace(record, **dict(zip(names, values.tolist(), strict=True)))

    def _is_newly_preempted(self) -> bool:
        """Whether a machine has been given notice since the last call; all workers hear the same."""
        notice = ray.train.get_preemption_info()
        nodes = set(notice.preempted_node_ids) if notice is not None else set()
        new = nodes - self._leaving
        self._leaving |= nodes
        return bool(new)

    def validate(self, fitter: Fitter) -> None:
        batches = (batch.to(fitter.device) for batch in self._validation_batches())
        sums, clips = fitter.evaluate(batches)
        total = torch.tensor([*sums.tolist(), float(clips)], device=fitter.device)
        if dist.is_initialized():
            dist.all_reduce(total)
        loss, accuracy, copy_accuracy, count = total.tolist()
        if count == 0:
            return  # the dataset has no held-out video
        if not math.isfinite(loss):
            raise Diverged("held-out loss", loss, fitter.step, None)
        self._validated = ValidationRecord(
            fitter.step, loss / count, accuracy / count, copy_accuracy / count, int(count)
        )
        self._write("validation", self._validated)

    def _validation_batches(self) -> list[PackedClipBatch]:
        """This rank's share of the held-out clips; they are few and stay in memory, packed."""
        if self._validation is None:
            spec = self._spec
            batches = validation_batches(
                spec.dataset, spec.batches, rank=self._rank, workers=self._workers
            )
            self._validation = list(batches)
        return self._validation

    def checkpoint(self, fitter: Fitter) -> None:
        self._save(wait=False)

    def _save(self, *, wait: bool) -> None:
        step = self._fitter.step
        if step == self._saved_step:
            return
        last = step == self._spec.fit.steps
        # Of a machine that leaves nothing is asked but the checkpoint.
        probe = not wait and self._spec.probe.is_due(self._looked_step, step, last=last)
        if probe:
            self._looked_step = step
            if self._validated_loss(step) is None:
                self.validate(
                    self._fitter
                )  # so that scores and losses of a step are there together
        self._saved_step = step
        if self._history is not None:
            self._history.flush()
        loss = self._validated_loss(step)
        report_checkpoint(
            self._fitter,
            NOT_VALIDATED if loss is None else loss,
            writes=self._rank == 0,
            wait=wait,
            probe=probe,
        )

    def _validated_loss(self, step: int) -> float | None:
        """The held-out loss of that step, if it was the last one to be validated."""
        validated = self._validated
        return validated.loss if validated is not None and validated.step == step else None
