"""The review gallery: `OUT/report/index.html` over a few scripts, which hold the data too.

It works without a server: a browser that opened the page from a disk may load scripts and films that lie
near it, but may not fetch data, so the data are scripts. `gallery/videos.js` has a value a column for each
video; what only the video on show needs is in `gallery/details-NNNN.js`, loaded when it is asked for.

Confidences are in percent there, and null where they are not known.
"""

import json
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from typing import Any
from urllib.parse import quote

import numpy as np

from model.confidence.flags import MEANINGS
from pipelines.object_colours import css_colour
from pipelines.report.template import write_page
from pipelines.review.next_frame import NextFrame
from pipelines.review.reviewed import LOW_CONFIDENCE, FailedVideo, ReviewedVideo
from pipelines.storage import Location, files_in, remove_files, write_text

SCRIPTS = (
    "store.js",
    "query.js",
    "list.js",
    "timeline.js",
    "player.js",
    "address.js",
    "gallery.js",
)
STYLES = ("style.css", "gallery.css")
_LOW_CONFIDENCE = f"more likely wrong than right: confidence below {LOW_CONFIDENCE}"
_DETAIL_CHARACTERS = 256 << 10
_SPARK_BINS = 32


@dataclass(frozen=True)
class GalleryVideo:
    """A labelled video in the gallery."""

    video: ReviewedVideo
    next_frames: tuple[NextFrame, ...] = ()
    """The most helpful first."""
    has_film: bool = True
    has_sheet: bool = True


@dataclass(frozen=True)
class Heading:
    """What stands at the top of the page."""

    title: str
    subtitle: str
    summary_page: str = ""
    """Address of the page with scores and curves, if there is one."""


@dataclass
class _Columns:
    """Of `videos.js`; a value for each video."""

    id: list[str] = field(default_factory=list)
    url: list[str] = field(default_factory=list)
    frames: list[int] = field(default_factory=list)
    worst: list[int | None] = field(default_factory=list)
    mean: list[int | None] = field(default_factory=list)
    flagged: list[int] = field(default_factory=list)
    help: list[float] = field(default_factory=list)
    film: list[int] = field(default_factory=list)
    sheet: list[int] = field(default_factory=list)
    objects: list[list[list[int]]] = field(default_factory=list)
    """For each object the place of its label in `labels`, and every bit that it has in some frame."""
    spark: list[list[int | None]] = field(default_factory=list)
    part: list[int] = field(default_factory=list)


@dataclass
class _Written:
    """The gallery while it is written, a video at a time."""

    folder: Location
    columns: _Columns = field(default_factory=_Columns)
    labels: dict[str, int] = field(default_factory=dict)
    names: set[str] = field(default_factory=set)
    entries: list[str] = field(default_factory=list)

    def put(self, name: str, text: str) -> None:
        write_text(self.folder / name, text)
        self.names.add(name)

    def add(self, shown: GalleryVideo) -> None:
        video, columns = shown.video, self.columns
        columns.part.append(len(self.names))
        self.entries.append(f'"{len(columns.id)}":{_json(_details(shown))}')
        columns.id.append(video.video_id)
        columns.url.append(quote(os.fsencode(video.video_id), safe=""))
        columns.frames.append(len(video.frames))
        least_T = video.least_confidence
        known_T = least_T[np.isfinite(least_T)]
        known_OT = video.confidence_OT[np.isfinite(video.confidence_OT)]
        columns.worst.append(_percent(known_T.min()) if len(known_T) else None)
        columns.mean.append(_percent(known_OT.mean()) if len(known_OT) else None)
        columns.flagged.append(int(video.flagged.sum()))
        columns.help.append(round(shown.next_frames[0].help, 1) if shown.next_frames else 0.0)
        columns.film.append(int(shown.has_film))
        columns.sheet.append(int(shown.has_sheet))
        bits = np.bitwise_or.reduce(video.bits_OT, axis=1).tolist()
        named = [video.label(object_id) for object_id in video.object_ids]
        places = [self.labels.setdefault(name, len(self.labels)) for name in named]
        columns.objects.append([list(pair) for pair in zip(places, bits, strict=True)])
        columns.spark.append(_spark(least_T))
        if sum(map(len, self.entries)) > _DETAIL_CHARACTERS:
            self.end_part()

    def end_part(self) -> None:
        if self.entries:
            part = len(self.names)
            text = f"huetrack.details({part}, {{{','.join(self.entries)}}});\n"
            self.put(f"details-{part:04d}.js", text)
            self.entries.clear()


def write_gallery(
    folder: Location,
    heading: Heading,
    videos: Iterable[GalleryVideo],
    failed: Sequence[FailedVideo],
) -> None:
    """Write the page below `folder`, its index last, and remove what an earlier one has left over.

    Raises `OSError` when it cannot be written.
    """
    gallery = folder / "gallery"
    written = _Written(gallery)
    for video in videos:
        written.add(video)
    written.end_part()
    content = {
        "flags": [*map(list, MEANINGS.items()), ["low_confidence", _LOW_CONFIDENCE]],
        "labels": list(written.labels),
        "columns": written.columns.__dict__,
        "failed": [[row.video_id, row.kind, row.message] for row in failed],
    }
    written.put("videos.js", f"huetrack.videos({_json(content)});\n")
    source = files("pipelines.report")
    for name in (*SCRIPTS, *STYLES):
        written.put(name, (source / name).read_text(encoding="utf-8"))
    write_page(
        "gallery.html",
        folder / "index.html",
        heading=heading,
        styles=STYLES,
        scripts=(SCRIPTS[0], "videos.js", *SCRIPTS[1:]),
    )
    remove_files([path for name, path in files_in(gallery).items() if name not in written.names])


def _details(shown: GalleryVideo) -> dict[str, Any]:
    """What only the player needs."""
    video = shown.video
    counted = [f"{index:05d}" for index in range(len(video.frames))]
    return {
        "fps": video.fps_hz,
        "names": None if list(video.frames) == counted else list(video.frames),
        "anchors": np.flatnonzero(video.anchor_T).tolist(),
        "next": [
            [frame.index, round(frame.help, 1), frame.begin, frame.end]
            for frame in shown.next_frames
        ],
        "objects": [
            {
                "label": video.names.get(object_id, ""),
                "id": object_id,
                "colour": css_colour(object_id),
                "confidence": _percents(video.confidence_OT[row]),
                "spans": _spans(video.bits_OT[row]),
            }
            for row, object_id in enumerate(video.object_ids)
        ],
    }


def _spans(bits_T: np.ndarray) -> list[list[int]]:
    """[bits, first, end) of every stretch of frames with the same bits, those without any left out."""
    edges = np.flatnonzero(np.diff(bits_T.astype(np.int16))) + 1
    starts = np.concatenate(([0], edges)).tolist()
    ends = [*edges.tolist(), len(bits_T)]
    return [
        [int(bits_T[a]), a, b] for a, b in zip(starts, ends, strict=True) if a < b and bits_T[a]
    ]


def _spark(least_T: np.ndarray) -> list[int | None]:
    """The lowest confidence in each of at most 32 equal parts of the video."""
    bins = min(_SPARK_BINS, len(least_T))
    if not bins:
        return []
    starts = np.arange(bins) * len(least_T) // bins
    return _percents(np.fmin.reduceat(least_T, starts))


def _percents(values: np.ndarray) -> list[int | None]:
    return [None if value != value else _percent(value) for value in values.tolist()]


def _percent(value: float) -> int:
    return round(100 * float(value))


def _json(value: Any) -> str:
    """JSON in ASCII is also JavaScript; what is no valid text becomes lone surrogates, as it came."""
    return json.dumps(value, separators=(",", ":"), allow_nan=False)
