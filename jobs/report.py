"""`huetrack report`: the review gallery of a propagation, and a page with its scores."""

import tempfile
from dataclasses import KW_ONLY, dataclass
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from jobs.options import LocationOption
from pipelines.report.page import write_report
from pipelines.results import collect_report
from pipelines.review.page import SUMMARY_PAGE, write_review_page
from pipelines.storage import Location


@dataclass(frozen=True)
class ReportOptions:
    """Options of `huetrack report`."""

    out: LocationOption
    """Output folder of `huetrack propagate`; the pages go to OUT/report."""
    _: KW_ONLY
    truth: LocationOption | None = None
    """True masks: adds J of every frame and the table of scores."""
    run: LocationOption | None = None
    """Training run: adds loss curves, recoloured films and embeddings as colours."""
    compare: Annotated[tuple[LocationOption, ...], Parameter(negative="")] = ()
    """Other propagations of the same videos for the table."""
    archive: LocationOption | None = None
    """The videos, if they are no longer where they were propagated."""
    films: int = 24
    """Videos inside the summary page, at most: with --truth those of the lowest J."""
    pictures: int = 3
    """Videos that are recoloured, at most."""


def report_command(options: Annotated[ReportOptions, Parameter(name="*")]) -> int:
    """Write OUT/report/index.html, the gallery to review the labels in, and OUT/report/summary.html.

    The gallery shows every video with the confidence of its objects, leads to what is probably wrong and
    says which frame to annotate next. The summary is one file with scores (--truth, --compare), recoloured
    video and training curves (--run) and all settings. Neither needs a server or a network.

    Example: huetrack report out --truth masks --run runs/first
    """
    print(f"report: {make_report(options)}")
    return 0


def make_report(options: ReportOptions) -> Location:
    """The command without its closing line: both pages, of which it returns the gallery. Raises
    `UserError`."""
    with tempfile.TemporaryDirectory() as folder:
        report = collect_report(
            options.out,
            archive=options.archive,
            truth=options.truth,
            run=options.run,
            compare=options.compare,
            most_films=options.films,
            most_pictures=options.pictures,
            folder=Path(folder),
        )
        write_report(report, options.out / "report" / SUMMARY_PAGE)
    return write_review_page(options.out)
