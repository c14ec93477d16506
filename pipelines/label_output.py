"""In which format a video's labels are written, where, and how its frames are named there; and reading
them back.

Shape suffixes: N instances, K joints, 2 (x, y), 4 (x, y, width, height).
"""

import numpy as np

from model.errors import UserError
from model.propagation.annotations import (
    Annotation,
    BoxAnnotation,
    KeypointAnnotation,
    MaskAnnotation,
    PointAnnotation,
)
from pipelines.labels.codec import Frame, LabelReader
from pipelines.labels.davis import read_mask
from pipelines.labels.formats import known_format, open_labels
from pipelines.labels.jhmdb import JOINTS
from pipelines.storage import Location, inside

MASK_FOLDERS = ("davis", "youtube-vos")
"""Formats of a picture a frame: they go to `masks/`, all others to `labels/`."""
BY_STEM = (*MASK_FOLDERS, "coco-video", "coco-keypoints")
"""Formats that name a frame by its file; the others count."""


def format_for(annotation: Annotation, wanted: str) -> str:
    """The format of that name; with `auto` the plainest that holds this kind of label.

    Raises `UserError` for an unknown name, and for colours, which no format holds.
    """
    if wanted != "auto":
        return known_format(wanted).name
    if isinstance(annotation, MaskAnnotation):
        return "davis" if int(annotation.ids_HW.max(initial=0)) <= 255 else "coco-video"
    if isinstance(annotation, KeypointAnnotation):
        instances, joints, _ = annotation.xy_px_NK2.shape
        return "jhmdb" if (instances, joints) == (1, len(JOINTS)) else "coco-keypoints"
    if isinstance(annotation, BoxAnnotation):
        return "otb" if len(annotation.ids) == 1 else "mot"
    if isinstance(annotation, PointAnnotation):
        return "tracks-npz"
    raise UserError(f"no format of labels holds a {type(annotation).__name__}")


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
