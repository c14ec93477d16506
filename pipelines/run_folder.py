"""The files in a training run's folder: their names, how they are read, the history of the training."""

import json
import time
from typing import Any

import yaml

from model.errors import UserError
from pipelines.codebook import Codebook, load_codebook
from pipelines.s3_path import S3Path
from pipelines.storage import AnyLocation, Location, write_text

CONFIG_FILE = "config.yaml"
WEIGHTS_FILE = "model.safetensors"
BEST_WEIGHTS_FILE = "best.safetensors"
INITIAL_WEIGHTS_FILE = "initial.safetensors"
"""Where the training began from other weights: a copy of them."""
FAILURE_FILE = "failure.log"
HISTORY_FILE = "history.jsonl"
CODEBOOK_FILE = "codebook.json"
UPLOAD_EVERY_S = 10.0


def weights_of(path: AnyLocation) -> AnyLocation:
    """The weights of a run folder, or the `.safetensors` file itself.

    Raises `UserError` naming what is missing.
    """
    if path.is_dir():
        weights = path / WEIGHTS_FILE
        if not weights.is_file():
            raise UserError(f"{path}: holds no {WEIGHTS_FILE} (is the training finished?)")
        return weights
    if path.suffix == ".safetensors":
        return path
    raise UserError(f"{path}: neither a run folder nor a .safetensors file")


def read_config(run: Location) -> dict[str, Any]:
    """What `config.yaml` holds. Raises `UserError` naming what is missing or damaged."""
    path = _in_run(run, CONFIG_FILE)
    try:
        record = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: not YAML ({' '.join(str(error).split())})") from error
    if not isinstance(record, dict):
        raise UserError(f"{path}: not the configuration of a run")
    return record


def read_codebook(run: Location) -> Codebook:
    """What the run was trained with. Raises `UserError` naming what is missing or damaged."""
    return load_codebook(_in_run(run, CODEBOOK_FILE))


def _in_run(run: Location, name: str) -> Location:
    if run.is_file():
        raise UserError(f"{run}: is a file, not a run folder (try {run.parent})")
    if not (run / name).is_file():
        raise UserError(f"{run}: holds no {name} (is it a run folder?)")
    return run / name


class History:
    """Writes `history.jsonl`, one record a line; no other process may write it.

    A file grows with every record. An object cannot grow: it is replaced every ten seconds at most,
    and by `flush`, which belongs before every checkpoint.
    """

    def __init__(self, run: Location, last_step: int) -> None:
        """Keep the records up to `last_step` of a run that goes on."""
        self._path = run / HISTORY_FILE
        kept = [record for record in read_history(run) if record["step"] <= last_step]
        self._lines = [_line(record) for record in kept]
        self._uploaded_s = time.monotonic()
        self._changed = False
        if kept or self._path.exists():
            write_text(self._path, "".join(self._lines))

    def append(self, record: dict[str, Any]) -> None:
        if not isinstance(self._path, S3Path):
            with self._path.open("a", encoding="utf-8") as file:
                file.write(_line(record))
            return
        self._lines.append(_line(record))
        self._changed = True
        if time.monotonic() - self._uploaded_s >= UPLOAD_EVERY_S:
            self.flush()

    def flush(self) -> None:
        """Upload what is not yet on S3."""
        if self._changed:
            write_text(self._path, "".join(self._lines))
            self._uploaded_s, self._changed = time.monotonic(), False


def _line(record: dict[str, Any]) -> str:
    return json.dumps(record) + "\n"


def read_history(run: Location) -> list[dict[str, Any]]:
    """Records of `history.jsonl`, oldest first; a line that is being written is left out.

    Raises `UserError` naming a line that is no record.
    """
    path = run / HISTORY_FILE
    if not path.exists():
        return []
    records = []
    for number, line in enumerate(path.read_bytes().split(b"\n")[:-1], start=1):
        try:
            record = json.loads(line)
        except ValueError:  # not JSON, or not even text
            record = None
        if not isinstance(record, dict) or not {"kind", "step"} <= record.keys():
            raise UserError(f"{path}: line {number} is damaged (take it out to go on without it)")
        records.append(record)
    return records
