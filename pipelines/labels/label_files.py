"""Where the label files of videos lie, and which format they have."""

import re
from collections.abc import Mapping
from functools import partial

from model.errors import UserError
from pipelines.labels.checks import read_content, read_lines
from pipelines.labels.jhmdb import FILE_NAME as JHMDB_NAME
from pipelines.labels.jhmdb import JSON_NAME as JHMDB_JSON_NAME
from pipelines.labels.layout import find_masks
from pipelines.labels.mask_folders import META, is_youtube_vos
from pipelines.labels.mot import OTB_NAME
from pipelines.storage import Location, files_in, folders_in, read_json

OTB_NAMES = (OTB_NAME, "groundtruth_rect.txt")
MOT_NAMES = ("gt/gt.txt", "det/det.txt")

Files = Mapping[str, Location]
"""Label files by the id of their video."""


def recognised(location: Location) -> str | None:
    """The name of the format that lies there. Raises `UserError` for a file that must be read to tell, and
    cannot be."""
    if location.is_dir():
        if find_masks(location):
            return "youtube-vos" if is_youtube_vos(location) else "davis"
        for name, found in (
            ("jhmdb", _named((JHMDB_NAME,), location, nested=True)),
            ("otb", _named(OTB_NAMES, location)),
            ("mot", _named(MOT_NAMES, location)),
        ):
            if found:
                return name
        files = [file for key, file in files_in(location).items() if not key.startswith(".")]
        return next((known for file in files if (known := _of_file(file))), None)
    return _of_file(location)


def _of_file(path: Location) -> str | None:
    suffix = path.suffix.lower()
    if suffix == ".json":
        return _of_json(path)
    if suffix == ".txt":
        return _of_text(path)
    if suffix == ".xml":
        return "cvat-images" if re.search(rb"<image\s", read_content(path)) else "cvat"
    if suffix == ".mat":
        return "jhmdb"
    return {".csv": "tracks-csv", ".npz": "tracks-npz"}.get(suffix)


def _of_json(path: Location) -> str | None:
    document = read_json(path)
    if isinstance(document, dict) and isinstance(document.get("videos"), list):
        return "coco-video"
    if isinstance(document, dict) and isinstance(document.get("images"), list):
        return "coco-keypoints"
    return None


def _of_text(path: Location) -> str | None:
    _, line = next(read_lines(path), ("", ""))
    if line.count(",") >= 5:
        return "mot"
    if len(line.split()) == 6:
        return "mots"
    return "otb" if len(re.split(r"[,;\s]+", line)) == 4 else None


def with_suffix(suffix: str, location: Location) -> Files:
    """The file itself, or the files of a folder, by stem."""
    if not location.is_dir():
        return {location.stem: location} if location.suffix.lower() == suffix else {}
    found: dict[str, Location] = {}
    for name, file in files_in(location).items():
        if file.suffix.lower() == suffix and not name.startswith(".") and name != META:
            if file.stem in found:
                raise UserError(f"{file}: the same video as {found[file.stem].name}")
            found[file.stem] = file
    return found


def _named(names: tuple[str, ...], location: Location, nested: bool = False) -> Files:
    """The file itself, by its folder's name or its stem, or VIDEO/NAME of a folder (and GROUP/VIDEO/NAME
    if `nested`)."""
    if not location.is_dir():
        whole = location.absolute()
        below = next((name for name in names if str(whole).endswith(f"/{name}")), None)
        if below is None:
            return {location.stem: location}
        folder = whole.parent.parent if "/" in below else whole.parent
        return {folder.name: location}
    found: dict[str, Location] = {}
    for video, folder in folders_in(location).items():
        paths = [folder.joinpath(*name.split("/")) for name in names]
        file = next((path for path in paths if path.is_file()), None)
        inner = {video: file} if file else _named(names, folder) if nested else {}
        for name, path in inner.items():
            if found.setdefault(name, path) is not path:
                raise UserError(f"{path}: the same video as {found[name]}")
    return found


jhmdb_files = partial(_named, (JHMDB_NAME, JHMDB_JSON_NAME), nested=True)


def otb_files(location: Location) -> Files:
    """VIDEO/groundtruth.txt or VIDEO/groundtruth_rect.txt, or VIDEO.txt."""
    found = dict(_named(OTB_NAMES, location))
    if location.is_dir():
        for video, file in with_suffix(".txt", location).items():
            if found.setdefault(video, file) is not file:
                raise UserError(f"{file}: the same video as {found[video]}")
    return found


def mot_files(location: Location) -> Files:
    """VIDEO/gt/gt.txt (or det/det.txt where there is none), or VIDEO.txt."""
    return _named(MOT_NAMES, location) or with_suffix(".txt", location)
