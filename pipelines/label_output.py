"""In which format a video's labels are written, where, and how its frames are named there; and reading
them back.

One video of an archive may get another format than the next, and after a correction that brings an object
which the old format cannot hold also another one than before.

Shape suffixes: N instances, K joints, 2 (x, y), 4 (x, y, width, height).
"""

from collections.abc import Iterable, Mapping

import numpy as np

from model.errors import UserError
from model.propagation.annotations import (
    Annotation,
    BoxAnnotation,
    ColourAnnotation,
    KeypointAnnotation,
    MaskAnnotation,
    PointAnnotation,
)
from pipelines.labels.codec import Frame, LabelReader
from pipelines.labels.davis import read_mask
from pipelines.labels.formats import known_format, open_labels
from pipelines.labels.jhmdb import JOINTS, PERSON
from pipelines.labels.mask_folders import palette_keeps
from pipelines.labels.mot import OBJECT
from pipelines.storage import Location, inside

MASK_FOLDERS = ("davis", "youtube-vos")
"""Formats of a picture a frame: they go to `masks/`, all others to `labels/`."""
BY_STEM = (*MASK_FOLDERS, "coco-video", "coco-keypoints")
"""Formats that name a frame by its file; the others count."""


def format_for(first: Annotation, annotations: Iterable[Annotation], wanted: str) -> str:
    """The format of that name; with `auto` the plainest that holds all that these annotations name, and keeps
    its ids. `first` is one of them, and the others are of its kind.

    Raises `UserError` for an unknown name, and for colours, which no format holds.
    """
    if wanted != "auto":
        return known_format(wanted).name
    named = {_ids(annotation) for annotation in annotations}
    ids = {object_id for each in named for object_id in each}
    match first:
        case MaskAnnotation():
            return "davis" if palette_keeps(ids) else "coco-video"
        case KeypointAnnotation(_, xy_px_NK2):
            one = ids == {PERSON} and xy_px_NK2.shape[1] == len(JOINTS)
            return "jhmdb" if one else "coco-keypoints"
        case BoxAnnotation():
            return "otb" if ids == {OBJECT} else "mot"
        case PointAnnotation():
            return "tracks-npz" if len(named) == 1 else "tracks-csv"
    raise UserError(f"no format of labels holds a {type(first).__name__}")


def _ids(annotation: Annotation) -> tuple[int, ...]:
    """The objects of an annotation in its order."""
    if isinstance(annotation, MaskAnnotation):
        return tuple(i for i in np.unique(annotation.ids_HW).tolist() if i)
    return () if isinstance(annotation, ColourAnnotation) else annotation.ids


_PLACES: Mapping[type[Annotation], Mapping[str, str]] = {
    MaskAnnotation: {"davis": "masks/{}", "coco-video": "labels/{}.json"},
    KeypointAnnotation: {"jhmdb": "labels/{}", "coco-keypoints": "labels/{}.json"},
    BoxAnnotation: {"otb": "labels/{}", "mot": "labels/{}.txt"},
    PointAnnotation: {"tracks-npz": "labels/{}.npz", "tracks-csv": "labels/{}.csv"},
}
"""Where the labels of a video lie in the output folder, in the formats that `auto` takes for a kind."""


def auto_labels_in(
    out: Location, video_id: str, kind: type[Annotation]
) -> tuple[str, Location] | None:
    """Format and place of the labels of a video that lie in the output folder, had `auto` chosen the format;
    None where there are none."""
    for name, place in _PLACES.get(kind, {}).items():
        folder, file = place.split("/")
        found = inside(out / folder, file.format(video_id))
        if found.exists():
            return name, found
    return None


def folder_of(format_name: str) -> str:
    """The folder of the output that takes labels of this format."""
    return "masks" if format_name in MASK_FOLDERS else "labels"


def frame_key(format_name: str, stem: str, index: int) -> Frame:
    """How this format names a frame."""
    return stem if format_name in BY_STEM else index


class CommittedLabels:
    """The labels of one video in an output folder, frame by frame."""

    def __init__(self, out: Location, video_id: str, format_name: str) -> None:
        self._folder = out / folder_of(format_name)
        self._video_id = video_id
        self._format = format_name
        self._reader: LabelReader | None = None
        self._frames: frozenset[Frame] = frozenset()

    def read(self, name: str, index: int, empty: Annotation) -> Annotation:
        """The labels of a frame; `empty` where the file has no line for it, since nothing is there.
        Raises `UserError`."""
        if self._format in MASK_FOLDERS:
            return MaskAnnotation(read_mask(inside(self._folder, f"{self._video_id}/{name}.png")))
        if self._reader is None:
            self._reader = open_labels(self._folder, self._format)
            self._frames = frozenset(self._reader.frames(self._video_id))
        key = frame_key(self._format, name, index)
        return self._reader.read(self._video_id, key) if key in self._frames else empty


def empty_like(annotation: Annotation, size_hw: tuple[int, int]) -> Annotation:
    """An annotation of the same kind without objects."""
    match annotation:
        case MaskAnnotation():
            return MaskAnnotation(np.zeros(size_hw, np.uint8))
        case KeypointAnnotation(_, xy_px_NK2):
            return KeypointAnnotation((), xy_px_NK2[:0])
        case BoxAnnotation(_, xywh_px_N4):
            return BoxAnnotation((), xywh_px_N4[:0])
        case PointAnnotation(_, xy_px_N2):
            return PointAnnotation((), xy_px_N2[:0])
    raise UserError(f"no format of labels holds a {type(annotation).__name__}")
