"""One training with Ray Train: its workers, what they may survive, and what it leaves."""

import contextlib
import signal
from collections.abc import Iterator

import ray.train
from ray.train.torch import TorchTrainer
from ray.train.v2.api.config import FailureConfig, ScalingConfig

from jobs.console import ProgressDisplay
from jobs.placement import label_selector
from jobs.tracking import TrackedRun
from jobs.train_checkpoint import KeptCheckpoints, keep_best_and_last, kept_checkpoints, tidy
from jobs.train_failures import NoRetryOfFinalFailures, explain
from jobs.train_options import TrainOptions
from jobs.train_probe import ProbeSpec, probing, record_probes
from jobs.train_progress import HistoryFollower
from jobs.train_restarts import TellsWhatBrokeOff, printing
from jobs.train_worker import WorkerSpec, train_worker
from pipelines.clip_rows import ClipDataset
from pipelines.held_out import held_out_clips
from pipelines.run_folder import INITIAL_WEIGHTS_FILE
from pipelines.storage import arrow_paths

_STARTS = 30
"""How often workers that do not come up within a minute are asked for again: about half an hour."""


def run_training(
    options: TrainOptions, dataset: ClipDataset, tracked: TrackedRun, worker: dict[str, float]
) -> KeptCheckpoints:
    """Train to the last step inside `connected_ray`; `worker` is what one takes of the cluster.

    Raises `UserError` with one line for any failure.
    """
    run = options.run.resolve()
    spec = WorkerSpec(
        dataset=dataset,
        run=run,
        model=options.model,
        colorization=options.colorization,
        fit=options.fit,
        batches=options.batches,
        seed=options.seed,
        tracked=tracked,
        probe=options.probe,
        initial=None if options.init is None else run / INITIAL_WEIGHTS_FILE,
        fallback=tidy(run),
    )
    shown = options.probe.clips if options.probe.every else 0
    clips = held_out_clips(dataset, options.batches, shown) if shown else []
    probe = ProbeSpec(clips, run, options.model, options.probe.resolved(), tracked)
    (folder,), filesystem = arrow_paths([run.parent])
    fixed = options.least_workers == options.workers
    broke_off = TellsWhatBrokeOff()
    trainer = TorchTrainer(
        train_worker,
        train_loop_config={"spec": spec},
        scaling_config=ScalingConfig(
            num_workers=options.workers if fixed else (options.least_workers, options.workers),
            use_gpu="GPU" in worker,
            resources_per_worker=worker,
            label_selector=label_selector(options.label_selector) or None,
        ),
        run_config=ray.train.RunConfig(
            name=run.name,
            storage_path=folder,
            storage_filesystem=filesystem,
            failure_config=FailureConfig(
                max_failures=options.max_failures, controller_failure_limit=_STARTS
            ),
            checkpoint_config=keep_best_and_last(),
            callbacks=[NoRetryOfFinalFailures(), broke_off],  # type: ignore[list-item]  # as of Train V1
        ),
        validation_config=probing(probe),  # type: ignore[call-arg]  # typed as Train V1's
    )
    with (
        ProgressDisplay() as display,
        HistoryFollower(run, options.fit.steps, options.workers, display),
        printing(broke_off),
    ):
        try:
            with _plain_interrupt():
                result = trainer.fit()
        except ray.train.TrainingFailedError as error:
            raise explain(error, run) from error
    record_probes(run)
    return kept_checkpoints(result)


@contextlib.contextmanager
def _plain_interrupt() -> Iterator[None]:
    """Ray Train answers Ctrl-C by stopping the workers and ending with status 0: that is an interrupt."""
    before = signal.getsignal(signal.SIGINT)
    try:
        yield
    except SystemExit as stopped:
        raise KeyboardInterrupt from stopped
    finally:
        signal.signal(signal.SIGINT, before)
