"""Exported frames that come back: from a tool that writes the same labels in its own way, or edited."""

import re
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

from model.propagation.annotations import (
    Annotation,
    BoxAnnotation,
    KeypointAnnotation,
    MaskAnnotation,
    PointAnnotation,
)
from pipelines.labels.codec import VideoInfo
from pipelines.labels.cvat_images_writer import ImageLabels, write_images
from pipelines.labels.formats import open_labels
from pipelines.review.exported import digests_of_export, record_export, unedited_frames

SIZE_HW = (24, 32)


def mask() -> MaskAnnotation:
    ids_HW = np.zeros(SIZE_HW, np.int32)
    ids_HW[2:9, 3:12] = 3
    ids_HW[5:7, 3:6] = 4
    return MaskAnnotation(ids_HW)


def given_back(place: Path, to: Path) -> None:
    """As CVAT exports a task: two decimals, shapes in another order, masks within another frame."""
    tree = ElementTree.parse(place / "annotations.xml")
    for image in tree.getroot().iterfind("image"):
        for shape in list(image)[::-1]:
            image.remove(shape)
            image.append(shape)
        for element in image.iter():
            for name in ("xtl", "ytl", "xbr", "ybr", "points"):
                if name in element.attrib:
                    numbers = re.split("([,;])", element.attrib[name])
                    two = [f"{float(n):.2f}" if n not in ",;" else n for n in numbers]
                    element.attrib[name] = "".join(two)
            if element.tag == "mask":
                _widen(element)
    to.mkdir()
    tree.write(to / "annotations.xml")


def _widen(element: ElementTree.Element) -> None:
    """The mask's runs over the whole picture."""
    left, top, width, height = (
        int(element.attrib[name]) for name in ("left", "top", "width", "height")
    )
    runs = [int(text) for text in element.attrib["rle"].split(",")]
    inner = np.repeat(np.arange(len(runs)) % 2, runs).reshape(height, width)
    whole = np.zeros(SIZE_HW, int)
    whole[top : top + height, left : left + width] = inner
    flat = whole.ravel()
    ends = [*np.flatnonzero(np.diff(flat)) + 1, flat.size]
    lengths = np.diff([0, *ends])
    element.attrib |= {"left": "0", "top": "0", "width": "32", "height": "24"}
    element.attrib["rle"] = ", ".join(map(str, lengths))


@pytest.mark.parametrize(
    "annotation",
    [
        mask(),
        BoxAnnotation((2, 7), np.array([[1.23456, 2.345678, 9.87654, 4.56789], [3, 4, 5, 6]])),
        PointAnnotation((2, 5), np.array([[1.98765, 2.0049], [np.nan, np.nan]])),
        KeypointAnnotation((2,), np.array([[[1.23456, 2.34567], [np.nan, np.nan], [5.5, 6.625]]])),
    ],
    ids=lambda annotation: type(annotation).__name__,
)
def test_a_tool_that_writes_the_same_labels_in_its_own_way(
    tmp_path: Path, annotation: Annotation
) -> None:
    video = VideoInfo("a b", SIZE_HW)
    nothing = MaskAnnotation(np.zeros(SIZE_HW, np.int32))
    images = [ImageLabels(video, "00003", annotation), ImageLabels(video, "00005", nothing)]
    write_images(tmp_path / "to" / "annotations.xml", images)
    digests = digests_of_export(tmp_path / "to", "cvat")
    assert list(digests["a b"]) == ["00003"]  # of the other one nothing was predicted
    record_export(tmp_path / "out", digests)
    given_back(tmp_path / "to", tmp_path / "back")

    def unedited() -> frozenset:
        place = tmp_path / "back"
        return unedited_frames(open_labels(place), place, tmp_path / "out")

    assert unedited() == {("a b", "00003")}
    # A frame in which somebody says that nothing is there is edited.
    path = tmp_path / "back" / "annotations.xml"
    tree = ElementTree.parse(path)
    first, second = tree.getroot().iterfind("image")
    ElementTree.SubElement(second, "tag", label="nothing")
    tree.write(path)
    assert unedited() == {("a b", "00003")}
    _edit(first)
    tree.write(path)
    assert unedited() == frozenset()


def _edit(image: ElementTree.Element) -> None:
    """A mask less, or one coordinate that is another."""
    shape = image[0]
    if shape.tag == "mask":
        image.remove(shape)
        return
    place = next(shape.iter("points"), shape)
    name = "xtl" if shape.tag == "box" else "points"
    place.set(name, re.sub(r"^[\d.]+", "0.02", place.attrib[name]))


def test_later_exports_add_to_the_record(tmp_path: Path) -> None:
    for made in ("one", "two", "one"):
        record_export(tmp_path, {"v": {"00001": made}})
    record_export(tmp_path, {"w": {"00001": "three"}})
    record = (tmp_path / "exported.json").read_text()
    assert re.sub(r"\s", "", record) == ('{"v":{"00001":["one","two"]},"w":{"00001":["three"]}}')
