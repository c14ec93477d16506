"""The report page: one HTML file that holds everything it shows and works without a network.

Films, pictures, style and script are inside the file, and its content security policy lets it load
nothing else.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pipelines.report.curves import training_curves
from pipelines.report.embed import EmbeddedFilm, embed_film, embed_picture
from pipelines.report.records import Film, PropagatedVideo, Report, TableRow
from pipelines.report.table import COLUMNS, JF_MEAN, LOWER_IS_BETTER, defined, grouped
from pipelines.report.template import KeyNumber, write_page, yaml_text
from pipelines.report.timeline import Timeline, timeline
from pipelines.storage import Location

__all__ = ["Film", "PropagatedVideo", "Report", "TableRow", "write_report"]

BASELINE = "identity"
"""The model that the best one of its protocol is compared with at the top of the page."""


@dataclass(frozen=True)
class VideoCard:
    """A propagated video as shown; `timeline` is None without ground truth."""

    video_id: str
    fps_hz: float
    film: EmbeddedFilm
    timeline: Timeline | None


def write_report(report: Report, path: Location) -> None:
    """Write the page, whole or not at all; missing folders are made.

    Raises:
        UserError: a film is not H.264 in MP4, a picture is not PNG, scores do not fit their film,
            or a row has a number under an unknown name.
        OSError: the page cannot be written.
    """
    write_page(
        "page.html",
        path,
        report=report,
        key_numbers=_key_numbers(report),
        columns=COLUMNS,
        lower_is_better=LOWER_IS_BETTER,
        groups=grouped(report.rows),
        cards=[_card(video) for video in report.videos],
        recoloured=[(film.caption, embed_film(film.path)) for film in report.recoloured],
        pictures=[(picture.caption, embed_picture(picture.path)) for picture in report.pictures],
        curves=training_curves(report.history),
        training=_training_facts(report.history),
        config=yaml_text(report.config),
    )


def _card(video: PropagatedVideo) -> VideoCard:
    film = embed_film(video.overlay)
    return VideoCard(video.video_id, video.fps_hz, film, timeline(video, film.frames))


def _key_numbers(report: Report) -> list[KeyNumber]:
    """The best J&F-Mean of every protocol, the size of the gallery, and how training ended."""
    numbers = [
        number
        for group in dict.fromkeys(row.protocol for row in report.rows)
        if (number := _best([row for row in report.rows if row.protocol == group])) is not None
    ]
    if report.videos:
        scored = sum(len(video.j_by_object) for video in report.videos)
        note = f"{scored} objects with ground truth" if scored else "without ground truth"
        numbers.append(KeyNumber(str(len(report.videos)), "videos propagated", note))
    held_out = [record for record in report.history if record["kind"] == "validation"]
    if held_out:
        last = held_out[-1]
        note = f"copying the last reference: {last['copy_accuracy']:.3f}"
        numbers.append(KeyNumber(f"{last['accuracy']:.3f}", "held-out colour accuracy", note))
    return numbers


def _best(rows: Sequence[TableRow]) -> KeyNumber | None:
    """The best J&F-Mean of one protocol, beside the baseline's; None if no row has one."""
    scores = [(jf, row) for row in rows if (jf := defined(row.numbers, JF_MEAN)) is not None]
    if not scores:
        return None
    best, best_row = max(scores, key=lambda score: score[0])
    baseline = [jf for jf, row in scores if row.model == BASELINE and row is not best_row]
    beside = f"; {BASELINE}: {baseline[0]:.3f}" if baseline else ""
    return KeyNumber(
        f"{best:.3f}", f"{JF_MEAN}, {best_row.protocol}", f"best: {best_row.model}{beside}"
    )


def _training_facts(history: Sequence[Mapping[str, Any]]) -> str:
    """One line on length, speed and learning rate of the run; empty without training records."""
    train = [record for record in history if record["kind"] == "train"]
    if not train:
        return ""
    speeds = sorted(record["images_per_s"] for record in train)
    first, last = train[0]["learning_rate"], train[-1]["learning_rate"]
    rate = f"{first:g}" if first == last else f"{first:g} to {last:g}"
    return (
        f"{train[-1]['step']:,} steps at {speeds[len(speeds) // 2]:.3g} images/s (median), "
        f"learning rate {rate}."
    )
