"""`huetrack inspect`: one self-contained page about a dataset."""

from dataclasses import KW_ONLY, dataclass, field
from typing import Annotated

from cyclopts import Parameter

from jobs.options import LocationOption
from pipelines.dataset_folder import INSPECT_PAGE
from pipelines.inspection import InspectConfig, inspect_dataset
from pipelines.report.inspect_page import write_inspection


@dataclass(frozen=True)
class InspectOptions:
    """Options of `huetrack inspect`."""

    dataset: LocationOption
    """Dataset folder made by `huetrack preprocess`, finished or not."""
    _: KW_ONLY
    out: LocationOption | None = None
    """File for the page, by default DATASET/report/inspect.html."""
    sample: Annotated[InspectConfig, Parameter(name="*")] = field(default_factory=InspectConfig)


def inspect_command(options: Annotated[InspectOptions, Parameter(name="*")]) -> int:
    """Write a page with clips, what training sees of them, colours, distributions and errors.

    It is one file that needs no server and no network. Of a large dataset a sample of the shards is
    read, so it takes seconds.

    Example: huetrack inspect dataset
    """
    page = options.out or options.dataset / INSPECT_PAGE
    write_inspection(inspect_dataset(options.dataset, options.sample), options.sample, page)
    print(f"page: {page}")
    return 0
