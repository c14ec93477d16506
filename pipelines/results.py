"""From output folders to the records of the report page."""

import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from pipelines.evaluation import MaskEvaluation, evaluate_masks, global_numbers
from pipelines.footage import Footage, find_footage
from pipelines.models import read_colorizer
from pipelines.pictures import embedding_sheet, recoloured
from pipelines.propagation_folder import finished_videos
from pipelines.report.records import Film, PropagatedVideo, Report, TableRow
from pipelines.review.archive import propagation_of
from pipelines.review.page import PAGE
from pipelines.run_folder import read_config, read_history, weights_of
from pipelines.storage import Location, files_in, location
from pipelines.video import write_h264


def table_row(out: Location, evaluation: MaskEvaluation) -> TableRow:
    """A propagation's line in the table of baselines."""
    config = propagation_of(out)["config"]
    return TableRow(
        model=config["model"]["kind"],
        protocol=config["protocol"]["name"],
        numbers=dict(global_numbers(evaluation.summary)),
    )


def propagated_videos(
    out: Location, footage: Iterable[Footage], evaluation: MaskEvaluation | None, most: int
) -> tuple[PropagatedVideo, ...]:
    """At most `most` videos that have an overlay, with J of every frame where it is known, and then those of
    the lowest J."""
    scores = evaluation.to_json()["per_frame"] if evaluation else {}
    rates = {item.video_id: item for item in footage}
    found: list[PropagatedVideo] = []
    for video_id in _worst_first(sorted(finished_videos(out)), scores):
        if len(found) == most:
            break
        film = out / "overlays" / f"{video_id}.mp4"
        if not film.is_file():
            continue
        objects: dict[str, Any] = scores.get(video_id, {})
        frames = next((tuple(o["frames"]) for o in objects.values()), ())
        stems = sorted(
            f.stem for f in files_in(out / "masks" / video_id).values() if f.suffix == ".png"
        )
        item = rates.get(video_id)
        found.append(
            PropagatedVideo(
                video_id=video_id,
                overlay=film,
                fps_hz=item.fps_hz() if item else 24.0,
                frames=frames,
                first_scored_index=stems.index(frames[0]) if frames else 0,
                j_by_object={name: tuple(o["J"]) for name, o in objects.items()},
            )
        )
    return tuple(sorted(found, key=lambda video: video.video_id))


def _worst_first(videos: list[str], scores: dict[str, Any]) -> list[str]:
    """By mean J over objects and frames; those without a score last, in the order they came in."""

    def mean_j(video_id: str) -> float:
        values = [j for scored in scores.get(video_id, {}).values() for j in scored["J"]]
        return float(np.nanmean(values)) if np.isfinite(values).any() else math.inf

    return sorted(videos, key=mean_j)


def pictures_of_run(
    run: Location, footage: Sequence[Footage], folder: Path, most_videos: int
) -> tuple[tuple[Film, ...], tuple[Film, ...]]:
    """Recoloured films and embedding sheets of some videos, written into `folder`."""
    colorizer = read_colorizer(weights_of(run))
    films: list[Film] = []
    sheets: list[Film] = []
    for index, item in enumerate(footage[:most_videos]):
        film = folder / f"recoloured-{index}.mp4"
        pictures = recoloured((frame for _, frame in item.frames()), colorizer)
        write_h264(film, pictures, item.fps_hz())
        films.append(
            Film(f"{item.video_id}: true colours, and recoloured from the first frame", film)
        )
        sheet = folder / f"embeddings-{index}.png"
        Image.fromarray(embedding_sheet((frame for _, frame in item.frames()), colorizer)).save(
            sheet
        )
        sheets.append(
            Film(f"{item.video_id}: frames, and their embeddings as three colours", sheet)
        )
    return tuple(films), tuple(sheets)


def collect_report(
    out: Location,
    *,
    archive: Location | None,
    truth: Location | None,
    run: Location | None,
    compare: Sequence[Location],
    most_films: int,
    most_pictures: int,
    folder: Path,
) -> Report:
    """Everything that the page shows about a propagation. Films are written into `folder`.

    Raises `UserError` for folders that hold no propagation, truth or run.
    """
    summary = propagation_of(out)
    where = archive if archive is not None else location(summary["archive"])
    videos = sorted(finished_videos(out))
    footage = [item for item in find_footage(where) if item.video_id in set(videos)]
    evaluation = evaluate_masks(truth, out, sequences=videos) if truth is not None else None
    rows: list[TableRow] = []
    if truth is not None and evaluation is not None:
        others = [(other, evaluate_masks(truth, other, sequences=videos)) for other in compare]
        rows = [table_row(folder_, scores) for folder_, scores in [*others, (out, evaluation)]]
    films: tuple[Film, ...] = ()
    sheets: tuple[Film, ...] = ()
    config: dict[str, Any] = {"propagation": summary["config"]}
    history: tuple[dict[str, Any], ...] = ()
    if run is not None:
        films, sheets = pictures_of_run(run, footage, folder, most_pictures)
        history = tuple(read_history(run))
        config["training"] = read_config(run)
    model, protocol = summary["config"]["model"]["kind"], summary["config"]["protocol"]["name"]
    return Report(
        title=f"Labels carried through {len(videos)} videos",
        subtitle=f"model {model}, protocol {protocol}",
        rows=tuple(rows),
        videos=propagated_videos(out, footage, evaluation, most_films),
        recoloured=films,
        pictures=sheets,
        history=history,
        config=config,
        gallery_page=PAGE,
    )
