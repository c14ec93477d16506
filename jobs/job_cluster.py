"""The Jobs server of a Ray cluster: whether it is the right one, what it runs on, the jobs on it.

Every failure is a `UserError` of one line with its remedy. Reads are bounded in time, which Ray's own
client does not do.
"""

import contextlib
import logging
import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import requests

from jobs.cluster import AUTH_MODE
from jobs.tracking_uri import without_credentials
from model.errors import UserError

if TYPE_CHECKING:
    from ray.dashboard.modules.job.pydantic_models import JobDetails
    from ray.job_submission import JobSubmissionClient

CONNECT_TIMEOUT_S = 10.0
READ_TIMEOUT_S = 60.0
"""The dashboard of a busy head takes its time."""
ADDRESS_VARIABLE = "RAY_API_SERVER_ADDRESS"
_WHERE_TOKENS_ARE = (
    "it is in RAY_AUTH_TOKEN or ~/.ray/auth_token of the head, or in the Secret of KubeRay's cluster; put "
    "it into RAY_AUTH_TOKEN or ~/.ray/auth_token here"
)

Result = TypeVar("Result")


class Unreachable(UserError):
    """The server does not answer."""


@dataclass(frozen=True)
class ClusterFacts:
    """What a cluster says of itself."""

    ray: str
    python: str
    nodes: int
    """Those that are alive."""


def cluster_token() -> str | None:
    """The token of Ray's token authentication, found where Ray looks for it; None when there is none."""
    if token := os.environ.get("RAY_AUTH_TOKEN"):
        return token
    place = os.environ.get("RAY_AUTH_TOKEN_PATH")
    path = Path(place) if place else Path.home() / ".ray" / "auth_token"
    with contextlib.suppress(OSError):
        return path.read_text(encoding="utf-8").strip() or None
    return None


class JobCluster:
    """An authenticated connection to the Jobs server at `address` (by default RAY_API_SERVER_ADDRESS).

    Raises `UserError` for an address that is none, a server that is not there or no Ray, and a token
    that is missing, wrong or not asked for. RAY_AUTH_MODE=disabled allows a server without tokens.
    """

    def __init__(self, address: str | None) -> None:
        given = address or os.environ.get(ADDRESS_VARIABLE)
        if not given:
            raise UserError(f"which cluster? --address http://HEAD:8265, or {ADDRESS_VARIABLE}")
        self._url = (given if "://" in given else f"http://{given}").rstrip("/")
        if not self._url.startswith(("http://", "https://")):
            raise UserError(f"--address {self}: must be that of the dashboard, http://HEAD:8265")
        self.token: str | None = None
        if os.environ[AUTH_MODE] == "token":
            self.token = cluster_token()
            if self.token is None:
                raise UserError(f"no token for the cluster at {self}: {_WHERE_TOKENS_ARE}")
        version = self._get("/api/version")
        if not isinstance(version, dict) or "ray_version" not in version:
            raise UserError(f"{self}: answers, but is not the dashboard of a Ray cluster")
        if self.token and self._request("/api/version", token=None).status_code == 200:
            raise UserError(
                f"{self}: this cluster asks for no token, so anybody who reaches it can run commands on "
                "it; start its Ray with RAY_AUTH_MODE=token (or set RAY_AUTH_MODE=disabled here if "
                "something else guards it)"
            )
        self._client: JobSubmissionClient | None = None

    def __str__(self) -> str:
        return without_credentials(self._url)

    def facts(self) -> ClusterFacts:
        """What it runs on."""
        metadata = self._get("/api/v0/cluster_metadata")["data"]
        nodes = self._get("/api/v0/nodes?limit=10000")["data"]["result"]["result"]
        alive = sum(1 for node in nodes if node["state"] == "ALIVE")
        return ClusterFacts(metadata["rayVersion"], metadata["pythonVersion"], alive)

    def refuse_other_versions(self, facts: ClusterFacts) -> None:
        """Raise `UserError` unless Ray is the same version here and there, and Python the same minor one."""
        import ray

        if facts.ray != ray.__version__:
            raise UserError(
                f"{self}: runs Ray {facts.ray}, and this is Ray {ray.__version__}: install huetrack beside "
                f"ray=={facts.ray} here, or start the cluster from an image with Ray {ray.__version__}"
            )
        here = f"{sys.version_info.major}.{sys.version_info.minor}"
        there = ".".join(facts.python.split(".")[:2])
        if here != there:
            raise UserError(
                f"{self}: runs Python {facts.python}, and this is Python {here}: submit from an environment "
                f"made with Python {there}, or start the cluster from an image with Python {here}"
            )

    def submit(self, **job: Any) -> str:
        """As `JobSubmissionClient.submit_job`."""
        return self._asked(lambda: self.client.submit_job(**job))

    def job(self, job_id: str) -> "JobDetails":
        """What is known of a job. Raises `Unreachable`, and `UserError` when there is none of this name."""
        from ray.job_submission import JobDetails

        return JobDetails(**self._get(f"/api/jobs/{job_id}", missing=f"no job {job_id}"))

    def jobs(self) -> "list[JobDetails]":
        """All jobs that were submitted, the newest first."""
        from ray.job_submission import JobDetails, JobType

        found = [JobDetails(**record) for record in self._get("/api/jobs/")]
        submitted = [job for job in found if job.type == JobType.SUBMISSION]
        return sorted(submitted, key=lambda job: -(job.start_time or 0))

    def log(self, job_id: str) -> str:
        """Everything that the job has printed."""
        return str(self._get(f"/api/jobs/{job_id}/logs", missing=f"no job {job_id}")["logs"])

    def stop(self, job_id: str) -> bool:
        """Ask a job to stop; False if it has ended already."""
        return bool(self._asked(lambda: self.client.stop_job(job_id)))

    @property
    def client(self) -> "JobSubmissionClient":
        """Ray's own client, for what changes something and for following logs."""
        if self._client is None:
            from ray.job_submission import JobSubmissionClient

            for name in ("dashboard_sdk", "job.sdk"):  # which tell of packages and sockets
                logging.getLogger(f"ray.dashboard.modules.{name}").setLevel(logging.WARNING)
            with _variable(
                ADDRESS_VARIABLE, self._url
            ):  # which this client prefers to its argument
                self._client = self._asked(lambda: JobSubmissionClient(self._url))
        return self._client

    def _asked(self, ask: Callable[[], Result]) -> Result:
        from ray.exceptions import AuthenticationError

        try:
            return ask()
        except (requests.RequestException, ConnectionError, AuthenticationError) as error:
            raise self._unreachable(error) from error
        except (RuntimeError, ValueError) as error:
            # The server's trace, with a full stop of Ray's client on a line of its own behind it.
            lines = [line for line in str(error).splitlines() if any(map(str.isalnum, line))]
            line = lines[-1] if lines else ""
            raise UserError(f"{self}: {without_credentials(line)}") from error

    def _get(self, path: str, missing: str = "") -> Any:
        answer = self._request(path, self.token)
        if answer.status_code == 401:
            raise UserError(f"{self}: asks for a token: {_WHERE_TOKENS_ARE}")
        if answer.status_code == 403:
            raise UserError(
                f"{self}: does not accept this token; take the cluster's: {_WHERE_TOKENS_ARE}"
            )
        if answer.status_code == 404 and missing:
            raise UserError(f"{self}: {missing} (`huetrack jobs list` names them)")
        if answer.status_code >= 500:
            raise Unreachable(f"{self}: answered {answer.status_code}; look at the head's logs")
        try:
            return answer.json()
        except ValueError:
            raise UserError(f"{self}: answers, but is not the dashboard of a Ray cluster") from None

    def _request(self, path: str, token: str | None) -> requests.Response:
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        try:
            return requests.get(
                f"{self._url}{path}", headers=headers, timeout=(CONNECT_TIMEOUT_S, READ_TIMEOUT_S)
            )
        except (requests.RequestException, ValueError) as error:
            raise self._unreachable(error) from error

    def _unreachable(self, error: Exception) -> Unreachable:
        return Unreachable(
            f"{self}: no answer ({type(error).__name__}); is it the address of the head's dashboard (port "
            "8265), and can this machine reach it? From outside: ssh -L 8265:localhost:8265 HEAD, or "
            "kubectl port-forward service/CLUSTER-head-svc 8265"
        )


@contextlib.contextmanager
def _variable(name: str, value: str) -> Iterator[None]:
    before = os.environ.get(name)
    os.environ[name] = value
    try:
        yield
    finally:
        del os.environ[name]
        if before is not None:
            os.environ[name] = before
