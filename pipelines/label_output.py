"""In which format a video's labels are written, where, and how its frames are named there."""

from model.errors import UserError
from model.propagation.annotations import (
    Annotation,
    BoxAnnotation,
    KeypointAnnotation,
    MaskAnnotation,
    PointAnnotation,
)
from pipelines.labels.codec import Frame
from pipelines.labels.formats import known_format
from pipelines.labels.jhmdb import JOINTS

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
