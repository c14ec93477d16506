"""Frames that need a person: which ones, and that what is written comes back as labels."""

import csv
import json
from pathlib import Path
from xml.etree import ElementTree

import cv2
import numpy as np
import pytest
from PIL import Image

from model.errors import UserError
from model.propagation.annotations import (
    Annotation,
    BoxAnnotation,
    KeypointAnnotation,
    MaskAnnotation,
    PointAnnotation,
)
from pipelines.labels.formats import open_labels
from pipelines.labels.rle import encode_runs
from pipelines.review.archive import review_of
from pipelines.review.export import export_frames
from pipelines.review.selection import most_needed
from tests.labels import assert_same
from tests.predictions import write_predictions, write_summary

FRAMES, SIZE_HW = 12, (24, 32)
UNSURE = np.array([[1.0] * 4 + [0.1] * 8])


def folder_of_pictures(archive: Path, name: str, stems: list[str]) -> None:
    (archive / name).mkdir(parents=True)
    for index, stem in enumerate(stems):
        picture = np.full((*SIZE_HW, 3), 10 * index, np.uint8)
        Image.fromarray(picture).save(archive / name / f"{stem}.png")


def mask(index: int) -> np.ndarray:
    ids_HW = np.zeros(SIZE_HW, bool)
    ids_HW[2:9, index : index + 8] = True
    return ids_HW


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """Two videos with masks: of `a b` the object is lost from frame 4 on, `c` is sure."""
    stems = [f"img{index}" for index in range(1, FRAMES + 1)]
    for name in ("a b", "c"):
        folder_of_pictures(tmp_path / "videos", name, stems)
        labels = [[{"rle": encode_runs(mask(index))} for index in range(FRAMES)]]
        confidence = UNSURE if name == "a b" else np.ones((1, FRAMES))
        flags = {(0, index): ["lost"] for index in range(4, FRAMES)} if name == "a b" else {}
        write_predictions(
            tmp_path / "out",
            name,
            confidence,
            flags,
            labels=labels,
            frames=stems,
            size_hw=SIZE_HW,
            ids=(3,),
            names={3: "dog"} if name == "a b" else None,
        )
    write_summary(tmp_path / "out", tmp_path / "videos")
    return tmp_path / "out"


@pytest.mark.parametrize("form", ["davis", "cvat"])
def test_what_is_written_is_a_place_of_labels(out: Path, tmp_path: Path, form: str) -> None:
    archive = review_of(out)
    needed = most_needed(archive, 5, 1)
    assert [(frame.video_id, frame.index, frame.frame) for frame in needed] == [("a b", 4, "img5")]
    assert needed[0].reason == "dog: lost, confidence 0.10"
    export_frames(archive, needed, tmp_path / "to", form)  # type: ignore[arg-type]
    labels = open_labels(tmp_path / "to")
    assert labels.videos() == ("a b",)
    assert labels.frames("a b") == ("img5",)
    found = labels.read("a b", "img5")
    assert isinstance(found, MaskAnnotation)
    assert (found.ids_HW == 3 * mask(4)).all()
    folder = {"davis": "JPEGImages", "cvat": "images"}[form]
    picture = cv2.imread(str(tmp_path / "to" / folder / "a b" / "img5.jpg"))
    assert picture is not None
    assert picture.shape == (*SIZE_HW, 3)
    assert np.abs(picture.astype(int) - 40).max() <= 2
    with (tmp_path / "to" / "frames.csv").open(newline="") as file:
        (row,) = csv.DictReader(file)
    assert (row["video_id"], row["frame"], row["begin"], row["end"]) == ("a b", "img5", "4", "12")
    assert float(row["expected_help"]) > 3
    assert json.loads((tmp_path / "to" / "frames.json").read_text())[0]["video_id"] == "a b"
    if form == "cvat":
        names = [entry["name"] for entry in json.loads((tmp_path / "to/labels.json").read_text())]
        assert names == ["dog 3", "nothing"]


def test_the_most_helpful_come_first_and_few_of_each_video(tmp_path: Path) -> None:
    for name, low in (("short", 3), ("long", 30)):
        confidence = np.ones((1, 100))
        confidence[:, 20 : 20 + low] = 0.1
        confidence[:, 70 : 70 + low] = 0.2
        write_predictions(tmp_path, name, confidence)
    write_summary(tmp_path)
    archive = review_of(tmp_path)
    all_of_them = most_needed(archive, 10, 10)
    assert [frame.expected_help for frame in all_of_them] == sorted(
        (frame.expected_help for frame in all_of_them), reverse=True
    )
    assert all_of_them[0].video_id == "long"
    assert most_needed(archive, 1, 10) == all_of_them[:1]
    assert sorted(frame.video_id for frame in most_needed(archive, 10, 1)) == ["long", "short"]


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        (
            {"kind": "box", "box_xywh_px": [1, 2, 3, 4]},
            BoxAnnotation((3,), np.array([[1, 2, 3, 4.0]])),
        ),
        (
            {"kind": "point", "keypoint_xy_px": [[5, 6]]},
            PointAnnotation((3,), np.array([[5, 6.0]])),
        ),
        (
            {"kind": "keypoints", "keypoint_xy_px": [[1, 2], [np.nan, np.nan], [3, 4]]},
            KeypointAnnotation((3,), np.array([[[1, 2], [np.nan, np.nan], [3, 4]]])),
        ),
    ],
)
def test_other_kinds_go_to_cvat(tmp_path: Path, columns: dict, expected: Annotation) -> None:
    folder_of_pictures(tmp_path / "videos", "v", [f"{index:05d}" for index in range(FRAMES)])
    out, to = tmp_path / "out", tmp_path / "to"
    write_predictions(out, "v", UNSURE, labels=[[columns] * FRAMES], ids=(3,), size_hw=SIZE_HW)
    write_summary(out, tmp_path / "videos")
    archive = review_of(out)
    needed = most_needed(archive, 5, 1)
    with pytest.raises(UserError, match="DAVIS folders hold masks alone"):
        export_frames(archive, needed, tmp_path / "davis", "davis")
    export_frames(archive, needed, to, "cvat")
    found = open_labels(to).read("v", "00004")
    assert_same(found, expected)


def test_an_object_that_is_lost_in_every_frame_can_be_drawn_in_cvat(tmp_path: Path) -> None:
    """A label of its own, in what a new task is made from and in the annotations, though it has no name."""
    folder_of_pictures(tmp_path / "videos", "v", [f"{index:05d}" for index in range(FRAMES)])
    seen, lost = [{"rle": encode_runs(mask(index))} for index in range(FRAMES)], [{"rle": None}]
    out, to = tmp_path / "out", tmp_path / "to"
    labels = [seen, lost * FRAMES, lost * FRAMES]
    confidence = np.repeat(UNSURE, 3, axis=0)
    write_predictions(
        out, "v", confidence, labels=labels, size_hw=SIZE_HW, ids=(3, 12, 7), names={7: "dog"}
    )
    write_summary(out, tmp_path / "videos")
    archive = review_of(out)
    export_frames(archive, most_needed(archive, 5, 1), to, "cvat")
    names = {entry["name"] for entry in json.loads((to / "labels.json").read_text())}
    assert names == {"object 3", "object 12", "dog 7", "nothing"}
    root = ElementTree.parse(to / "annotations.xml")
    listed = [label.text for label in root.iterfind("meta/task/labels/label/name")]
    assert sorted(filter(None, listed)) == ["dog 7", "object 12", "object 3"]
    assert [shape.get("label") for shape in root.iterfind("image/mask")] == ["object 3"]


def test_what_cannot_be_exported_is_said(out: Path, tmp_path: Path) -> None:
    archive = review_of(out)
    needed = most_needed(archive, 5, 1)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").touch()
    with pytest.raises(UserError, match=r"full: is there already"):
        export_frames(archive, needed, tmp_path / "full", "davis")
    folder_of_pictures(tmp_path / "other", "c", ["x"])
    with pytest.raises(UserError, match=r"does not hold the video 'a b' any more \(--archive\)"):
        export_frames(archive, needed, tmp_path / "to", "davis", videos=tmp_path / "other")
    folder_of_pictures(tmp_path / "other", "a b", ["x", "y"])
    with pytest.raises(UserError, match="frame 4 is not there any more"):
        export_frames(archive, needed, tmp_path / "to", "davis", videos=tmp_path / "other")
    nothing = tmp_path / "nothing"
    write_predictions(nothing, "v", np.full((1, 5), np.nan))
    write_summary(nothing)
    with pytest.raises(UserError, match="have no confidence"):
        most_needed(review_of(nothing), 5, 1)
