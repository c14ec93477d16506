"""What the nodes share, in the hub: S3, and MLflow's server over PostgreSQL with its artifacts on S3."""

import contextlib
import os
import shutil
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from benchmarks.bed.network import Network, standing_in
from benchmarks.bed.processes import Server

S3_PORT, MLFLOW_PORT = 9000, 5000
S3_LOG = "s3-requests.log"
_SECRET = "bed-secret-key-7c1e"
_WITHIN_S = 300.0
ARTIFACTS = "mlflow"
"""The bucket of MLflow's artifacts."""
_DEBIAN_POSTGRESQL = "/usr/lib/postgresql"


@dataclass(frozen=True)
class Services:
    """Servers that run, and how they are reached."""

    s3: Server
    mlflow: Server | None
    s3_sign: Path
    """S3 answers 503 while this file is there."""
    variables: Mapping[str, str]
    """AWS_* and MLFLOW_*."""

    def wait_for_mlflow(self) -> None:
        """Return when it answers us, who stand in the hub."""
        if self.mlflow is not None:
            health = f"{self.variables['MLFLOW_TRACKING_URI']}/health"
            self.mlflow.wait_until(lambda: _answers(health), _WITHIN_S)


def why_no_postgresql() -> str | None:
    """Why MLflow's database cannot be had here; None when it can."""
    if _postgresql("initdb") is None:
        return "there is no PostgreSQL (Debian: postgresql)"
    return None


@contextlib.contextmanager
def services(network: Network, folder: Path, tracking: bool) -> Iterator[Services]:
    """Start them; `tracking` says whether there is an MLflow."""
    address = network.hub.address
    s3_address = f"http://{address}:{S3_PORT}"
    variables = {
        "AWS_ENDPOINT_URL": s3_address,
        "AWS_ACCESS_KEY_ID": "bed-access-key",
        "AWS_SECRET_ACCESS_KEY": _SECRET,
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
    }
    environment = {n: v for n, v in os.environ.items() if not n.startswith(("AWS_", "MLFLOW_"))}
    environment |= variables
    sign = folder / "s3-is-down"
    words = ["-m", "benchmarks.bed.s3_server", "--host", address, "--port", str(S3_PORT)]
    words += ["--down-while", str(sign), "--log", str(folder / S3_LOG)]
    words = network.command(network.hub, [sys.executable, *words])
    s3 = Server(words, environment, folder / "s3.log")
    mlflow = None
    with contextlib.ExitStack() as stack:
        stack.callback(s3.kill)
        s3.start()
        if tracking:
            database = stack.enter_context(_postgresql_server(folder))
            mlflow = Server(_mlflow(network, database), environment, folder / "mlflow.log")
            stack.callback(mlflow.kill)
            mlflow.start()
            variables["MLFLOW_TRACKING_URI"] = f"http://{address}:{MLFLOW_PORT}"
            variables["MLFLOW_HTTP_REQUEST_TIMEOUT"] = "60"  # it shares its cores with the nodes
        with standing_in(network.hub):
            s3.wait_until(lambda: _answers(f"{s3_address}/moto-api/"), _WITHIN_S)
            running = Services(s3, mlflow, sign, variables)
            running.wait_for_mlflow()
        yield running


def _mlflow(network: Network, database: str) -> list[str]:
    words = ["-m", "mlflow", "server", "--host", network.hub.address, "--port", str(MLFLOW_PORT)]
    words += ["--backend-store-uri", database, "--artifacts-destination", f"s3://{ARTIFACTS}"]
    words += ["--allowed-hosts", f"{network.hub.address}:{MLFLOW_PORT}", "--workers", "1"]
    return network.command(network.hub, [sys.executable, *words])


@contextlib.contextmanager
def _postgresql_server(folder: Path) -> Iterator[str]:
    """A database of its own on a Unix socket; yields its address for SQLAlchemy. It will not run as root."""
    place = folder / "postgresql"
    place.mkdir(mode=0o700)
    shutil.chown(place, "postgres", "postgres")
    as_postgres = ["runuser", "-u", "postgres", "--"]
    data = str(place / "data")
    made = [*as_postgres, str(_postgresql("initdb")), "-D", data, "-A", "trust", "--no-sync"]
    subprocess.run(made, check=True, capture_output=True, cwd="/")
    words = [*as_postgres, str(_postgresql("postgres")), "-D", data, "-k", str(place)]
    words += ["-c", "listen_addresses=", "-c", "fsync=off"]
    server = Server(words, os.environ, folder / "postgresql.log")
    server.start()
    try:
        server.wait_until(lambda: (place / ".s.PGSQL.5432").exists(), _WITHIN_S)
        yield f"postgresql+psycopg://postgres@/postgres?host={place}"
    finally:
        server.kill()


def _postgresql(program: str) -> Path | None:
    """Debian keeps them out of the path, by version."""
    found = sorted(Path(_DEBIAN_POSTGRESQL).glob(f"*/bin/{program}"))
    return found[-1] if found else None


def _answers(url: str) -> bool:
    try:
        urllib.request.urlopen(url, timeout=10).close()
    except urllib.error.HTTPError:
        return True
    except OSError:
        return False
    return True
