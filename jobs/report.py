"""`huetrack report`: one self-contained page about a propagation."""

import tempfile
from dataclasses import KW_ONLY, dataclass
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from jobs.options import LocationOption
from pipelines.report.page import write_report
from pipelines.results import collect_report
from pipelines.storage import Location


@dataclass(frozen=True)
class ReportOptions:
    """Options of `huetrack report`."""

    out: LocationOption
    """Output folder of `huetrack propagate`; the page goes to OUT/report/index.html."""
    _: KW_ONLY
    truth: LocationOption | None = None
    """True masks: adds J of every frame and the table of scores."""
    run: LocationOption | None = None
    """Training run: adds loss curves, recoloured films and embeddings as colours."""
    compare: Annotated[tuple[LocationOption, ...], Parameter(negative="")] = ()
    """Other propagations of the same videos for the table."""
    archive: LocationOption | None = None
    """The videos, if they are no longer where they were propagated."""
    pictures: int = 3
    """Videos that are recoloured, at most."""


def report_command(options: Annotated[ReportOptions, Parameter(name="*")]) -> int:
    """Write a page with playable overlays, scores, recoloured video, curves and configuration.

    It is one file that needs no server and no network.

    Example: huetrack report out --truth masks --run runs/first
    """
    print(f"report: {make_report(options)}")
    return 0


def make_report(options: ReportOptions) -> Location:
    """The command without its closing line. Raises `UserError`."""
    page = options.out / "report" / "index.html"
    with tempfile.TemporaryDirectory() as folder:
        report = collect_report(
            options.out,
            archive=options.archive,
            truth=options.truth,
            run=options.run,
            compare=options.compare,
            most_pictures=options.pictures,
            folder=Path(folder),
        )
        write_report(report, page)
    return page
