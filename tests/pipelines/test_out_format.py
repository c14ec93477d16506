"""The format that `--out-format auto` chooses holds all that is carried and keeps its ids, also where an
object appears late, is gone, or is corrected in afterwards."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from model.propagation.annotations import (
    Annotation,
    BoxAnnotation,
    KeypointAnnotation,
    MaskAnnotation,
    PointAnnotation,
)
from pipelines.archive import Corrections
from pipelines.label_output import format_for
from pipelines.labels.codec import VideoInfo
from pipelines.labels.formats import open_labels, write_labels
from tests.pipelines.test_archive import propagated

FRAMES = 5
NAN = float("nan")


def masks(*ids: int) -> MaskAnnotation:
    ids_HW = np.zeros((64, 64), np.int32)
    for place, object_id in enumerate(ids):
        ids_HW[16 * place : 16 * place + 16, 8:24] = object_id
    return MaskAnnotation(ids_HW)


def boxes(*ids: int) -> BoxAnnotation:
    rows = np.array([(8.0, 16 * place, 16, 16) for place in range(len(ids))]).reshape(-1, 4)
    return BoxAnnotation(ids, rows)


def joints(*ids: int, count: int = 15) -> KeypointAnnotation:
    places = np.arange(len(ids) * count * 2, dtype=float).reshape(-1, count, 2) % 60
    return KeypointAnnotation(ids, places)


def points(*ids: int) -> PointAnnotation:
    return PointAnnotation(ids, np.array([(12.0, 8 + 16 * i) for i in range(len(ids))]))


OF_KIND = {
    "masks": (masks, "coco-video"),
    "boxes": (boxes, "mot"),
    "joints": (joints, "coco-keypoints"),
    "points": (points, "tracks-csv"),
}
"""How it is drawn, and a format that labels of any ids are given in."""


def labelled(place: Path, batch: str, format: str, given: dict[int, Annotation]) -> Path:
    write_labels(
        format,
        place / batch,
        VideoInfo("v", (64, 64), FRAMES),
        [(f"{i:05d}" if format.startswith("coco") else i, each) for i, each in given.items()],
    )
    return place / batch


def ids_of(annotation: Annotation) -> set[int]:
    """The objects that have a place."""
    match annotation:
        case MaskAnnotation(ids_HW):
            return set(np.unique(ids_HW).tolist()) - {0}
        case BoxAnnotation(ids, places) | KeypointAnnotation(ids, places):
            pairs = zip(ids, places, strict=True)
            return {i for i, place in pairs if np.isfinite(place).any()}
        case PointAnnotation(ids):
            return {i for i, gone in zip(ids, annotation.occluded, strict=True) if not gone}
    raise TypeError(annotation)


def result(place: Path, format: str) -> list[set[int]]:
    """The objects of every frame of the output."""
    folder = "masks" if format == "davis" else "labels"
    reader = open_labels(place / "out" / folder, format)
    found = {int(frame): ids_of(reader.read("v", frame)) for frame in reader.frames("v")}
    return [found.get(index, set()) for index in range(FRAMES)]


@pytest.fixture
def place(tmp_path: Path, in_this_process: None) -> Path:
    film(tmp_path)
    return tmp_path


def film(place: Path, *, shown_later: bool = True) -> None:
    """Nothing moves, the objects differ from all else, and it gets light in frame 2, so that little comes
    back from the first annotated frame; nothing, where the objects are not shown from then on."""
    noise = np.random.default_rng(0).integers(0, 30, (8, 8, 3), dtype=np.uint8)
    objects = np.zeros_like(noise)
    for row, channel in ((0, 0), (2, 1)):
        objects[row : row + 2, 1:3, channel] = 80
    folder = place / "archive" / "v"
    folder.mkdir(parents=True, exist_ok=True)
    for index in range(FRAMES):
        cells = noise + objects if index < 2 else noise + 140 + objects * shown_later
        picture = cells.astype(np.uint8).repeat(8, 0).repeat(8, 1)
        cv2.imwrite(str(folder / f"{index:05d}.png"), picture)


def run(place: Path, **settings: object) -> None:
    _, errors = propagated(
        place, overlays=False, confidence=False, anchors="all", out_format="auto", **settings
    )
    assert [row["message"] for row in errors] == []


@pytest.mark.parametrize(
    ("kind", "format"),
    [("masks", "davis"), ("boxes", "mot"), ("joints", "coco-keypoints"), ("points", "tracks-csv")],
)
def test_objects_that_come_late_and_go_keep_their_ids(place: Path, kind: str, format: str) -> None:
    draw, given_as = OF_KIND[kind]
    labelled(place, "labels", given_as, {0: draw(7), 2: draw(7, 9), 4: draw(9)})
    run(place)
    assert result(place, format) == [{7}, {7}, {7, 9}, {7, 9}, {9}]


@pytest.mark.parametrize("kind", ["masks", "joints", "points"])
def test_nobody_is_left(place: Path, kind: str) -> None:
    """A format that is the plainest for the first annotation, and nothing in a later one."""
    film(place, shown_later=False)
    draw, given_as = OF_KIND[kind]
    labelled(place, "labels", given_as, {0: draw(1), 2: hidden(draw(1))})
    run(place)
    plainest = {"masks": "davis", "joints": "jhmdb", "points": "tracks-npz"}[kind]
    assert result(place, plainest) == [{1}, {1}, set(), set(), set()]


def hidden(annotation: Annotation) -> Annotation:
    match annotation:
        case MaskAnnotation(ids_HW):
            return MaskAnnotation(np.zeros_like(ids_HW))
        case KeypointAnnotation(ids, places):
            return KeypointAnnotation(ids, np.full_like(places, NAN))
        case PointAnnotation(ids, places):
            return PointAnnotation(ids, np.full_like(places, NAN))
    raise TypeError(annotation)


@pytest.mark.parametrize(("ids", "format"), [((1,), "otb"), ((7,), "mot"), ((1, 7), "mot")])
def test_a_box_that_leaves_the_picture_is_gone_and_the_others_stay(
    place: Path, ids: tuple[int, ...], format: str
) -> None:
    """The last of them: annotated outside in a later frame, so that nothing of it can be carried on."""
    film(place, shown_later=False)
    first, later = boxes(*ids), boxes(*ids)
    later.xywh_px_N4[-1] = (500, 500, 16, 16)
    labelled(place, "labels", "mot", {0: first, 2: later})
    run(place)
    stay = set(ids[:-1])
    assert result(place, format) == [set(ids), set(ids), set(ids), stay, stay]
    if format == "otb":
        lines = (place / "out" / "labels" / "v" / "groundtruth.txt").read_text().splitlines()
        assert lines[2:] == ["501.0,501.0,16.0,16.0", *["NaN,NaN,NaN,NaN"] * 2]


def test_boxes_that_all_lie_outside_are_nothing_to_begin_with(place: Path) -> None:
    outside = BoxAnnotation((1, 2), np.array([[500.0, 5, 16, 12], [5, -40, 9, 40]]))
    labelled(place, "labels", "mot", {0: outside})
    _, (row,) = propagated(place, overlays=False, confidence=False)
    told = "the first box annotation has no box that lies in the image"
    assert (row["kind"], row["message"]) == ("unusable", told)


@pytest.mark.parametrize(
    ("kind", "first", "then", "formats"),
    [
        ("masks", (5,), (5, 300), ("davis", "coco-video")),
        ("boxes", (1,), (1, 9), ("otb", "mot")),
        ("joints", (1,), (1, 2), ("jhmdb", "coco-keypoints")),
        ("points", (4,), (4, 8), ("tracks-npz", "tracks-csv")),
    ],
)
def test_a_correction_with_an_object_that_the_format_cannot_hold_takes_another(
    place: Path,
    kind: str,
    first: tuple[int, ...],
    then: tuple[int, ...],
    formats: tuple[str, str],
) -> None:
    draw, given_as = OF_KIND[kind]
    labelled(place, "labels", given_as, {0: draw(*first)})
    run(place)
    assert result(place, formats[0]) == [set(first)] * FRAMES
    corrected = labelled(place, "corrected", given_as, {2: draw(*then)})
    run(place, corrections=Corrections(corrected))
    expected = [set(first)] * 2 + [set(then)] * 3
    assert result(place, formats[1]) == expected
    # Nothing is left of the labels in the old format, and the next correction begins from the new one.
    lying = [p.name for folder in ("masks", "labels") for p in place.glob(f"out/{folder}/*")]
    assert len(lying) == 1
    again = labelled(place, "again", given_as, {4: draw(*then[1:])})
    run(place, corrections=Corrections(again))
    assert result(place, formats[1]) == [*expected[:4], set(then[1:])]


@pytest.mark.parametrize(
    ("annotations", "format"),
    [
        ([masks(254), masks(1, 2)], "davis"),
        ([masks(255), masks()], "davis"),  # as in DAVIS-2016
        ([masks(255), masks(1)], "coco-video"),  # where 255 is void
        ([masks(1, 256)], "coco-video"),
        ([boxes(1), boxes()], "otb"),
        ([boxes(2), boxes(2)], "mot"),
        ([joints(1), joints()], "jhmdb"),
        ([joints(4)], "coco-keypoints"),
        ([joints(1, count=17)], "coco-keypoints"),
        ([points(4, 2), points(4, 2)], "tracks-npz"),
        ([points(4, 2), points(2, 4)], "tracks-csv"),
    ],
)
def test_the_plainest_format_that_holds_all(annotations: list[Annotation], format: str) -> None:
    assert format_for(annotations[0], annotations, "auto") == format
    assert format_for(annotations[0], annotations, "cvat") == "cvat"
