"""Names of the files in a training run's folder."""

import json
from pathlib import Path
from typing import Any

from model.errors import UserError

CONFIG_FILE = "config.yaml"
WEIGHTS_FILE = "model.safetensors"
HISTORY_FILE = "history.jsonl"
CODEBOOK_FILE = "codebook.json"


def weights_of(path: Path) -> Path:
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


def read_history(run: Path) -> list[dict[str, Any]]:
    """Records of `history.jsonl`, oldest first; a line that is being written is left out."""
    path = run / HISTORY_FILE
    if not path.exists():
        return []
    lines = path.read_text(encoding="utf-8").split("\n")[:-1]
    return [json.loads(line) for line in lines]
