"""What a video must be to be labelled: frames of one size, and something to carry.

Shape suffixes: H W pixels.
"""

from collections.abc import Sequence

import numpy as np

from model.errors import UserError
from model.propagation.annotations import Annotation, BoxAnnotation, MaskAnnotation
from model.propagation.columns.layout import COLUMNS, LabelLayout, kind_word

Labels = np.ndarray | Sequence[Annotation]
"""A mask [H, W] of integers, or records, at most one of a kind."""

NO_OBJECT = "the first mask has no object: every pixel is 0 (background)"


def as_annotations(labels: Labels) -> tuple[Annotation, ...]:
    """A mask alone is an annotation too. UserError for something that is none."""
    if isinstance(labels, np.ndarray):
        return (MaskAnnotation(labels),)
    for annotation in labels:
        if type(annotation) not in COLUMNS:
            raise UserError(f"{type(annotation).__name__} is no kind of annotation")
    return tuple(labels)


def check_something(layout: LabelLayout, annotations: Sequence[Annotation]) -> None:
    """UserError where the first annotations of a video name nothing to carry."""
    if not annotations:
        raise UserError("the first frame has no annotation")
    for annotation in annotations:
        if not layout.kinds[type(annotation)].columns.names_something(annotation):
            raise UserError(_nothing_in(annotation))


def _nothing_in(annotation: Annotation) -> str:
    match annotation:
        case MaskAnnotation():
            return NO_OBJECT
        case BoxAnnotation():
            return "the first box annotation has no box that lies in the image"
    return f"the first {kind_word(type(annotation))} annotation has no place to start from"


def check_next(frame_HW3: np.ndarray, size_px: tuple[int, ...], frame_index: int) -> None:
    """UserError for a frame that `step` refuses: another size than the first frame's, or no frame."""
    check_frame(frame_HW3, frame_index)
    if frame_HW3.shape[:2] != size_px:
        raise UserError(
            f"frame {frame_index} is {_size(frame_HW3.shape)}, the first frame {_size(size_px)}"
        )


def is_frame_of(frame_HW3: np.ndarray, size_px: tuple[int, ...]) -> bool:
    """Whether `check_next` lets the frame pass."""
    return frame_HW3.shape == (*size_px, 3) and frame_HW3.dtype == np.uint8


def check_frame(frame_HW3: np.ndarray, frame_index: int) -> None:
    """UserError for an array that is no picture."""
    if frame_HW3.ndim != 3 or frame_HW3.shape[2] != 3 or frame_HW3.dtype != np.uint8:
        raise UserError(
            f"frame {frame_index} has shape {frame_HW3.shape} and type {frame_HW3.dtype}, "
            "expected uint8 RGB [height, width, 3]"
        )
    if 0 in frame_HW3.shape:
        raise UserError(f"frame {frame_index} is empty: {_size(frame_HW3.shape)}")


def _size(shape: Sequence[int]) -> str:
    return f"{shape[1]}x{shape[0]} px (width x height)"
