"""Checkpoints of a run: written by a worker, read back by all, tidied and exported by the driver.

A checkpoint is a folder `checkpoint_STEP` with one file of tensors, numbers and strings. Ray Train keeps
the last one and the one with the lowest held-out loss, and remembers them in a file of its own.
"""

import struct
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from pickle import UnpicklingError
from typing import Any
from zipfile import BadZipFile, ZipFile

import ray.train
import torch
from ray.train import Checkpoint, CheckpointConfig, CheckpointUploadMode

from model.colorizer import Colorizer, ColorizerConfig, load_weights, save_colorizer
from model.errors import UserError
from model.fitter import Fitter
from pipelines.run_folder import BEST_WEIGHTS_FILE, WEIGHTS_FILE
from pipelines.storage import (
    Location,
    arrow_paths,
    folders_in,
    remove_files,
    remove_folder,
    write_bytes,
)

CHECKPOINT_FILE = "checkpoint.pt"
_FOLDER = "checkpoint_"
_RECORD = "checkpoint_manager_snapshot.json"
"""Where Ray Train writes down which checkpoints there are, in place, so that a kill can cut it short."""
_HELD_OUT_LOSS = "held_out_loss"
NOT_VALIDATED = sys.float_info.max
"""Worse than every loss. Not infinity: Ray Train's record is JSON, out of which that comes as null."""
_OBJECTIVES_PREFIX = "colorizer."


@dataclass(frozen=True)
class KeptCheckpoints:
    """What a training leaves."""

    last: Checkpoint
    best: Checkpoint | None
    """The one with the lowest held-out loss; None when none was validated."""


def keep_best_and_last() -> CheckpointConfig:
    """Ray Train keeps the last checkpoint whatever its score is."""
    return CheckpointConfig(
        num_to_keep=1, checkpoint_score_attribute=_HELD_OUT_LOSS, checkpoint_score_order="min"
    )


def report_checkpoint(
    fitter: Fitter, held_out_loss: float, *, writes: bool, wait: bool, probe: bool
) -> None:
    """Hand the fitter's state to Ray Train; every worker must call it, and one of them `writes`.

    The state is on this machine's disk when this returns. With `wait` it is in the run's folder as
    well, else it is copied there while training goes on. With `probe` it is then looked at
    (`jobs/train_probe.py`). `held_out_loss` is `NOT_VALIDATED` for a state that was not.
    """
    metrics = {"step": fitter.step, _HELD_OUT_LOSS: held_out_loss}
    if not writes:
        ray.train.report(metrics)
        return
    folder = tempfile.mkdtemp(prefix="huetrack-checkpoint-")  # removed when it has been copied
    torch.save(fitter.state_dict(), Path(folder) / CHECKPOINT_FILE)
    ray.train.report(
        metrics,
        checkpoint=Checkpoint.from_directory(folder),
        checkpoint_dir_name=f"{_FOLDER}{fitter.step:08d}",
        checkpoint_upload_mode=CheckpointUploadMode.SYNC if wait else CheckpointUploadMode.ASYNC,
        delete_local_checkpoint_after_upload=True,
        validation=probe,
    )


def take_up(fitter: Fitter, fallback: Checkpoint | None) -> None:
    """Continue from Ray Train's latest checkpoint, else from `fallback`, else from nothing.

    Raises `UserError` naming a file that is damaged.
    """
    checkpoint = ray.train.get_checkpoint() or fallback
    if checkpoint is not None:
        fitter.load_state_dict(_read(checkpoint))


def tidy(run: Location) -> Checkpoint | None:
    """Put in order what a killed driver left of a run that is resumed.

    Copies that Ray Train does not know of are removed. Where the driver died while Ray Train wrote down
    which checkpoints there are, or where one that is written down was removed or is damaged, that record
    is removed instead, and the newest checkpoint that is whole is returned, to go on from.
    """
    folders = {n: f for n, f in folders_in(run).items() if n.startswith(_FOLDER)}
    try:
        known = _known_names(run)
    except Exception:  # Ray has several, partly private, for a record that is missing or cut short
        known = set()
    whole = known <= folders.keys() and all(_is_whole(_checkpoint_at(folders[n])) for n in known)
    if not known or not whole:
        remove_files([run / _RECORD])
        return next(filter(_is_whole, map(_checkpoint_at, reversed(folders.values()))), None)
    for name in folders.keys() - known:
        remove_folder(folders[name])
    return None


def kept_checkpoints(result: ray.train.Result) -> KeptCheckpoints:
    """The checkpoints of a finished training. Raises `RuntimeError` when there is none."""
    if result.checkpoint is None:
        raise RuntimeError(f"{result.path}: training ended without a checkpoint")
    scored = [(m[_HELD_OUT_LOSS], c) for c, m in result.best_checkpoints or []]
    best = min((s for s in scored if s[0] < NOT_VALIDATED), key=lambda s: s[0], default=None)
    return KeptCheckpoints(result.checkpoint, None if best is None else best[1])


def export_weights(kept: KeptCheckpoints, config: ColorizerConfig, run: Location) -> list[Location]:
    """Write `model.safetensors` from the last checkpoint, and `best.safetensors` if there is a best one."""
    paths = [run / WEIGHTS_FILE]
    _export(kept.last, config, paths[0])
    if kept.best is not None:
        paths.append(run / BEST_WEIGHTS_FILE)
        _export(kept.best, config, paths[1])
    return paths


def colorizer_of(checkpoint: Checkpoint, config: ColorizerConfig) -> tuple[Colorizer, int]:
    """The network of a checkpoint, in evaluation mode on the CPU, and its step.

    Raises `UserError` naming a file that is damaged.
    """
    colorizer = Colorizer(config)
    state = _read(checkpoint)
    objective = state["objective"]
    weights = {name.removeprefix(_OBJECTIVES_PREFIX): value for name, value in objective.items()}
    load_weights(colorizer, weights, Path(checkpoint.path))
    return colorizer.eval(), int(state["step"])


def _export(checkpoint: Checkpoint, config: ColorizerConfig, path: Location) -> None:
    colorizer, step = colorizer_of(checkpoint, config)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / path.name
        save_colorizer(colorizer, file, {"step": str(step)})
        write_bytes(path, file.read_bytes())


def _read(checkpoint: Checkpoint) -> dict[str, Any]:
    """What `report_checkpoint` saved, on the CPU. Raises `UserError` naming a file that is damaged."""
    try:
        with checkpoint.as_directory() as folder:
            state: dict[str, Any] = torch.load(
                Path(folder) / CHECKPOINT_FILE, map_location="cpu", weights_only=True
            )
    except (FileNotFoundError, EOFError, RuntimeError, UnpicklingError) as error:
        raise UserError(
            f"{checkpoint.path}/{CHECKPOINT_FILE}: is damaged ({type(error).__name__}); the same command "
            "with --resume goes on from a checkpoint that is whole"
        ) from error
    return state


def _known_names(run: Location) -> set[str]:
    (path,), filesystem = arrow_paths([run.resolve()])
    result = ray.train.Result.from_path(path, filesystem)
    checkpoints = [result.checkpoint, *(c for c, _ in result.best_checkpoints or [])]
    return {Path(checkpoint.path).name for checkpoint in checkpoints if checkpoint is not None}


def _checkpoint_at(folder: Location) -> Checkpoint:
    (path,), filesystem = arrow_paths([folder.resolve()])
    return Checkpoint(path, filesystem)


def _is_whole(checkpoint: Checkpoint) -> bool:
    """Whether all bytes are those that were saved, by the checksums in the file (a ZIP archive), which
    PyTorch does not look at. Storage that fails is no damage: its `OSError` is raised."""
    try:
        with checkpoint.as_directory() as folder, ZipFile(Path(folder) / CHECKPOINT_FILE) as file:
            return file.testzip() is None
    except (FileNotFoundError, BadZipFile, EOFError, RuntimeError, ValueError, struct.error):
        return False  # what zipfile raises for headers that make no sense
