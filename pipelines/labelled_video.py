"""One video through the engine: labels, film and predictions in one pass, committed together."""

import contextlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pyarrow as pa

from model.confidence.return_check import ReturnCheck
from model.confidence.scorer import ConfidenceModel
from model.confidence.tracker import ObjectConfidence, VideoConfidence
from model.errors import UserError
from model.propagation.annotations import Annotation
from pipelines.anchors import Anchor, find_anchors
from pipelines.archive_plan import LabelSource, UnfitVideo
from pipelines.footage import Footage, FootageFrame
from pipelines.label_output import (
    MASK_FOLDERS,
    CommittedLabels,
    auto_labels_in,
    empty_like,
    folder_of,
    format_for,
    frame_key,
)
from pipelines.labels.codec import Frame, LabelReader, VideoInfo
from pipelines.labels.formats import write_labels
from pipelines.overlay_film import OverlayFilm
from pipelines.pictures import drawn
from pipelines.prediction_rows import kind_of, prediction_rows
from pipelines.predictions import FOLDER as PREDICTIONS
from pipelines.predictions import (
    CommittedPredictions,
    PredictionWriter,
    VideoFacts,
    read_facts,
    rows_by_frame,
)
from pipelines.propagation_folder import OVERLAYS, folder_bytes, predictions_of, staged_video
from pipelines.span_carrier import CarriedFrame, SpanCarrier
from pipelines.spans import spans_to_make
from pipelines.storage import Location, inside


@dataclass(frozen=True)
class Wanted:
    """What is made of every video, and where."""

    out: Location
    out_format: str
    overlays: bool


@dataclass(frozen=True)
class Made:
    """What became of a video."""

    state: Literal["made", "corrected", "unchanged"]
    frames: int = 0
    """Frames that were labelled now."""
    bytes: int = 0
    """Size of what was written."""


@dataclass(frozen=True)
class VideoMaker:
    """Labels videos, one at a time."""

    carrier: SpanCarrier
    labels: tuple[LabelSource, LabelReader]
    corrections: LabelReader | None
    wanted: Wanted
    confidence: ConfidenceModel | None
    """Without it the columns that come from it are null."""
    check: ReturnCheck | None = None
    """Beside a confidence model, for predictions to be carried back too."""

    def make(self, footage: Footage, *, correct: bool) -> Made:
        """Label a video, or with `correct` do those spans of a finished one again that corrections and
        changed labels touch.

        Raises `UnfitVideo`, `UserError`, `StorageError` and `OSError`; then all is as it was.
        """
        with footage.here() as local:
            try:
                size_hw = local.first_frame()[1]
            except UserError as error:
                raise UnfitVideo("unreadable", str(error)) from error
            earlier = None
            if correct:
                earlier = read_facts(predictions_of(self.wanted.out, footage.video_id))
            return _Pass(self, footage, local, size_hw, earlier).run()


class _Pass:
    """One pass through a video."""

    def __init__(
        self,
        maker: VideoMaker,
        footage: Footage,
        local: Footage,
        size_hw: tuple[int, int],
        earlier: CommittedPredictions | None,
    ) -> None:
        self._maker = maker
        self._out = maker.wanted.out
        self._footage = footage
        self._local = local
        self._size_hw = size_hw
        self._earlier = earlier
        source, reader = maker.labels
        first = reader.read(footage.video_id, self._first_label(reader))
        self._refuse_another_kind(first)
        self._known = reader.info(footage.video_id)
        self._empty = empty_like(first, size_hw)
        wanted, there = maker.wanted.out_format, None
        if wanted == "auto":
            there = auto_labels_in(self._out, footage.video_id, type(first))
        before = there[0] if there else wanted
        self._committed = CommittedLabels(self._out, footage.video_id, before)
        self._anchors = find_anchors(local, size_hw, maker.labels, maker.corrections, self._kept())
        self._format = format_for(first, self._anchors.values(), wanted)
        self._replaced = there[1] if there and before != self._format else None
        self._digests = self._anchors.digests()
        anchors_before = None if earlier is None else earlier.anchors
        spans = self._anchors.spans(source.direction)
        self._spans = spans_to_make(spans, self._digests, anchors_before)
        self._frames = self._made = 0
        self._end_s = 0.0

    def _first_label(self, reader: LabelReader) -> Frame:
        frames = reader.frames(self._footage.video_id)
        if not frames:
            raise UnfitVideo("no_labels", "no annotated frame")
        return frames[0]

    def _refuse_another_kind(self, label: Annotation) -> None:
        """Labels of another kind would come to lie beside those that are there."""
        if self._earlier is None:
            return
        _, rows = next(rows_by_frame(predictions_of(self._out, self._footage.video_id)), (0, None))
        before = None if rows is None else rows.column("kind")[0].as_py()
        if before not in (None, kind_of(label)):
            raise UnfitVideo(
                "unusable",
                f"labels are of kind {kind_of(label)}, it was labelled from kind {before}; remove "
                f"predictions/{self._footage.video_id}.parquet to make it anew",
            )

    def _kept(self) -> dict[int, Anchor]:
        if self._earlier is None:
            return {}
        names = None if self._local.is_file else self._local.stems()

        def read(index: int) -> Annotation:
            name = names[index] if names else f"{index:05d}"
            return self._committed.read(name, index, self._empty)

        return {
            index: Anchor(lambda index=index: read(index), digest)  # type: ignore[misc]
            for index, digest in self._earlier.anchors.items()
            if index in self._earlier.corrections
        }

    def run(self) -> Made:
        if not any(wanted for _, wanted in self._spans):
            return Made("unchanged")
        video_id = self._footage.video_id
        known = self._known
        part = self._earlier is not None
        with (
            staged_video(self._out, video_id, part=part, replaced=self._replaced) as place,
            _told_of(self._out, place),
        ):
            predictions = inside(place / PREDICTIONS, f"{video_id}.parquet")
            predictions.parent.mkdir()
            with PredictionWriter(predictions) as writer:
                with self._film(inside(place / OVERLAYS, f"{video_id}.mp4")) as film:
                    info = VideoInfo(
                        video_id,
                        size_hw=self._size_hw,
                        object_names=known.object_names,
                        joint_names=known.joint_names,
                    )
                    labels = place / folder_of(self._format)
                    write_labels(self._format, labels, info, self._labels_of(film, writer))
                writer.finish(self._facts(), self._digests, self._anchors.corrections())
            size = folder_bytes(place)
        return Made("made" if self._earlier is None else "corrected", self._made, size)

    @contextlib.contextmanager
    def _film(self, path: Path) -> Iterator[OverlayFilm | None]:
        if not self._maker.wanted.overlays:
            yield None
            return
        path.parent.mkdir()
        with OverlayFilm(path, self._local.fps_hz()) as film:
            yield film

    def _labels_of(
        self, film: OverlayFilm | None, writer: PredictionWriter
    ) -> Iterator[tuple[Frame, Annotation]]:
        """What the file or folder of labels gets; frames of a folder that stay as they are, not."""
        scorer = self._maker.confidence
        confidence = None if scorer is None else VideoConfidence(scorer, self._maker.check)
        old_rows = self._old_rows()
        whole = self._format not in MASK_FOLDERS or self._replaced is not None
        frames = _readable(self._local.timed_frames())
        for each in self._maker.carrier.carry(frames, self._anchors, self._spans):
            frame = each.frame
            self._frames, self._end_s = frame.index + 1, frame.time_s
            if each.result is None:
                record = self._committed.read(frame.name, frame.index, self._empty)
                rows = old_rows.get(frame.index)
                flagged = rows is not None and writer.copy(rows)
            else:
                record = next(carried.record for carried in each.result.carried)
                flagged = writer.add(self._rows(each, confidence))
                self._made += 1
            if film is not None:
                film.write(drawn(frame.picture_HW3, record), flagged)
            if each.result is not None or whole:
                yield frame_key(self._format, frame.name, frame.index), record

    def _rows(
        self, each: CarriedFrame, confidence: VideoConfidence | None
    ) -> list[dict[str, object]]:
        assert each.result is not None
        found: tuple[ObjectConfidence, ...] = ()
        if confidence is not None:
            given = [] if each.annotation is None else [each.annotation]
            take = confidence.start if each.begins else confidence.step
            found = take(each.frame.picture_HW3, each.result, given)
        return prediction_rows(
            self._footage.video_id,
            each.frame,
            each.result,
            annotation=each.annotation,
            confidences=found,
        )

    def _old_rows(self) -> "_OldRows":
        if self._earlier is None:
            return _OldRows(iter(()))
        return _OldRows(rows_by_frame(predictions_of(self._out, self._footage.video_id)))

    def _facts(self) -> VideoFacts:
        fps_hz = self._local.fps_hz()
        return VideoFacts(
            uri=str(self._footage.path),
            fps_hz=fps_hz,
            frames=self._frames,
            height_px=self._size_hw[0],
            width_px=self._size_hw[1],
            seconds=round(self._end_s + 1 / fps_hz, 6),
            object_names={str(i): name for i, name in self._known.object_names.items() if name},
        )


class _OldRows:
    """Rows by frame, asked for in order."""

    def __init__(self, rows: Iterator[tuple[int, pa.RecordBatch]]) -> None:
        self._rows = rows
        self._next = next(rows, None)

    def get(self, index: int) -> pa.RecordBatch | None:
        while self._next is not None and self._next[0] < index:
            self._next = next(self._rows, None)
        if self._next is None or self._next[0] > index:
            return None
        return self._next[1]


@contextlib.contextmanager
def _told_of(out: Location, staged: Path) -> Iterator[None]:
    """What cannot be written is named as it would lie in the output folder, not where it is made."""
    try:
        yield
    except UnfitVideo:
        raise
    except UserError as error:
        raise UserError(str(error).replace(str(staged), str(out))) from error
    except OSError as error:
        if error.filename:
            error.filename = str(error.filename).replace(str(staged), str(out))
        raise


def _readable(frames: Iterable[FootageFrame]) -> Iterator[FootageFrame]:
    """The frames; what is wrong with them is told from what is wrong with labels."""
    try:
        yield from frames
    except UserError as error:
        raise UnfitVideo("unreadable", str(error)) from error
