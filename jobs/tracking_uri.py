"""The address of an MLflow store: where it comes from, how it is shown, what it cannot be used for."""

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter, Token

from model.errors import UserError
from pipelines.s3_path import S3Path
from pipelines.storage import Location

# From the first sign of an authority to the last @ of the word: a password may hold a raw slash or @.
_CREDENTIALS = re.compile(r"(?<=://)[^/\s]\S*@")


def without_credentials(text: str) -> str:
    """The text with `user:password@` taken out of every address in it."""
    return _CREDENTIALS.sub("", text)


def credentials(address: str) -> str:
    """`user:password` of an address, or what stands in its place; "" without it."""
    found = _CREDENTIALS.search(address)
    return found[0].removesuffix("@") if found else ""


@dataclass(frozen=True, repr=False)
class TrackingUri:
    """An http(s) server, `sqlite:///FILE`, or "" for no tracking.

    As text, and so wherever it is printed, logged or stored, it has no user name and no password.
    """

    secret: str
    """The whole address; only MLflow's client may have it."""

    def __str__(self) -> str:
        return without_credentials(self.secret)

    def __repr__(self) -> str:
        return f"TrackingUri({self})"

    def __bool__(self) -> bool:
        return self.secret != ""

    @property
    def is_sqlite(self) -> bool:
        return self.secret.startswith("sqlite:")

    @property
    def artifacts(self) -> str | None:
        """Where a new experiment keeps its artifacts: beside a SQLite file, since several runs may share it.
        None leaves it to the server."""
        if not self.is_sqlite:
            return None
        file = Path(self.secret.removeprefix("sqlite:///").partition("?")[0])
        return (file.resolve().parent / "mlartifacts").as_uri()


def _to_uri(_: Any, tokens: Sequence[Token]) -> TrackingUri:
    return TrackingUri(tokens[0].value)


TrackingUriOption = Annotated[
    TrackingUri, Parameter(converter=_to_uri, n_tokens=1, accepts_keys=False)
]


def configured_uri() -> TrackingUri:
    """`MLFLOW_TRACKING_URI`, or "" without it."""
    return TrackingUri(os.environ.get("MLFLOW_TRACKING_URI", ""))


def default_uri(run_folder: Location) -> TrackingUri:
    """`MLFLOW_TRACKING_URI`, or a SQLite file in the run's folder; "" for one on S3, which holds none."""
    configured = configured_uri()
    if configured or isinstance(run_folder, S3Path):
        return configured
    return TrackingUri(f"sqlite:///{(run_folder / 'mlflow.db').resolve()}")


def refuse_shared_sqlite(uri: TrackingUri) -> None:
    """Raise `UserError` where several nodes of the connected Ray cluster would write one SQLite file."""
    import ray

    nodes = sum(1 for node in ray.nodes() if node["Alive"])
    if uri.is_sqlite and nodes > 1:
        raise UserError(
            f"tracking at {uri}: the {nodes} nodes of this Ray cluster cannot share a SQLite file; "
            "name an MLflow server with --tracking-uri or MLFLOW_TRACKING_URI"
        )
