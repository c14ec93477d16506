"""The output folder of a propagation: what may lie in it, which videos are finished, how one is committed.

A video is finished when its predictions are in place: they come last, after its labels and its film.

On a disk everything is made in `.staged/VIDEO`, laid out like the folder itself. When it is whole it is
renamed to `.ready/VIDEO`, and from then on it counts: its files are moved to their places, and if the run is
killed meanwhile the next one moves the rest. So a correction, which replaces a part of what is there, is
there as a whole or not at all. S3 renames nothing: there a video is made on the local disk and uploaded, and
what was cut short is made again.
"""

import contextlib
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from model.errors import UserError
from pipelines.label_state import FILE_NAME as LABEL_STATES
from pipelines.predictions import FOLDER as PREDICTIONS
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

LABEL_FOLDERS = ("masks", "labels")
OVERLAYS = "overlays"
TOTALS = ("predictions", "mean_confidence", "share_flagged")
"""In `summary.json`: what is counted over all predictions."""
_ORDER = (*LABEL_FOLDERS, OVERLAYS, PREDICTIONS)
"""In which the parts of a video are put in place: the last one makes it count."""
_STAGED, _READY, _ATTEMPTS = ".staged", ".ready", ".attempts"
COLLECTION = "labels.json"
"""All videos in one file, where the format has room for them: made from the files of single ones, at the
end of every run."""
_REMOVED_FOLDERS = (*_ORDER, _READY, "report")
_REMOVED_FILES = ("summary.json", "errors.parquet", LABEL_STATES)
REMOVED = (*_REMOVED_FOLDERS, *_REMOVED_FILES, _STAGED, _ATTEMPTS, COLLECTION)
"""What an overwrite removes, or replaces in the end."""
_PART = ".part"
"""In a staged video: it replaces a part of the labels that are there."""
_REPLACED = ".replaced"
"""In a staged video: labels in another format that it takes the place of."""


def prepare_propagation(
    out: Location,
    config: dict[str, Any],
    overwrite: bool,
    at_stake: Callable[[], str] = lambda: "",
) -> None:
    """Make the folder, or check that it holds a propagation with the same configuration, and finish what
    a killed run left half in place.

    `at_stake` says what an overwrite would lose for ever, if anything. Raises `UserError` then, when the
    folder holds another propagation, or something else.
    """
    path = out / "summary.json"
    if path.exists() and not overwrite:
        before = read_json(path).get("config", {})
        changed = [key for key in config if before.get(key) != config[key]]
        if changed:
            difference = _difference(before.get(changed[0]), config[changed[0]])
            lost = at_stake()
            remedy = "--overwrite or another folder"
            if lost:
                remedy = f"another folder (--overwrite would lose {lost})"
            raise UserError(f"{out}: made with another {changed[0]} ({difference}); use {remedy}")
    elif not path.exists() and out.exists() and not _is_empty(out):
        raise UserError(f"{out}: is not empty and holds no propagation")
    out.mkdir(parents=True, exist_ok=True)
    if isinstance(out, Path):
        for ready in folders_in(out / _READY).values():
            _put_in_place(ready, out)
    if overwrite:
        if lost := at_stake():
            raise UserError(
                f"{out}: --overwrite would lose {lost}, which neither --labels nor --corrections give; "
                "give them with --corrections, name another --out, or remove the folder yourself"
            )
        for name in _REMOVED_FOLDERS:
            remove_folder(out / name)
        remove_files([out / name for name in _REMOVED_FILES])
    for name in (_STAGED, _ATTEMPTS):
        remove_folder(out / name)
    if not path.exists():
        write_json(path, {"state": "incomplete", "config": config})


def forget_outcome(out: Location) -> None:
    """Before labels are made: what an earlier run counted and the gallery it drew hold no more, should this
    one not come to its end."""
    path = out / "summary.json"
    kept = {name: value for name, value in read_json(path).items() if name not in TOTALS}
    write_json(path, kept)
    remove_files([out / "report" / "index.html"])


def _difference(before: Any, now: Any) -> str:
    """What has changed, in words; of settings with another name only that."""
    if not (isinstance(before, dict) and isinstance(now, dict)):
        return f"{before} -> {now}"
    changed = [key for key in {**before, **now} if before.get(key) != now.get(key)]
    shown = [key for key in changed if key in ("kind", "name")] or changed
    return ", ".join(f"{key} {before.get(key)} -> {now.get(key)}" for key in shown)


def tidy(out: Location) -> None:
    """Remove what only a running propagation needs."""
    for name in (_STAGED, _READY, _ATTEMPTS):
        remove_folder(out / name)


def _is_empty(folder: Location) -> bool:
    return all(entry.name.startswith(".") for entry in folder.iterdir())


def finished_videos(out: Location) -> set[str]:
    """Ids of the videos that have labels and predictions, from one listing a folder."""
    return _predicted(out).keys() & _labelled(out)


def forget_unlabelled(out: Location) -> None:
    """Remove predictions of videos whose labels somebody removed: by them a worker would take the video for
    one that it has finished."""
    labelled = _labelled(out)
    remove_files([path for name, path in _predicted(out).items() if name not in labelled])


def _labelled(out: Location) -> set[str]:
    folders = {name for folder in LABEL_FOLDERS for name in folders_in(out / folder)}
    return folders | {file.stem for file in files_in(out / "labels").values()}


def _predicted(out: Location) -> dict[str, Location]:
    return {
        name.removesuffix(".parquet"): path
        for name, path in files_in(out / PREDICTIONS).items()
        if name.endswith(".parquet") and not name.startswith(".")
    }


def predictions_of(out: Location, video_id: str) -> Location:
    return inside(out / PREDICTIONS, f"{video_id}.parquet")


@contextlib.contextmanager
def staged_video(
    out: Location, video_id: str, *, part: bool, replaced: Location | None = None
) -> Iterator[Path]:
    """An empty local folder, laid out like `out`, whose files become those of the video when the body has
    ended well: all at once for whoever runs next. `part`: what is not in it stays as it was; else
    labels that are there are replaced. `replaced`: labels in another format, in `out`, that go as well.
    """
    if isinstance(out, S3Path):
        with tempfile.TemporaryDirectory() as name:
            yield Path(name)
            _upload(Path(name), out, video_id, part)
            if replaced is not None:
                _remove(replaced)
        return
    staged = inside(out / _STAGED, video_id)
    ready = inside(out / _READY, video_id)
    shutil.rmtree(staged, ignore_errors=True)
    staged.mkdir(parents=True)
    try:
        yield staged
        if part:
            (staged / _PART).touch()
        if isinstance(replaced, Path):
            (staged / _REPLACED).write_text(str(replaced.relative_to(out)), "utf-8")
        ready.parent.mkdir(exist_ok=True)
        staged.rename(ready)
    finally:
        shutil.rmtree(staged, ignore_errors=True)
    _put_in_place(ready, out)


def _put_in_place(ready: Path, out: Path) -> None:
    """Move a whole video to its places; it does no harm to begin again after being cut short."""
    part = (ready / _PART).exists()
    if (ready / _REPLACED).exists():
        _remove(out / (ready / _REPLACED).read_text("utf-8"))
    for folder in _ORDER:
        for entry in sorted((ready / folder).iterdir()) if (ready / folder).is_dir() else ():
            target = out / folder / entry.name
            target.parent.mkdir(parents=True, exist_ok=True)
            if entry.is_dir() and target.exists():
                if not part:
                    shutil.rmtree(target)
                    entry.rename(target)
                else:
                    for file in sorted(entry.iterdir()):
                        file.replace(target / file.name)
            else:
                entry.replace(target)
    shutil.rmtree(ready)


def _remove(labels: Location) -> None:
    """Of labels the file or folder, as far as it is still there."""
    if labels.is_dir():
        remove_folder(labels)
    else:
        remove_files([labels])


def _upload(made: Path, out: S3Path, video_id: str, part: bool) -> None:
    if not part:
        remove_files([predictions_of(out, video_id)])
        for folder in LABEL_FOLDERS:
            remove_folder(inside(out / folder, video_id))
    for folder in _ORDER:
        if (made / folder).is_dir():
            upload_folder(made / folder, out / folder)


class Attempts:
    """How often videos were begun in this run, in small files: of a video that kills its worker nothing
    else tells."""

    def __init__(self, out: Location) -> None:
        self._folder = out / _ATTEMPTS

    def begin(self, video_id: str) -> int:
        """The number of this attempt, from 1 on."""
        path = inside(self._folder, video_id)
        before = len(path.read_bytes()) if path.is_file() else 0
        write_bytes(path, b"." * (before + 1))
        return before + 1

    def end(self, video_id: str) -> None:
        """The video did not kill its worker."""
        remove_files([inside(self._folder, video_id)])


def folder_bytes(folder: Path) -> int:
    """Size of all files below a local folder."""
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
