"""What can be told about a remote command before it is sent: that it is one, and that it can work there."""

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import Any

from jobs.cli import ParsedCommand, parse
from jobs.job_cluster import ClusterFacts
from jobs.tracking_uri import TrackingUri, credentials
from model.errors import UserError
from pipelines.places import named_places

_STAYS_HERE = ("submit", "jobs")
_SECRET_NAME = re.compile(r"KEY|SECRET|TOKEN|PASS|PWD|CREDENTIAL", re.IGNORECASE)
_PLAIN_NAME = re.compile(
    r"(\w+_)?(REGION|PROFILE|ENDPOINT|ENDPOINT_URL(_\w+)?|BUNDLE|FILE|DIR|PATH|HOME|NAME|USERNAME|PROXY)"
    r"|MLFLOW_(TRACKING|REGISTRY)_URI|(HUETRACK|OMP|NCCL|CUDA|TORCH|PYTORCH|PYTHON)_?\w+",
    re.IGNORECASE,
)
"""Variables whose values may stand anywhere, unless a password is in them."""
_WORD = re.compile(r"[a-z]+")
_SHORTEST_SECRET, _SHORTEST_VALUE = 6, 8
"""Shorter values, of variables whose names speak of a secret and of others, are found in any text."""
JOB_CONFIG = "job-config.yaml"
"""What the file that --config names is called on the cluster."""


@dataclass(frozen=True)
class RemoteCommand:
    """A huetrack command line that was understood here and is to run there."""

    arguments: tuple[str, ...]
    """As they run there."""
    parsed: ParsedCommand

    @property
    def name(self) -> str:
        return self.arguments[0]

    def files(self) -> dict[str, bytes]:
        """Files that have to travel with it, by name."""
        config = self.parsed.config_file
        return {} if config is None else {JOB_CONFIG: config.read_bytes()}


_TELLS_ONLY = frozenset({"--help", "-h", "--version"})


def remote_command(words: Sequence[str]) -> RemoteCommand:
    """Understand the words after `--`. Raises `UserError`, and what `jobs.cli.parse` raises."""
    arguments = list(words)
    if arguments[:1] == ["huetrack"]:
        del arguments[0]
    if not arguments:
        raise UserError(
            "nothing to run: huetrack submit --address http://HEAD:8265 -- preprocess s3://... --out s3://..."
        )
    if arguments[0] in _STAYS_HERE:
        raise UserError(f"{arguments[0]}: runs here, not as a job")
    parsed = parse(arguments, runs_here=False)
    if parsed.prints_config or not _TELLS_ONLY.isdisjoint(arguments):
        raise UserError(f"{' '.join(arguments)}: there is nothing in it to run on a cluster")
    return RemoteCommand(tuple(_with_config_there(arguments)), parsed)


def _with_config_there(arguments: Sequence[str]) -> Iterator[str]:
    follows = False
    for argument in arguments:
        if follows:
            yield JOB_CONFIG
        elif argument.startswith("--config="):
            yield f"--config={JOB_CONFIG}"
        else:
            yield argument
        follows = argument == "--config"


def refuse_places_out_of_sight(command: RemoteCommand, shared: Sequence[Path]) -> None:
    """Raise `UserError` for a local path that is in none of the `shared` folders."""
    for options in command.parsed.options:
        for name, place in named_places(options):
            if not isinstance(place, Path):
                continue
            if not place.is_absolute():
                remedy = "the job runs elsewhere; name s3://..., or an absolute path in a --shared folder"
            elif not _in_sight(place, shared):
                remedy = (
                    "the cluster does not see this machine's files; name s3://..., or say --shared FOLDER if "
                    "every node has that folder at the same path"
                )
            else:
                continue
            raise UserError(f"{command.name}, {name} {place}: {remedy}")


def refuse_tracking_that_cannot_work(
    command: RemoteCommand,
    variables: Mapping[str, str],
    facts: ClusterFacts,
    shared: Sequence[Path],
) -> None:
    """Raise `UserError` for a password in an address, and for a SQLite file that nodes cannot share."""
    for uri in _tracking_uris(command.parsed.options):
        if str(uri) != uri.secret:
            raise UserError(
                f"--tracking-uri {uri}: its password would be stored with the job; leave it out, and pass "
                "--env MLFLOW_TRACKING_USERNAME --env MLFLOW_TRACKING_PASSWORD"
            )
    passed = [TrackingUri(variables.get("MLFLOW_TRACKING_URI", ""))]
    for uri in (*_tracking_uris(command.parsed.options), *passed):
        if not uri.is_sqlite:
            continue
        remedy = "name an MLflow server, http://HOST:5000"
        if facts.nodes > 1:
            raise UserError(
                f"tracking at {uri}: {facts.nodes} nodes cannot share a SQLite file; {remedy}"
            )
        file = Path(uri.secret.removeprefix("sqlite:///"))
        if not _in_sight(file, shared):
            raise UserError(f"tracking at {uri}: the cluster does not see this file; {remedy}")


def _in_sight(place: Path, shared: Sequence[Path]) -> bool:
    path = Path(os.path.normpath(place))
    return any(path.is_relative_to(os.path.normpath(folder)) for folder in shared)


def _tracking_uris(options: Sequence[Any]) -> Iterator[TrackingUri]:
    for record in options:
        for field in fields(record):
            value = getattr(record, field.name)
            if isinstance(value, TrackingUri):
                yield value
            elif is_dataclass(value):
                yield from _tracking_uris([value])


def secret_values(variables: Mapping[str, str], token: str | None) -> dict[str, str]:
    """Values that nobody may read, by the name of their variable; of an address its password.

    Whether a value is a secret does not show in every name, so all are but those of plain names, and
    single words of lower-case letters, which code is full of.
    """
    known = {**variables, **({"RAY_AUTH_TOKEN": token} if token else {})}
    return {name: part for name, value in known.items() if (part := _secret_part(name, value))}


def _secret_part(name: str, value: str) -> str | None:
    user, colon, password = credentials(value).partition(":")
    login = password if colon else user
    if len(login) >= _SHORTEST_SECRET:
        return login
    if _PLAIN_NAME.fullmatch(name):
        return None
    if _SECRET_NAME.search(name):
        return value if len(value) >= _SHORTEST_SECRET else None
    return value if len(value) >= _SHORTEST_VALUE and not _WORD.fullmatch(value) else None


def refuse_secrets(texts: Sequence[str], secrets: Mapping[str, str]) -> None:
    """Raise `UserError`, which does not show it, where a secret stands in a text."""
    for text in texts:
        for name, value in secrets.items():
            if value in text:
                raise UserError(
                    f"the value of {name} stands in the command or a tag, where everybody who sees the job "
                    f"could read it; take it out, and pass --env {name}"
                )
