"""Network, services and nodes together, and the commands that are run on them."""

import contextlib
import hashlib
import json
import os
import re
import secrets
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import boto3

from benchmarks.bed.network import Network, network, standing_in
from benchmarks.bed.nodes import Node, NodeSettings, Supervisor
from benchmarks.bed.services import ARTIFACTS, S3_LOG, Services, services
from jobs.job_cluster import JobCluster
from model.errors import UserError

BUCKET = "lab"
"""The bucket of what the commands read and write."""
_NODES_WITHIN_S = 300.0
_REPOSITORY = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Ended:
    """A command that has ended."""

    status: int
    output: str
    """Standard output and standard error."""
    seconds: float


@dataclass(frozen=True)
class Request:
    """One line of the S3 server's log."""

    client: str
    status: str
    method: str
    path: str


@dataclass(frozen=True)
class Bed:
    """A cluster that runs. `head` takes jobs; `workers` are its other nodes."""

    network: Network
    services: Services
    head: Node
    workers: tuple[Node, ...]
    folder: Path
    token: str = field(repr=False)
    client: Any = field(repr=False)
    """For S3; it works inside of `s3()`."""

    @property
    def environment(self) -> dict[str, str]:
        """Of somebody who submits."""
        kept = {
            n: v for n, v in os.environ.items() if not n.startswith(("RAY_", "AWS_", "MLFLOW_"))
        }
        return kept | {
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN": self.token,
            "RAY_API_SERVER_ADDRESS": self.head.dashboard,
            "PYTHONPATH": str(_REPOSITORY),
            **self.services.variables,
        }

    def start(self, arguments: Sequence[str], log: Path) -> "subprocess.Popen[bytes]":
        """Start `huetrack ARGUMENTS` beside the cluster, its output going to `log`."""
        words = [sys.executable, "-m", "jobs.cli", *arguments]
        with log.open("ab") as output:
            return subprocess.Popen(
                self.network.command(self.network.hub, words),
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=_REPOSITORY,
            )

    def huetrack(self, *arguments: object, within_s: float = 600.0) -> Ended:
        """Run `huetrack ARGUMENTS` there to its end."""
        log = self.folder / f"command-{secrets.token_hex(4)}.log"
        started_s = time.monotonic()
        process = self.start([str(argument) for argument in arguments], log)
        try:
            status = process.wait(within_s)
        finally:
            process.kill()
        return Ended(status, log.read_text(errors="replace"), time.monotonic() - started_s)

    def submit(self, *command: object, within_s: float = 600.0) -> Ended:
        """`huetrack submit` a command, with the variables that it needs."""
        return self.huetrack(*self.submission(), *command, within_s=within_s)

    def submission(self) -> list[str]:
        """The words before the command."""
        given = ["--env", "AWS_*"]
        if "MLFLOW_TRACKING_URI" in self.services.variables:
            given += ["--env", "MLFLOW_*"]
        return ["submit", *given, "--"]

    @property
    def jobs(self) -> JobCluster:
        """To be used while `standing_in` the hub."""
        return JobCluster(self.head.dashboard)

    def nodes_of_actors(self, names: str, alive: bool) -> Counter[str]:
        """Address of a node -> how many actors it has, or had, whose class matches the expression `names`."""
        addresses = {node["node_id"]: node["node_ip"] for node in self._listed("nodes")}
        return Counter(
            addresses[actor["node_id"]]
            for actor in self._listed("actors")
            if re.search(names, actor["class_name"])
            and actor["node_id"] in addresses
            and (actor["state"] == "ALIVE" or not alive)
        )

    def _listed(self, kind: str) -> list[dict[str, Any]]:
        request = urllib.request.Request(
            f"{self.head.dashboard}/api/v0/{kind}?limit=10000",
            headers={"Authorization": f"Bearer {self.token}"},
        )
        with standing_in(self.network.hub):
            try:
                return self._answer(request)
            except OSError:  # a busy dashboard may let go of a request
                return self._answer(request)

    @staticmethod
    def _answer(request: urllib.request.Request) -> list[dict[str, Any]]:
        with urllib.request.urlopen(request, timeout=60) as answer:
            found: list[dict[str, Any]] = json.load(answer)["data"]["result"]["result"]
        return found

    def objects(self, prefix: str) -> dict[str, str]:
        """Key below `prefix` -> digest of the content, of everything that is on S3 there."""
        found = {}
        with self.s3() as client:
            pages = client.get_paginator("list_objects_v2").paginate(Bucket=BUCKET, Prefix=prefix)
            for page in pages:
                for record in page.get("Contents", []):
                    content = client.get_object(Bucket=BUCKET, Key=record["Key"])["Body"].read()
                    key = record["Key"].removeprefix(prefix).lstrip("/")
                    found[key] = hashlib.sha256(content).hexdigest()
        return found

    def upload(self, folder: Path, prefix: str) -> None:
        """Put all files of a folder on S3."""
        with self.s3() as client:
            for path in sorted(path for path in folder.rglob("*") if path.is_file()):
                key = f"{prefix}/{path.relative_to(folder)}"
                client.put_object(Bucket=BUCKET, Key=key, Body=path.read_bytes())

    def requests(self) -> list[Request]:
        """Everything that S3 was asked for until now."""
        lines = (self.folder / S3_LOG).read_text().splitlines()
        return [Request(*line.split(" ", 3)) for line in lines if line.count(" ") >= 3]

    @contextlib.contextmanager
    def s3(self) -> Iterator[Any]:
        """A client for the body of the `with`."""
        with standing_in(self.network.hub):
            yield self.client

    def wait_for_tracking(self) -> None:
        """Return when MLflow answers."""
        with standing_in(self.network.hub):
            self.services.wait_for_mlflow()

    def wait_for_nodes(self, count: int) -> None:
        """Return when so many nodes are there. Raises `RuntimeError` with the logs when they do not come."""
        deadline_s = time.monotonic() + _NODES_WITHIN_S
        while time.monotonic() < deadline_s:
            with standing_in(self.network.hub), contextlib.suppress(UserError, KeyError, TypeError):
                if self.jobs.facts().nodes == count:
                    return
            time.sleep(0.5)
        logs = [node.log.read_text(errors="replace")[-2000:] for node in (self.head, *self.workers)]
        raise RuntimeError("\n".join(["not all nodes came up", *logs]))


@contextlib.contextmanager
def cluster_bed(
    workers: Sequence[NodeSettings],
    head: NodeSettings,
    tracking: bool = True,
    token: str | None = None,
) -> Iterator[Bed]:
    """A head and a node for each of `workers`, with S3 (buckets `lab` and `mlflow`) and MLflow.

    Worker nodes whose Ray ends are started again. `token`: the cluster's, by default a new one that this
    process goes by from now on. Everything is gone afterwards.
    """
    # Paths of Unix sockets may not be long.
    folder = Path(tempfile.mkdtemp(prefix="bed", dir="/tmp"))
    folder.chmod(0o711)  # PostgreSQL, which is another user, has its folder in it
    if token is None:
        os.environ["RAY_AUTH_TOKEN"] = token = secrets.token_hex(32)
    with contextlib.ExitStack() as stack:
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        net = stack.enter_context(network())
        first = Node(net, 2, None, token, folder, head)
        stack.callback(first.server.kill)
        first.server.start()
        others = []
        running = stack.enter_context(services(net, folder, tracking))
        for number, settings in enumerate(workers, start=3):
            node = Node(net, number, first, token, folder, settings)
            stack.callback(node.server.kill)
            others.append(node)
        client = _s3_client(running)
        stack.callback(client.close)
        bed = Bed(net, running, first, tuple(others), folder, token, client)
        bed.wait_for_nodes(1)
        for node in others:
            node.server.start()
        bed.wait_for_nodes(1 + len(others))
        with bed.s3() as client:
            for name in (BUCKET, ARTIFACTS):
                client.create_bucket(Bucket=name)
        stack.enter_context(Supervisor(others))
        yield bed


def _s3_client(running: Services) -> Any:
    of = running.variables
    return boto3.session.Session().client(
        "s3",
        endpoint_url=of["AWS_ENDPOINT_URL"],
        aws_access_key_id=of["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=of["AWS_SECRET_ACCESS_KEY"],
        region_name=of["AWS_DEFAULT_REGION"],
    )
