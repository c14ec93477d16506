"""The annotated frames that a video is labelled from: of the labels, and of corrections made later.

A frame's annotation is read when it is asked for. A correction wins over the labels at the same frame, and
stays: a video that was labelled with it keeps it, also when later corrections do not name it again.
"""

import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, fields, replace

import numpy as np

from model.propagation.annotations import Annotation, MaskAnnotation
from model.propagation.columns.layout import kind_word
from pipelines.archive_plan import (
    Direction,
    LabelSource,
    UnfitVideo,
    anchor_places,
    annotated,
    check_mask_size,
    refuse_late_labels,
)
from pipelines.footage import Footage
from pipelines.labels.codec import Frame, LabelReader
from pipelines.spans import Span, spans_of


@dataclass(frozen=True)
class Anchor:
    """What a person said of a frame."""

    read: Callable[[], Annotation]
    """Raises `UserError` naming a file that is damaged."""
    known_digest: str | None = None
    """Where it is known without reading."""
    corrected: bool = False
    """Whether it is a correction, now or in an earlier run."""

    def digest(self) -> str:
        return self.known_digest or digest(self.read())


@dataclass(frozen=True)
class Anchors(Mapping[int, Annotation]):
    """Annotations by the frame's place in the video, in order; each is read whenever it is asked for."""

    found: Mapping[int, Anchor]

    def __getitem__(self, index: int) -> Annotation:
        """Raises `UserError` naming a file that is damaged."""
        return self.found[index].read()

    def __contains__(self, index: object) -> bool:
        return index in self.found  # without reading it

    def __iter__(self) -> Iterator[int]:
        return iter(sorted(self.found))

    def __len__(self) -> int:
        return len(self.found)

    def digests(self) -> dict[int, str]:
        """By frame, in order."""
        return {index: self.found[index].digest() for index in self}

    def corrections(self) -> frozenset[int]:
        """Frames that are corrections."""
        return frozenset(index for index, anchor in self.found.items() if anchor.corrected)

    def spans(self, direction: Direction) -> list[Span]:
        """The spans that they make. The first annotated frame begins one, and each other in which what
        is not annotated is not there."""
        order = list(self)
        begins = order[:1] + [i for i in order[1:] if is_complete(self[i])]
        return spans_of(begins, direction)


def is_complete(annotation: Annotation) -> bool:
    """Whether it says of everything in its frame where it is, so that nothing before matters."""
    return not isinstance(annotation, MaskAnnotation) or annotation.complete


def find_anchors(
    footage: Footage,
    size_hw: tuple[int, int],
    labels: tuple[LabelSource, LabelReader],
    corrections: LabelReader | None,
    kept: Mapping[int, Anchor],
) -> Anchors:
    """All anchors of a video with frames of that size; `kept` are corrections that it was labelled with
    before.

    Raises:
        UnfitVideo: there are none, they are frames that the video does not have, they begin too late to
            be carried forwards, or corrections are of another kind than the labels.
        UserError: a file of labels is damaged; an annotation that is read and is a mask of another size.
    """
    source, reader = labels
    video_id = footage.video_id

    def anchor(reader: LabelReader, frame: Frame) -> Anchor:
        def read() -> Annotation:
            annotation = reader.read(video_id, frame)
            check_mask_size(annotation, size_hw, reader.where(video_id, frame))
            return annotation

        return Anchor(read, corrected=reader is corrections)

    found: dict[int, Anchor] = {}
    for index, frame in annotated(footage, reader, source).anchors:
        found[index] = anchor(reader, frame)
    for index, before in kept.items():
        same = index in found and found[index].digest() == before.known_digest
        found[index] = replace(found[index] if same else before, corrected=True)
    if corrections is not None and video_id in corrections.videos():
        kind = type(found[min(found)].read())
        for index, frame in anchor_places(footage, corrections.frames(video_id)):
            found[index] = anchor(corrections, frame)
            given = type(found[index].read())
            if given is not kind:
                words = kind_word(given), kind_word(kind)
                raise UnfitVideo(
                    "unusable", "corrections are of kind {}, labels of kind {}".format(*words)
                )
    if source.direction == "forwards":
        refuse_late_labels(sorted(found), None if footage.is_file else footage.stems())
    return Anchors(found)


def digest(annotation: Annotation) -> str:
    """Short digest of what an annotation says, whatever file it stood in."""
    made = hashlib.blake2b(type(annotation).__name__.encode(), digest_size=8)
    for part in fields(annotation):
        value = getattr(annotation, part.name)
        if isinstance(value, np.ndarray):
            kind = np.float64 if value.dtype.kind == "f" else np.int64
            numbers = np.ascontiguousarray(value.astype(kind))
            made.update(f"{numbers.shape}".encode() + numbers.tobytes())
        else:
            made.update(f"{value}".encode())
    return made.hexdigest()
