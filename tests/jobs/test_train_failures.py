"""Failures of workers as one line for the user, and which of them are tried again."""

import pickle
from pathlib import Path

import pytest
import torch
from ray.train import ControllerError, TrainingFailedError, WorkerGroupError
from ray.train.v2._internal.exceptions import WorkerHealthCheckFailedError
from safetensors.torch import load_file

from jobs.train_failures import (
    NoRetryOfFinalFailures,
    WorkerFailure,
    explain,
    explained_failures,
)
from model.errors import UserError
from model.fitter import Diverged
from model.objectives.colorization import ClipBatch

DEAD = WorkerHealthCheckFailedError("rank 1", RuntimeError("the actor died"))


def raised(error: Exception, run: Path) -> WorkerFailure:
    """What leaves worker 3 for this error, as it arrives in another process."""
    with (
        pytest.raises(WorkerFailure) as failure,
        explained_failures(run, 3, "8 clips of 256 px a worker"),
    ):
        raise error
    travelled = pickle.loads(pickle.dumps(failure.value))
    assert isinstance(travelled, WorkerFailure)
    return travelled


@pytest.mark.parametrize(
    ("error", "line", "final"),
    [
        (UserError("shard-00001.parquet: damaged"), "shard-00001.parquet: damaged", True),
        (
            torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 9 GiB"),
            "out of GPU memory with 8 clips of 256 px a worker: raise --fit.accumulate, or lower",
            True,
        ),
        (RuntimeError("gloo: connection\nclosed"), "RuntimeError: gloo: connection closed", False),
        (OSError(28, "No space left"), "OSError: [Errno 28] No space left", False),
    ],
)
def test_one_line_and_the_whole_trace(
    tmp_path: Path, error: Exception, line: str, final: bool
) -> None:
    failure = raised(error, tmp_path)
    assert failure.line.startswith(line)
    assert failure.final == final
    assert failure.trace.startswith("Traceback") and type(error).__name__ in failure.trace
    assert list(tmp_path.iterdir()) == []


def test_the_batch_of_a_loss_that_is_no_number_is_kept(tmp_path: Path) -> None:
    grey = torch.randint(0, 255, (2, 4, 64, 64), dtype=torch.uint8)
    target = torch.randint(0, 2, (2, 4, 16, 8, 8), dtype=torch.uint8)
    failure = raised(Diverged("loss", float("nan"), 41, ClipBatch(grey, target)), tmp_path)
    (saved,) = tmp_path.iterdir()
    assert failure.final
    assert failure.line.startswith(f"loss is nan at step 41: its batch is in {saved}; lower ")
    tensors = load_file(saved)
    assert any(torch.equal(t, grey) for t in tensors.values())
    assert any(t.shape == target.shape and torch.equal(t, target) for t in tensors.values())


def test_a_held_out_loss_that_is_no_number_is_final_and_has_no_batch(tmp_path: Path) -> None:
    failure = raised(Diverged("held-out loss", float("inf"), 40, None), tmp_path)
    assert failure.final
    assert failure.line.startswith("held-out loss is inf at step 40; lower --fit.learning-rate")
    assert list(tmp_path.iterdir()) == []


def test_only_what_may_pass_is_tried_again() -> None:
    """What a callback raises in Ray Train's controller is not retried."""
    callback = NoRetryOfFinalFailures()
    passing: dict[int, Exception] = {
        0: WorkerFailure("gloo", "trace", final=False),
        1: RuntimeError("from an upload"),
    }
    callback.after_exception(None, passing)
    final = WorkerFailure("loss is nan", "trace", final=True)
    with pytest.raises(WorkerFailure, match="loss is nan"):
        callback.after_exception(None, passing | {2: final})


@pytest.mark.parametrize(
    ("error", "line", "logged"),
    [
        (
            ControllerError(WorkerFailure("loss is nan", "Traceback: the trace", True)),
            "loss is nan",
            "Traceback: the trace",
        ),
        (
            WorkerGroupError("ranks", {1: WorkerFailure("OSError: gone", "Traceback: it", False)}),
            "OSError: gone",
            "Traceback: it",
        ),
        (
            WorkerGroupError("ranks", {0: WorkerFailure("gloo: reset", "trace", False), 1: DEAD}),
            "training lost worker 1 once more than --max-failures allows",
            "the actor died",
        ),
        (
            WorkerGroupError("ranks", {0: DEAD, 1: WorkerFailure("loss is nan", "trace", True)}),
            "loss is nan",
            "trace",
        ),
        (
            WorkerGroupError("ranks", {0: OSError("upload\nbroke off")}),
            "training stopped: OSError: upload",
            "broke off",
        ),
        (
            ControllerError(ValueError("no storage\nand more")),
            "training stopped: ValueError: no storage",
            "and more",
        ),
    ],
)
def test_the_user_gets_one_line_and_the_log_the_rest(
    tmp_path: Path, error: TrainingFailedError, line: str, logged: str
) -> None:
    told = explain(error, tmp_path)
    assert str(told).startswith(line)
    assert str(told).endswith(f" (more in {tmp_path / 'failure.log'})")
    assert "\n" not in str(told)
    assert logged in (tmp_path / "failure.log").read_text()
