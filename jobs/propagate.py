"""`huetrack propagate`."""

from dataclasses import KW_ONLY, dataclass, field
from typing import Annotated, Literal

from cyclopts import Parameter

from jobs.cluster import available_cpus, connected_ray
from jobs.console import ProgressDisplay, print_facts
from jobs.metrics import WorkFigures
from jobs.options import LocationOption
from jobs.placement import LabelSelectorOption, label_selector
from model.errors import UserError
from model.propagation.protocols import ProtocolName, get_protocol
from pipelines.archive import ArchiveConfig, ArchiveSummary, propagate_archive
from pipelines.archive_plan import Direction
from pipelines.models import ModelName, WeightsName, parse_model
from pipelines.progress import Remark
from pipelines.propagation_folder import LABEL_FOLDERS


@dataclass(frozen=True)
class PropagateOptions:
    """Options of `huetrack propagate`."""

    archive: LocationOption
    """Folder of videos, or of frame folders (VIDEO/frames/*.jpg, DAVIS's JPEGImages/480p/VIDEO)."""
    _: KW_ONLY
    labels: LocationOption
    """File or folder with the annotations: masks, joints, boxes or points in any format of
    docs/labels.md."""
    out: LocationOption
    """Output folder: masks/ or labels/, overlays/, errors.parquet, summary.json."""
    model: ModelName
    """A run folder or .safetensors file, `untrained`, `torchvision:NAME` (a ResNet) or `timm:NAME`, each
    with `+lab` for colours joined; `lab` (colours alone), `flow` (optical flow) or `identity` (the
    first mask repeated)."""
    protocol: ProtocolName = "crw"
    """How labels are carried, each as that system was evaluated: `vidcolor` (the paper's), `crw` (first
    frame + last 20, top-10), ...; summary.json holds all settings.
    `flow` and `identity` match nothing, whatever the protocol."""
    set: Annotated[tuple[str, ...], Parameter(negative="")] = ()
    """Change a setting of the protocol: --set top_k=15."""
    anchors: Literal["first", "all"] = "first"
    """Annotated frames of a video that are used: its first, so that fully annotated videos can be
    evaluated on, or all of them, each correcting what was carried so far."""
    direction: Direction = "forwards"
    """`both` carries labels backwards too and merges: labels may then begin anywhere in a video."""
    labels_format: str = "auto"
    """Format of the annotations, where `auto` does not tell it."""
    out_format: str = "auto"
    """Format to write; by default palette PNG for masks, else the plainest that holds the labels."""
    workers: int = field(default_factory=available_cpus)
    """Videos labelled at the same time."""
    label_selector: LabelSelectorOption = ()
    """KEY=VALUE: workers run on the nodes of a cluster that are labelled so; VALUE may be !A or in(A,B)."""
    weights: WeightsName | None = None
    """Of `torchvision:NAME` and `timm:NAME`: `pretrained` (the default), `random`, or a file of weights
    (.safetensors, .pth)."""
    half: Annotated[bool, Parameter(negative="")] = False
    """Run networks in bfloat16 on GPUs."""
    overlays: bool = True
    """Also write overlays/VIDEO.mp4."""
    overwrite: bool = False
    """Remove an earlier propagation in the folder."""
    max_error_rate: float = 0.1
    """Share of failed videos above which the exit status is 1."""
    untrained_width: int = 64
    """Width of the network that `untrained` makes."""
    seed: int = 0
    """Random weights: of `untrained`, and of other networks with `--weights random`."""


def propagate_command(options: Annotated[PropagateOptions, Parameter(name="*")]) -> int:
    """Carry what is annotated in each video through all its frames: masks, joints, boxes or points.

    A rerun of the same command labels only the videos that are still missing.

    Example: huetrack propagate videos --labels masks --model runs/first --protocol crw --out out
    """
    summary = run_propagation(options)
    protocol = summary.config["protocol"]
    ignored = f" (ignored: {protocol['ignored']})" if "ignored" in protocol else ""
    print_facts(
        f"Propagation {options.out}",
        {
            "model": options.model,
            "protocol": protocol["name"] + ignored,
            "videos": f"{summary.videos} ({summary.videos_failed} failed)",
            "made now": f"{summary.videos_made} videos, {summary.frames_made} frames "
            f"({summary.frames_per_s:.1f} frames/s)",
            "labels": ", ".join(
                str(options.out / name) for name in LABEL_FOLDERS if (options.out / name).is_dir()
            ),
            "failed videos": options.out / "errors.parquet",
        },
    )
    return 1 if summary.error_rate > options.max_error_rate else 0


def run_propagation(options: PropagateOptions) -> ArchiveSummary:
    """The command without its closing summary. Raises `UserError`."""
    if options.workers < 1:
        raise UserError("--workers must be at least 1")
    config = ArchiveConfig(
        model=parse_model(
            options.model,
            untrained_width=options.untrained_width,
            seed=options.seed,
            weights=options.weights,
            half=options.half,
        ),
        protocol=get_protocol(options.protocol, options.set),
        overlays=options.overlays,
        anchors=options.anchors,
        direction=options.direction,
        labels_format=options.labels_format,
        out_format=options.out_format,
    )
    selector = label_selector(options.label_selector)
    with connected_ray(options.workers, selector), ProgressDisplay() as display:
        figures = WorkFigures(options.out.name)

        def progress(stage: str, done: int, total: int, remark: Remark) -> None:
            display(stage, done, total, remark)
            figures(stage, done, total, remark)

        return propagate_archive(
            options.archive,
            options.labels,
            options.out,
            config,
            workers=options.workers,
            overwrite=options.overwrite,
            progress=progress,
        )
