"""Options of `huetrack propagate`."""

from dataclasses import KW_ONLY, dataclass, field
from typing import Annotated, Literal

from cyclopts import Parameter

from jobs.cluster import available_cpus
from jobs.options import LocationOption
from jobs.placement import LabelSelectorOption
from jobs.tracking_uri import TrackingUriOption
from model.propagation.protocols import ProtocolName
from pipelines.archive_plan import Direction
from pipelines.models import ModelName, WeightsName


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
    """Output folder: masks/ or labels/, predictions/, overlays/, report/, errors.parquet, summary.json."""
    model: ModelName
    """A run folder or .safetensors file, `untrained`, `torchvision:NAME` (a ResNet) or `timm:NAME`, each
    with `+lab` for colours joined; `lab` (colours alone), `flow` (optical flow) or `identity` (the
    first mask repeated)."""
    protocol: ProtocolName = "crw"
    """How labels are carried, each as that system was evaluated: `vidcolor` (the paper's), `crw` (first
    frame + last 20, top-10), ...; summary.json holds all settings.
    `flow` and `identity` match nothing, whatever the protocol."""
    set: Annotated[tuple[str, ...], Parameter(negative="")] = ()
    """Change a setting of the protocol: --set top_k=15. `temperature=learned` takes the one that
    `huetrack temperature` stored in the run."""
    anchors: Literal["first", "all"] = "first"
    """Annotated frames of a video that are used: its first, so that fully annotated videos can be
    evaluated on, or all of them, each correcting what was carried so far."""
    direction: Direction = "forwards"
    """`both` carries labels backwards too and merges: labels may then begin anywhere in a video."""
    labels_format: str = "auto"
    """Format of the annotations, where `auto` does not tell it."""
    corrections: LocationOption | None = None
    """Frames that somebody corrected after looking at the output: labels in any format. They are further
    anchors and win over --labels. In an output that is there already, only what they touch is made
    again; a correction stays when later runs do not name it any more."""
    corrections_format: str = "auto"
    """Format of the corrections, where `auto` does not tell it."""
    accept_unchanged: Annotated[bool, Parameter(negative="")] = False
    """Corrections that are just as `huetrack review export` wrote them count too: somebody looked at them
    and found them right. Else they are passed over."""
    out_format: str = "auto"
    """Format to write; by default palette PNG for masks, else the plainest that holds the labels of all
    annotated frames and keeps their ids. `coco-video` writes a file a video, and labels.json with all of
    them."""
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
    confidence: bool = True
    """Say in predictions/ how far every object in every frame can be trusted; the labels are the same
    without. `flow` and `identity` match nothing, so that theirs is empty."""
    confidence_model: LocationOption | None = None
    """A file that `huetrack confidence fit` wrote, in place of the model that comes with the package."""
    return_check: Annotated[bool, Parameter(negative="")] = False
    """Also carry every prediction straight back to the annotated frame and say how well it fits there:
    `return_overlap` among the signals. Takes longer. On by itself for a --confidence-model that was
    fitted with it."""
    overwrite: bool = False
    """Remove an earlier propagation in the folder. Refused where that holds what is read, or corrections
    that are given nowhere else."""
    retry_errors: bool = False
    """Also try videos that failed in an earlier run, with better files perhaps."""
    max_error_rate: float = 0.1
    """Share of failed videos above which the exit status is 1."""
    untrained_width: int = 64
    """Width of the network that `untrained` makes."""
    seed: int = 0
    """Random weights: of `untrained`, and of other networks with `--weights random`."""
    tracking_uri: TrackingUriOption | None = None
    """MLflow server, or sqlite:///FILE; by default MLFLOW_TRACKING_URI, and no tracking without it."""
    experiment: str = "huetrack-propagate"
    """MLflow experiment."""
