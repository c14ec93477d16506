"""The output folder of a propagation: what may lie in it, which videos are finished, how one is committed.

On a disk a video's labels are written into a hidden folder and moved to their place when the last one is
there. S3 renames nothing: there they are made on the local disk, uploaded, and only then a small object
`.complete/VIDEO` is written; a video without it does not count.
"""

import contextlib
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from model.errors import UserError
from pipelines.label_output import folder_of
from pipelines.s3_path import S3Path
from pipelines.storage import (
    Location,
    files_in,
    folders_in,
    inside,
    read_json,
    remove_files,
    remove_folder,
    upload_folder,
    write_bytes,
    write_json,
)

_COMPLETE = ".complete"
LABEL_FOLDERS = ("masks", "labels")


@dataclass(frozen=True)
class VideoOutput:
    """Where the files of one video are to be written."""

    place: Path
    """An empty folder; what is put there (a folder or a file named after the video) is the labels."""
    film: Path


def prepare_propagation(out: Location, config: dict[str, Any], overwrite: bool) -> None:
    """Make the folder, or check that it holds a propagation with the same configuration.

    Raises `UserError` when it holds another one, or something else.
    """
    path = out / "summary.json"
    if path.exists() and not overwrite:
        before = read_json(path).get("config", {})
        changed = [key for key in config if before.get(key) != config[key]]
        if changed:
            raise UserError(
                f"{out}: made with another {changed[0]} ({before.get(changed[0])}); "
                "use --overwrite or another folder"
            )
    elif out.exists() and any(out.iterdir()) and not path.exists():
        raise UserError(f"{out}: is not empty and holds no propagation")
    if overwrite:
        for name in (_COMPLETE, *LABEL_FOLDERS, "overlays", "report"):
            remove_folder(out / name)
        remove_files([out / "summary.json", out / "errors.parquet"])
    out.mkdir(parents=True, exist_ok=True)
    if not path.exists():
        write_json(path, {"state": "incomplete", "config": config})


def finished_videos(out: Location) -> set[str]:
    """Ids of the videos that are labelled already, from one listing a folder."""
    if isinstance(out, S3Path):
        return set(files_in(out / _COMPLETE))
    names = [name for folder in LABEL_FOLDERS for name in folders_in(out / folder)]
    names += [file.stem for file in files_in(out / "labels").values()]
    return {name for name in names if not name.startswith(".")}


@contextlib.contextmanager
def video_output(out: Location, video_id: str, format_name: str) -> Iterator[VideoOutput]:
    """Local paths for the labels and the film of a video; they count when the body has ended well."""
    folder = out / folder_of(format_name)
    hidden = inside(folder, f".{video_id}.partial")
    film = inside(out / "overlays", f"{video_id}.mp4")
    if isinstance(folder, S3Path):
        with tempfile.TemporaryDirectory() as name:
            made = VideoOutput(Path(name) / "labels", Path(name) / "film" / "film.mp4")
            for part in (made.place, made.film.parent):
                part.mkdir()
            yield made
            upload_folder(made.place, folder)
            if made.film.exists():
                write_bytes(film, made.film.read_bytes())
            write_bytes(inside(out / _COMPLETE, video_id), b"")
        return
    assert isinstance(film, Path) and isinstance(hidden, Path)
    shutil.rmtree(hidden, ignore_errors=True)
    hidden.mkdir(parents=True)
    film.parent.mkdir(parents=True, exist_ok=True)
    yield VideoOutput(hidden, film)
    for entry in hidden.iterdir():
        entry.replace(folder / entry.name)
    hidden.rmdir()
