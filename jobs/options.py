"""Options as typed dataclasses: cyclopts turns them into flags and help, this module into YAML."""

from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import yaml


def to_yaml(options: Any) -> str:
    """Options as the YAML that `--config` reads back; unset ones are left out."""
    return yaml.safe_dump(plain(options), sort_keys=False, allow_unicode=True)


def plain(value: Any) -> Any:
    """Dataclasses, paths and tuples as what JSON and YAML can hold; `None` entries are dropped."""
    if is_dataclass(value) and not isinstance(value, type):
        pairs = {f.name: getattr(value, f.name) for f in fields(value)}
        return {key: plain(item) for key, item in pairs.items() if item is not None}
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return str(value) if isinstance(value, Path) else value
