"""The strip of small frames that stands for a video."""

import cv2
import numpy as np
import pytest

from pipelines.contact_sheet import FLAG_RGB, ContactSheet


def grey(level: int, size_hw: tuple[int, int] = (180, 320)) -> np.ndarray:
    return np.full((*size_hw, 3), level, np.uint8)


def strip(sheet: ContactSheet) -> np.ndarray:
    decoded = cv2.imdecode(np.frombuffer(sheet.jpeg(), np.uint8), cv2.IMREAD_COLOR)
    assert decoded is not None
    return decoded[..., ::-1]


@pytest.mark.parametrize("frames", [1, 5, 12, 13, 100, 241])
def test_frames_are_spread_over_the_video_whatever_its_length(frames: int) -> None:
    sheet = ContactSheet()
    for level in range(frames):
        sheet.add(grey(level))
    indices = np.array(sheet.indices)
    assert len(indices) == min(6, frames)
    assert indices[0] == 0
    assert indices[-1] >= 0.74 * (frames - 1)
    gaps = np.diff(indices)
    assert len(gaps) == 0 or gaps.max() <= 2 * gaps.min() + 1
    picture = strip(sheet)
    assert picture.shape == (90, 160 * len(indices), 3)
    middles = picture[45, 80::160, 0].astype(int)
    assert np.abs(middles - indices).max() <= 2


def test_flagged_frames_are_there_with_a_border_one_for_each_stretch() -> None:
    sheet = ContactSheet()
    for index in range(40):
        sheet.add(grey(100), flagged=7 <= index < 12 or index in (20, 30, 33))
    assert {7, 20, 30} <= set(sheet.indices)
    assert not {9, 33} & set(sheet.indices)
    place = sheet.indices.index(7)
    left = strip(sheet)[10:80, 160 * place + 1].astype(int)
    assert np.abs(left.mean(axis=0) - FLAG_RGB).max() < 30


def test_the_whole_picture_is_in_it() -> None:
    tall = grey(200, (400, 100))
    sheet = ContactSheet()
    sheet.add(tall)
    assert strip(sheet)[45, [5, 80, 155], 0] == pytest.approx([0, 200, 0], abs=4)
    with pytest.raises(ValueError, match="needs a frame"):
        ContactSheet().jpeg()
