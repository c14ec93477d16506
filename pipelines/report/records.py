"""What a report page is made of; `pipelines.report.page` writes it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pipelines.storage import Location


@dataclass(frozen=True)
class TableRow:
    """One line of the table of baselines.

    `numbers` goes by the names of `pipelines.evaluation.global_numbers`; a missing, None or NaN
    number is printed as a dash.
    """

    model: str
    protocol: str
    numbers: Mapping[str, float | None]


@dataclass(frozen=True)
class Film:
    """A file to show and the words below it: H.264 in MP4, or a PNG picture."""

    caption: str
    path: Location


@dataclass(frozen=True)
class PropagatedVideo:
    """A video with the propagated masks drawn over it, and how well they fit where that is known.

    Without ground truth `frames` and `j_by_object` are empty. Otherwise `frames` are the stems of
    the scored frames, consecutive frames of the film from index `first_scored_index` on, and
    `j_by_object` has one J per scored frame (NaN: not defined) by object id.
    """

    video_id: str
    overlay: Location
    fps_hz: float
    frames: tuple[str, ...]
    first_scored_index: int
    j_by_object: Mapping[str, tuple[float, ...]]


@dataclass(frozen=True)
class Report:
    """The whole page; a part without data is left out of it.

    `history` are the lines of a training run's `history.jsonl`, `config` is shown as YAML, and
    `gallery_page` is the address of the page with all videos.
    """

    title: str
    subtitle: str
    rows: tuple[TableRow, ...]
    videos: tuple[PropagatedVideo, ...]
    recoloured: tuple[Film, ...]
    pictures: tuple[Film, ...]
    history: tuple[Mapping[str, Any], ...]
    config: Mapping[str, Any]
    gallery_page: str = ""
