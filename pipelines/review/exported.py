"""What was predicted in frames that `huetrack review export` wrote, so that it is not taken for what a person
said when it comes back as it was.

The digests stand in the export's `frames.json`, and in `exported.json` of the propagation's output, since an
annotation tool gives back a folder of its own.
"""

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from typing import Any

import numpy as np

from model.errors import UserError
from model.propagation.annotations import Annotation, BoxAnnotation
from pipelines.anchors import digest
from pipelines.labels.codec import Frame, LabelReader, frame_stem
from pipelines.labels.formats import open_labels
from pipelines.s3 import StorageError
from pipelines.storage import Location, read_json, write_json

LIST_NAME = "frames.json"
"""In the folder of an export."""
RECORD_NAME = "exported.json"
"""In the output of a propagation: digests by video and frame, of all exports."""
DIGEST = "exported_labels"
"""In an entry of the list: a digest of the labels, or null where the frame waits for somebody to draw."""
_DECIMALS = 2
"""Of pixels: as CVAT writes them."""

Digests = Mapping[str, Mapping[str, Sequence[str]]]
"""By video and frame's stem."""


def digests_of_export(place: Location, form: str) -> dict[str, dict[str, str]]:
    """Of all annotated frames that an export holds, as they are read."""
    reader = open_labels(place, {"cvat": "cvat-images"}.get(form, form))
    return {
        video_id: {
            frame_stem(frame): exported_digest(reader.read(video_id, frame))
            for frame in reader.frames(video_id)
        }
        for video_id in reader.videos()
    }


def exported_digest(annotation: Annotation) -> str:
    """The same before and after a tool that keeps two decimals of a pixel; of boxes, of their corners."""
    if isinstance(annotation, BoxAnnotation):
        xy, wh = annotation.xywh_px_N4[:, :2], annotation.xywh_px_N4[:, 2:]
        annotation = replace(annotation, xywh_px_N4=np.concatenate([xy, xy + wh], axis=1))
    values: dict[str, Any] = {f.name: getattr(annotation, f.name) for f in fields(annotation)}
    for name, value in values.items():
        if isinstance(value, np.ndarray) and value.dtype.kind == "f":
            values[name] = np.round(value, _DECIMALS) + 0.0  # no -0.0
    return digest(type(annotation)(**values))


def record_export(out: Location, digests: Mapping[str, Mapping[str, str]]) -> None:
    """Add to what an output knows of its exports. One that cannot be written keeps no record: then the
    list in the export says it alone."""
    record = {video: dict(frames) for video, frames in _recorded(out / RECORD_NAME).items()}
    for video_id, frames in digests.items():
        known = record.setdefault(video_id, {})
        for frame, made in frames.items():
            known[frame] = sorted({*known.get(frame, ()), made})
    with contextlib.suppress(OSError, StorageError):
        write_json(out / RECORD_NAME, record)


def unedited_frames(
    reader: LabelReader, place: Location, out: Location
) -> frozenset[tuple[str, Frame]]:
    """Frames of corrections in that place which say what an export from `out`, or the one that lies there,
    said."""
    folder = place if place.is_dir() else place.parent
    sources = (_recorded(out / RECORD_NAME), _listed(folder / LIST_NAME))
    found: set[tuple[str, Frame]] = set()
    for video_id in reader.videos():
        exported = [source[video_id] for source in sources if video_id in source]
        for frame in reader.frames(video_id) if exported else ():
            known = {each for frames in exported for each in frames.get(frame_stem(frame), ())}
            with contextlib.suppress(UserError):  # a damaged file is told of where it is used
                if known and exported_digest(reader.read(video_id, frame)) in known:
                    found.add((video_id, frame))
    return frozenset(found)


def _recorded(path: Location) -> Digests:
    """Raises `UserError` for a file that is damaged."""
    record: Any = read_json(path) if path.is_file() else {}
    if not isinstance(record, dict):
        raise UserError(f"{path}: not a record of exported frames; remove it")
    return record


def _listed(path: Location) -> Digests:
    """Of an export's list; nothing where there is none, or another file of that name."""
    entries: Any = []
    with contextlib.suppress(UserError):
        entries = read_json(path)
    found: dict[str, dict[str, list[str]]] = {}
    for entry in entries if isinstance(entries, list) else ():
        match entry:
            case {"video_id": str(video_id), "frame": str(frame), "exported_labels": str(made)}:
                found.setdefault(video_id, {})[frame] = [made]
    return found
