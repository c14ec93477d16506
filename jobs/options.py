"""Options as typed dataclasses: cyclopts turns them into flags and help, this module into YAML."""

from collections.abc import Sequence
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Annotated, Any

import yaml
from cyclopts import Parameter, Token

from jobs.tracking_uri import TrackingUri
from model.errors import UserError
from pipelines.s3_path import S3Path
from pipelines.storage import Location, location


def _to_location(_: Any, tokens: Sequence[Token]) -> Location:
    return location(tokens[0].value)


def _to_local(_: Any, tokens: Sequence[Token]) -> Path:
    place = location(tokens[0].value)
    if not isinstance(place, Path):
        raise UserError(f"{place}: must be a local folder")
    return place


LocalOption = Annotated[Path, Parameter(converter=_to_local, n_tokens=1)]
LocationOption = Annotated[
    Path | S3Path, Parameter(converter=_to_location, n_tokens=1, accepts_keys=False)
]
"""A folder or file, local or `s3://bucket/key`. (`pathlib` would make `s3:/bucket/key` of it.)"""


def to_yaml(options: Any) -> str:
    """Options as the YAML that `--config` reads back; unset ones are left out."""
    return yaml.safe_dump(plain(options), sort_keys=False, allow_unicode=True)


def plain(value: Any) -> Any:
    """Dataclasses, paths, addresses and tuples as what JSON and YAML can hold; `None` entries are dropped."""
    if isinstance(value, Path | S3Path | TrackingUri):
        return str(value)
    if is_dataclass(value) and not isinstance(value, type):
        pairs = {f.name: getattr(value, f.name) for f in fields(value)}
        return {key: plain(item) for key, item in pairs.items() if item is not None}
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return value


def flat(record: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """{"a": {"b": 1}} -> {"a.b": 1}, as flags and MLflow name settings."""
    named: dict[str, Any] = {}
    for key, value in record.items():
        if isinstance(value, dict):
            named |= flat(value, f"{prefix}{key}.")
        else:
            named[f"{prefix}{key}"] = value
    return named
