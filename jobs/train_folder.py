"""The folder of a training run: made or taken up again, its `config.yaml`, what its history says."""

import yaml

from jobs.options import plain
from jobs.train_options import TrainOptions
from model.errors import UserError
from pipelines.run_folder import CONFIG_FILE, read_history
from pipelines.storage import Location, remove_folder, write_text


def prepare_folder(options: TrainOptions) -> str:
    """Make the run's folder; returns the id of the tracked run that is taken up again, or ""."""
    if not options.run.resolve().name:
        raise UserError(f"{options.run}: a run needs a folder with a name")
    config_file = options.run / CONFIG_FILE
    if options.resume and config_file.exists():
        before = yaml.safe_load(config_file.read_text(encoding="utf-8"))
        now = plain(options)
        changed = [
            key
            for key in ("model", "colorization", "batches", "seed")
            if before.get(key) != now[key]
        ]
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
    save_config(options, "")  # from here on the folder holds a run, which can be resumed
    return ""


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
