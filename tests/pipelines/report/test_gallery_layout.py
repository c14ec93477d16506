"""How the review gallery lies in windows of all sizes, in Chromium, and what it is like with little in it."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import Browser, Page

from pipelines.report.gallery import GalleryVideo, Heading, write_gallery
from pipelines.review.reviewed import ReviewedVideo
from tests.pipelines.report.gallery_archive import write_archive
from tests.pipelines.report.gallery_page import (
    frame_name,
    open_page,
    wait_for_video,
    watched,
)

NAMES = ("a", "b", "c", "one object", "d", "e", "two objects", "f", "g", "six objects", "h", "i")


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_archive(tmp_path_factory.mktemp("archive"), NAMES, films=1)


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    with watched(browser) as page:
        yield page


@pytest.mark.parametrize("size", [(1300, 850), (1920, 1080), (400, 800)])
def test_what_to_annotate_next_is_seen_without_scrolling(
    page: Page, archive: Path, size: tuple[int, int]
) -> None:
    """So are film and timeline, however many objects there are."""
    page.set_viewport_size({"width": size[0], "height": size[1]})
    open_page(page, archive)
    for name, objects in (("one object", 1), ("two objects", 2), ("six objects", 6)):
        page.fill("#search", name)
        wait_for_video(page, name)
        assert page.locator(".lane-label").count() == objects
        last_seen = 0.0
        for part in (".stage", ".candidate.best", ".lanes"):
            box = page.locator(part).bounding_box()
            assert box is not None
            assert box["y"] >= last_seen and box["x"] >= 0
            height = min(box["height"], 100.0)  # of more than three objects a part, to scroll in
            last_seen = box["y"] + height
            assert height > 30 and last_seen <= size[1]
            assert box["x"] + box["width"] <= size[0]
        assert page.locator(".show").evaluate("e => e.scrollHeight <= e.clientHeight")
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    if size[0] < 860:  # above the video: no more than the one line
        box = page.locator("#list").bounding_box()
        assert box is not None and box["height"] < 90


def test_it_follows_the_dark(page: Page, archive: Path) -> None:
    open_page(page, archive)
    light = page.evaluate("getComputedStyle(document.body).backgroundColor")
    page.emulate_media(color_scheme="dark")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") != light


def test_an_archive_without_videos(page: Page, tmp_path: Path) -> None:
    write_gallery(tmp_path, Heading("Labels of 0 videos", ""), [], [])
    open_page(page, tmp_path / "index.html")
    assert page.locator("#empty").inner_text() == "No video was labelled."
    for key in "jkanp, .":
        page.keyboard.press(key)
    assert page.locator("#player").is_hidden()


def test_a_long_name_without_confidence_or_film(page: Page, tmp_path: Path) -> None:
    name, unknown = "long name " * 24, np.full((1, 5), np.nan, np.float32)
    frames, first = tuple("abcde"), np.arange(5) == 0
    bits = np.zeros((1, 5), np.uint8)
    video = ReviewedVideo(name, 5.0, frames, first, (1,), ("mask",), unknown, bits)
    shown = GalleryVideo(video, has_film=False, has_sheet=False)
    write_gallery(tmp_path, Heading("Labels of 1 video", ""), [shown], [])
    open_page(page, tmp_path / "index.html")
    wait_for_video(page, name.strip())
    assert "no confidence was computed" in page.locator("#player .facts").inner_text()
    assert page.locator(".advice").inner_text().startswith("Without confidences")
    page.keyboard.press("n")
    assert page.locator(".status").inner_text() == "no object is flagged in this video"
    page.keyboard.press(".")
    assert frame_name(page) == "b"
    for width in (1300, 400):
        page.set_viewport_size({"width": width, "height": 800})
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        assert page.locator("#player h2").evaluate("e => e.clientHeight") < 60


def test_a_part_of_the_page_that_is_gone_is_named(browser: Browser, tmp_path: Path) -> None:
    details = write_archive(tmp_path, ["alone"], films=1).parent / "gallery" / "details-0000.js"
    details.rename(tmp_path / "elsewhere.js")
    page = browser.new_page()
    try:
        page.goto((tmp_path / "report" / "index.html").as_uri())
        page.locator("#count", has_text="gallery/details-0000.js cannot be loaded").wait_for()
        assert page.locator("#player").is_hidden()
        (tmp_path / "elsewhere.js").rename(details)
        page.locator("#line-0").click()
        wait_for_video(page, "alone")
    finally:
        page.close()
