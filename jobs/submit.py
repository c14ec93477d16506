"""`huetrack submit`: any huetrack command as a job on a Ray cluster."""

import hashlib
import re
import secrets
import shlex
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, dataclass
from importlib.metadata import requires, version
from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import Parameter
from packaging.requirements import Requirement

from jobs.cluster import SEALED
from jobs.job_cluster import JobCluster
from jobs.job_environment import HOOK, chosen_variables, seal
from jobs.job_log import follow_to_the_end
from jobs.options import LocalOption
from jobs.submit_checks import (
    RemoteCommand,
    refuse_places_out_of_sight,
    refuse_secrets,
    refuse_tracking_that_cannot_work,
    remote_command,
    secret_values,
)
from jobs.submit_package import CONSTRAINTS, ROOT, make_package
from model.errors import UserError

_JOB_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_STOPS_LIKE_CTRL_C = {"RAY_JOB_STOP_SIGNAL": "SIGINT", "RAY_JOB_STOP_WAIT_TIME_S": "60"}
"""So that a job that is stopped closes its run in MLflow, and says how to go on."""


@dataclass(frozen=True)
class SubmitOptions:
    """Options of `huetrack submit`."""

    command: Annotated[tuple[str, ...], Parameter(negative="")] = ()
    """The command line that runs on the cluster, after `--`."""
    _: KW_ONLY
    address: str | None = None
    """Of the cluster's dashboard, http://HEAD:8265; by default RAY_API_SERVER_ADDRESS."""
    no_wait: Annotated[bool, Parameter(negative="")] = False
    """Return when the job is accepted; `huetrack jobs follow ID` shows it later."""
    job_id: str | None = None
    """Name of the job, once a cluster; by default the command, the time and a random part."""
    env: Annotated[tuple[str, ...], Parameter(negative="")] = ()
    """Name of a variable of this shell that the job gets, the flag once for each; AWS_* for all that begin
    so. Values travel sealed: they are in no log, nor in what Ray tells of the job."""
    tag: Annotated[tuple[str, ...], Parameter(negative="")] = ()
    """KEY=VALUE, stored with the job."""
    shared: Annotated[tuple[LocalOption, ...], Parameter(negative="")] = ()
    """Folder that every node has at the same path; local paths outside of such folders are refused."""
    runtime_env: Literal["none", "pip"] = "none"
    """none: the nodes have huetrack's packages, as infra/Dockerfile makes them. pip: each node installs them
    first, at the versions of constraints.txt, Ray and its own excepted; that takes minutes, once a node."""
    exclude: Annotated[tuple[str, ...], Parameter(negative="")] = ()
    """Pattern, as in .gitignore, of modules and configurations that do not travel."""
    package_limit_mb: float = 20.0
    """Refuse to send more than this."""


def submit_command(options: Annotated[SubmitOptions, Parameter(name="*")] = SubmitOptions()) -> int:
    """Run any huetrack command as a job on a Ray cluster; show its log, end with its exit status.

    The modules of this huetrack travel with the job (and pyproject.toml, constraints.txt and configs/ of
    a clone), so the cluster runs what runs here. The command is checked here first: its options, whether
    the cluster can see the places that it names, and whether Ray and Python are the same there.

    Ctrl-C asks whether to stop the job or to leave it running; without a terminal it runs on. Exit status:
    that of the command (0, 1, 2), 130 after Ctrl-C or when the job was stopped, 128 + N when signal N killed
    the command, 3 when the cluster lost it.
    A job that is lost is finished by submitting the same command again.

    The cluster's token must be in RAY_AUTH_TOKEN or ~/.ray/auth_token.

    Example: huetrack submit --address http://head:8265 --env "AWS_*" -- preprocess s3://corpus/videos
    --out s3://results/dataset --workers 64
    """
    command = remote_command(options.command)
    variables = chosen_variables(options.env)
    tags = _tags(options.tag)
    if options.job_id is not None and not _JOB_ID.fullmatch(options.job_id):
        raise UserError(
            f"--job-id {options.job_id}: letters, digits, dots, dashes and underscores only"
        )
    refuse_places_out_of_sight(command, options.shared)
    cluster = JobCluster(options.address)
    hidden = secret_values(variables, cluster.token)
    refuse_secrets([*command.arguments, *tags, *tags.values()], hidden)
    facts = cluster.facts()
    cluster.refuse_other_versions(facts)
    refuse_tracking_that_cannot_work(command, variables, facts, options.shared)
    job_id = _send(cluster, command, options, variables, tags, hidden)
    print(f"job {job_id} on {cluster}", flush=True)
    if options.no_wait:
        print(f"huetrack jobs follow {job_id} --address {cluster}")
        return 0
    return follow_to_the_end(cluster, job_id)


def _send(
    cluster: JobCluster,
    command: RemoteCommand,
    options: SubmitOptions,
    variables: Mapping[str, str],
    tags: Mapping[str, str],
    hidden: Mapping[str, str],
) -> str:
    if options.runtime_env == "pip" and not (ROOT / CONSTRAINTS).is_file():
        raise UserError(
            f"--runtime-env pip: there is no {CONSTRAINTS} beside this huetrack; submit from a clone"
        )
    with tempfile.TemporaryDirectory() as folder:
        package = make_package(
            Path(folder) / "package.zip",
            extra=command.files(),
            excludes=options.exclude,
            limit_mb=options.package_limit_mb,
            secrets=hidden,
        )
        return cluster.submit(
            entrypoint=shlex.join(("python", "-m", "jobs.cli", *command.arguments)),
            submission_id=options.job_id or _new_id(command.name),
            runtime_env=runtime_env(package.path, variables, cluster.token, options.runtime_env),
            metadata={**tags, "huetrack_version": version("huetrack"), "command": command.name},
        )


def runtime_env(
    package: Path, variables: Mapping[str, str], token: str | None, packages: Literal["none", "pip"]
) -> dict[str, Any]:
    """What the job's processes run in, for Ray. Raises `UserError` for variables without a token."""
    environment: dict[str, Any] = {"working_dir": str(package)}
    environment["env_vars"] = dict(_STOPS_LIKE_CTRL_C)
    if variables:
        if token is None:
            raise UserError(
                "--env needs token authentication, with whose token the values are sealed"
            )
        environment["env_vars"][SEALED] = seal(variables, token)
        environment["worker_process_setup_hook"] = HOOK
    if packages == "pip":
        # `--constraint` reaches pip through the list of packages, as in a requirements file. Ray keeps what
        # it installed by the text of this list, so other pins have to make another text.
        digest = hashlib.sha256((ROOT / CONSTRAINTS).read_bytes()).hexdigest()[:16]
        pins = f"--constraint ${{RAY_RUNTIME_ENV_CREATE_WORKING_DIR}}/{CONSTRAINTS} # {digest}"
        environment["pip"] = {"packages": [pins, *_requirements()], "pip_check": False}
    return environment


def _requirements() -> list[str]:
    """What huetrack needs beside Ray, which is the cluster's own."""
    declared = [Requirement(text) for text in requires("huetrack") or ()]
    return [
        str(requirement)
        for requirement in declared
        if requirement.name != "ray" and "extra" not in str(requirement.marker or "")
    ]


def _tags(texts: Sequence[str]) -> dict[str, str]:
    tags = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not key or not equals:
            raise UserError(f"--tag {text}: must be KEY=VALUE")
        tags[key] = value
    return tags


def _new_id(name: str) -> str:
    return f"huetrack-{name}-{time.strftime('%Y%m%d-%H%M%S', time.gmtime())}-{secrets.token_hex(2)}"
