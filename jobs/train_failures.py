"""What goes wrong in a worker, as one line for the user: caught there, told by the driver.

Ray Train starts all workers again after a failure. That mends a lost machine, and not a loss that is no
number, a batch that does not fit into memory or a damaged shard: those end the training at once.
"""

import contextlib
import traceback
from collections.abc import Iterator
from dataclasses import fields
from typing import Any

import ray.util
from ray.train import ControllerError, TrainingFailedError, UserCallback, WorkerGroupError
from ray.train.v2._internal.exceptions import (
    WorkerHealthCheckFailedError,
    WorkerHealthCheckTimeoutError,
)
from safetensors.torch import save
from torch import OutOfMemoryError

from model.errors import UserError
from model.fitter import Diverged
from model.objectives.colorization import ClipBatch
from pipelines.run_folder import FAILURE_FILE
from pipelines.storage import Location, write_bytes, write_text

DIED = (WorkerHealthCheckFailedError, WorkerHealthCheckTimeoutError)
"""What stands for a worker that is gone."""


class WorkerFailure(Exception):
    """What leaves a worker: one line for the user, and the traceback as text.

    `final` says that another try would end in the same way, `node` where it was.
    """

    def __init__(self, line: str, trace: str, final: bool, node: str = "") -> None:
        super().__init__(line, trace, final, node)  # so that it can travel between processes
        self.line = line
        self.trace = trace
        self.final = final
        self.node = node

    def __str__(self) -> str:
        return f"{self.line}\n{self.trace}"


@contextlib.contextmanager
def explained_failures(run: Location, rank: int, batch: str) -> Iterator[None]:
    """Turn every exception of the body into a `WorkerFailure`. `batch` says how large a batch is."""
    try:
        yield
    except Diverged as error:
        kept = ""
        if error.batch is not None:
            kept = f": its batch is in {_save_batch(error.step, error.batch, run, rank)}"
        remedy = "lower --fit.learning-rate, then --resume goes on from the last checkpoint"
        raise _failure(f"{error}{kept}; {remedy}", final=True) from error
    except OutOfMemoryError as error:
        remedy = "raise --fit.accumulate, or lower --batches.batch-size or --batches.resolution-px"
        raise _failure(f"out of GPU memory with {batch}: {remedy}", final=True) from error
    except UserError as error:
        raise _failure(str(error), final=True) from error
    except Exception as error:
        raise _failure(f"{type(error).__name__}: {error}", final=False) from error


def _save_batch(step: int, batch: ClipBatch, run: Location, rank: int) -> Location:
    """Write the batch on which the training diverged as safetensors, and return where."""
    path = run / f"diverged-step-{step:08d}-worker-{rank}.safetensors"
    tensors = {f.name: getattr(batch, f.name).cpu() for f in fields(batch)}
    write_bytes(path, save(tensors, metadata={"step": str(step)}))
    return path


class NoRetryOfFinalFailures(UserCallback):
    """Runs in Ray Train's controller: what a callback raises there ends the training."""

    def after_exception(self, run_context: Any, worker_exceptions: dict[int, Exception]) -> None:
        for error in worker_exceptions.values():
            if isinstance(error, WorkerFailure) and error.final:
                raise error


def explain(error: TrainingFailedError, run: Location) -> UserError:
    """The line for the user; everything that is known of the failure goes to `failure.log`."""
    causes: list[Exception] = [error]
    if isinstance(error, ControllerError):
        causes = [error.controller_failure]
    elif isinstance(error, WorkerGroupError):
        causes = list(error.worker_failures.values())
    known = [str(cause) for cause in (error, *causes) if str(cause)]
    write_text(run / FAILURE_FILE, "\n\n".join(known) + "\n")
    return UserError(f"{_line(error, causes)} (more in {run / FAILURE_FILE})")


def _line(error: TrainingFailedError, causes: list[Exception]) -> str:
    """A worker's own line, unless it is about another one that died and could not tell."""
    told = sorted((c for c in causes if isinstance(c, WorkerFailure)), key=lambda c: not c.final)
    if told and told[0].final:
        return told[0].line
    if isinstance(error, WorkerGroupError):
        dead = {r: c for r, c in error.worker_failures.items() if isinstance(c, DIED)}
        if dead:
            return (
                f"training lost worker {' and '.join(map(str, sorted(dead)))} once more than "
                "--max-failures allows (killed, out of memory, or its machine gone); --resume goes on "
                "from the last checkpoint"
            )
    if told:
        return told[0].line
    first = next(iter(str(causes[0]).splitlines()), "")
    return f"training stopped: {type(causes[0]).__name__}: {first}"


def _failure(line: str, *, final: bool) -> WorkerFailure:
    node = ray.util.get_node_ip_address()
    return WorkerFailure(" ".join(line.split()), traceback.format_exc(), final, node)
