"""The folder of a training run: made or taken up again, its `config.yaml`, what its history says."""

from collections.abc import Iterator
from pathlib import Path

import yaml

from jobs.options import plain
from jobs.train_options import TrainOptions
from jobs.train_resume import check_same
from model.errors import UserError
from pipelines.folder_lock import LOCK_FILE
from pipelines.run_folder import (
    CODEBOOK_FILE,
    CONFIG_FILE,
    INITIAL_WEIGHTS_FILE,
    read_config,
    read_history,
)
from pipelines.storage import Location, remove_files, remove_folder, write_bytes, write_text


def check_place(run: Location) -> None:
    """Raises `UserError` where there can be no run's folder."""
    if not run.resolve().name:
        raise UserError(f"{run}: a run needs a folder with a name")
    for folder in (run, *run.parents):
        if isinstance(folder, Path) and folder.exists() and not folder.is_dir():
            raise UserError(f"{folder}: is not a folder")


def check_folder(options: TrainOptions) -> None:
    """Raises `UserError` where this training cannot begin or go on in the run's folder, which it holds."""
    if _goes_on(options):
        check_same(options)
        read_history(options.run)  # a damaged one is refused here, not by a worker
        return
    filled = any(_held(options.run))
    if options.overwrite:
        if filled and not (options.run / CONFIG_FILE).exists():
            raise UserError(f"{options.run}: holds no run, so it is not removed")
    elif filled:
        raise UserError(
            f"{options.run}: is not empty (use --resume, --overwrite or another folder)"
        )


def prepare_folder(options: TrainOptions, initial: bytes | None) -> str:
    """Make a run of the folder, once `check_folder` has passed.

    It gets the codebook and, if there is one, the file `initial` of weights that training begins from.
    Returns the id of the tracked run that is taken up again, or "".
    """
    tracked_run_id = ""
    if _goes_on(options):
        tracked_run_id = str(read_config(options.run).get("mlflow_run_id", ""))
    else:
        if options.overwrite:
            for item in list(_held(options.run)):
                if item.is_dir():
                    remove_folder(item)
                else:
                    remove_files([item])
        save_config(options, "")  # from here on the folder holds a run, which can be resumed
    codebook = (options.dataset / CODEBOOK_FILE).read_bytes()
    for name, content in ((CODEBOOK_FILE, codebook), (INITIAL_WEIGHTS_FILE, initial)):
        if content is not None and not (options.run / name).exists():
            write_bytes(options.run / name, content)
    return tracked_run_id


def _held(run: Location) -> Iterator[Location]:
    """What lies in the folder, beside the lock of this training."""
    return (item for item in run.iterdir() if item.name != LOCK_FILE)


def _goes_on(options: TrainOptions) -> bool:
    return options.resume and (options.run / CONFIG_FILE).exists()


def save_config(options: TrainOptions, tracked_run_id: str) -> None:
    """Write the options as `config.yaml`, with the tracked run that `--resume` takes up."""
    record = plain(options) | {"mlflow_run_id": tracked_run_id}
    for flag in ("resume", "overwrite"):
        del record[flag]
    write_text(options.run / CONFIG_FILE, yaml.safe_dump(record, sort_keys=False))


def last_records(run: Location) -> dict[str, object]:
    """What the history says of the end of the training, for the closing summary."""
    facts: dict[str, object] = {}
    for record in read_history(run):
        if record["kind"] == "train":
            facts["steps"] = record["step"]
            facts["loss"] = f"{record['loss']:.4f}"
        elif record["kind"] == "probe":
            facts["J&F of the probe"] = f"{record['jf_mean']:.4f} ({record['protocol']})"
        else:
            facts["held-out loss"] = f"{record['loss']:.4f}"
            facts["held-out colour accuracy"] = (
                f"{record['accuracy']:.4f} (copying the last reference {record['copy_accuracy']:.4f})"
            )
    return facts
