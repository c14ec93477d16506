"""`huetrack doctor`: what works here, what does not, and what to do about it."""

import json
from collections.abc import Callable, Iterator
from dataclasses import KW_ONLY, asdict, dataclass
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter
from rich.console import Console
from rich.table import Table

from jobs.doctor_checks import (
    Finding,
    check_decoders,
    check_machine,
    check_mlflow,
    check_packages,
    check_ray,
    check_s3,
    check_torch,
)
from jobs.options import LocalOption, LocationOption
from jobs.tracking_uri import TrackingUriOption, without_credentials
from model.errors import UserError
from pipelines.s3_path import S3Path

_COLOURS = {"ok": "green", "warn": "yellow", "fail": "red"}


@dataclass(frozen=True)
class DoctorOptions:
    """Options of `huetrack doctor`."""

    _: KW_ONLY
    address: str | None = None
    """Dashboard of a Ray cluster, http://HEAD:8265, to look at as well."""
    tracking_uri: TrackingUriOption | None = None
    """MLflow server; by default MLFLOW_TRACKING_URI."""
    s3: LocationOption | None = None
    """s3://BUCKET/PREFIX that must be readable."""
    folder: LocalOption | None = None
    """Where work will be written, by default here: its free space is looked at."""
    json: Annotated[bool, Parameter(negative="")] = False
    """Print the findings as JSON."""


def doctor_command(options: Annotated[DoctorOptions, Parameter(name="*")] = DoctorOptions()) -> int:
    """Check versions, PyTorch, GPUs, decoders, Ray's token, MLflow, S3, disk and memory.

    Each line is ok, warn (it works, not as well as it could) or fail, with what to do. Exit status 0
    without a fail, else 1.

    Example: huetrack doctor --address http://head:8265 --s3 s3://corpus/videos

    On a cluster: huetrack submit --address http://head:8265 -- doctor
    """
    findings = list(examine(options))
    if options.json:
        print(json.dumps([asdict(finding) for finding in findings], indent=1))
    else:
        _print(findings)
    return 1 if any(finding.state == "fail" for finding in findings) else 0


def examine(options: DoctorOptions) -> Iterator[Finding]:
    """All findings; a check that breaks down is one that fails."""
    place = options.s3
    if place is not None and not isinstance(place, S3Path):
        raise UserError(f"--s3 {place}: must be s3://BUCKET/PREFIX")
    checks: dict[str, Callable[[], Iterator[Finding]]] = {
        "packages": check_packages,
        "PyTorch": check_torch,
        "decoders": check_decoders,
        "Ray": lambda: check_ray(options.address),
        "MLflow": lambda: check_mlflow(options.tracking_uri),
        "S3": lambda: check_s3(place),
        "machine": lambda: check_machine(options.folder or Path()),
    }
    for what, check in checks.items():
        try:
            yield from check()
        except Exception as error:  # such as an import that fails: that is what is looked for
            told = without_credentials(" ".join(str(error).split()))
            cause = (
                ""
                if type(error).__name__ in ("UserError", "StorageError")
                else type(error).__name__
            )
            yield Finding(what, "fail", ": ".join(filter(None, (cause, told))), _remedy(what))


def _remedy(what: str) -> str:
    if what in ("Ray", "S3", "MLflow"):
        return "as the line says"
    return "install the packages again, at the versions of constraints.txt"


def _print(findings: list[Finding]) -> None:
    table = Table(show_header=False, box=None, pad_edge=False)
    for finding in findings:
        colour = _COLOURS[finding.state]
        remedy = f"\n-> {finding.remedy}" if finding.remedy else ""
        table.add_row(f"[{colour}]{finding.state}[/]", finding.what, finding.found + remedy)
    Console(width=None if Console().is_terminal else 120).print(table, highlight=False)
