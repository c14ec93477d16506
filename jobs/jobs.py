"""`huetrack jobs list`, `follow` and `stop`."""

import time
from dataclasses import KW_ONLY, dataclass
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter
from rich.console import Console
from rich.table import Table

from jobs.job_cluster import JobCluster
from jobs.job_log import exit_status, follow_to_the_end

if TYPE_CHECKING:
    from ray.dashboard.modules.job.pydantic_models import JobDetails

STOPPED_WITHIN_S = 90.0
_PATIENCE_S = 0.5
_RUNS = "python -m jobs.cli "


@dataclass(frozen=True)
class ListOptions:
    """Options of `huetrack jobs list`."""

    _: KW_ONLY
    address: str | None = None
    """Of the cluster's dashboard, http://HEAD:8265; by default RAY_API_SERVER_ADDRESS."""
    limit: int = 20
    """Show so many, the newest."""


@dataclass(frozen=True)
class JobOptions:
    """Options of `huetrack jobs follow` and `huetrack jobs stop`."""

    job_id: str
    """As `huetrack submit` and `huetrack jobs list` name it."""
    _: KW_ONLY
    address: str | None = None
    """Of the cluster's dashboard, http://HEAD:8265; by default RAY_API_SERVER_ADDRESS."""


def jobs_list_command(options: Annotated[ListOptions, Parameter(name="*")] = ListOptions()) -> int:
    """Jobs that were submitted to a cluster, the newest first, with how they ended.

    Example: huetrack jobs list --address http://head:8265
    """
    table = Table()
    for name in ("Job", "State", "Exit", "Started (UTC)", "Took", "Command"):
        table.add_column(name, no_wrap=name != "Command", overflow="fold")
    for job in JobCluster(options.address).jobs()[: options.limit]:
        table.add_row(*_cells(job))
    Console(width=None if Console().is_terminal else 160).print(table)
    return 0


def jobs_follow_command(options: Annotated[JobOptions, Parameter(name="*")]) -> int:
    """Show a job's log from its beginning until it ends, and end with its exit status.

    Ctrl-C, the exit status and a head that is out of reach for a while: as with `huetrack submit`.

    Example: huetrack jobs follow huetrack-preprocess-20260101-120000-1a2b --address http://head:8265
    """
    cluster = JobCluster(options.address)
    cluster.job(options.job_id)
    return follow_to_the_end(cluster, options.job_id)


def jobs_stop_command(options: Annotated[JobOptions, Parameter(name="*")]) -> int:
    """Stop a job as Ctrl-C would, and wait until it has ended. What it has committed stays.

    Exit status 0 when the job has ended, 1 when it has not after a minute and a half.

    Example: huetrack jobs stop huetrack-preprocess-20260101-120000-1a2b --address http://head:8265
    """
    cluster = JobCluster(options.address)
    job = cluster.job(options.job_id)
    if not job.status.is_terminal():
        cluster.stop(options.job_id)
    until_s = time.monotonic() + STOPPED_WITHIN_S
    while not job.status.is_terminal() and time.monotonic() < until_s:
        time.sleep(_PATIENCE_S)
        job = cluster.job(options.job_id)
    print(f"job {options.job_id}: {job.status.value}")
    return 0 if job.status.is_terminal() else 1


def _cells(job: "JobDetails") -> list[str]:
    started_s = (job.start_time or 0) / 1000
    ended_s = job.end_time / 1000 if job.end_time else time.time()
    return [
        job.submission_id or "",
        job.status.value,
        str(exit_status(job)) if job.status.is_terminal() else "",
        time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(started_s)),
        _duration(ended_s - started_s),
        job.entrypoint.removeprefix(_RUNS),
    ]


def _duration(seconds: float) -> str:
    whole = max(0, round(seconds))
    return f"{whole // 3600}:{whole // 60 % 60:02d}:{whole % 60:02d}"
