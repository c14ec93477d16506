"""The review gallery in Chromium: found, sorted, filtered, played, jumped in."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page

from tests.pipelines.report.gallery_archive import (
    DRIFT,
    FLAGGED,
    FPS_HZ,
    FRAMES,
    LOW,
    MERGED,
    write_archive,
)
from tests.pipelines.report.gallery_page import (
    SHOWN,
    frame,
    open_page,
    wait_for_video,
    wait_until,
    watched,
)

HOSTILE = "<img src=x onerror=alert(1)>\"'&#?%20+ ünï"
NAMES = ("a b", "-dash", HOSTILE, *(f"video-{index:04d}" for index in range(4997)))


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_archive(tmp_path_factory.mktemp("archive"), NAMES)


@pytest.fixture(scope="module")
def tab(browser: Browser) -> Iterator[Page]:
    with watched(browser) as page:
        yield page


@pytest.fixture
def page(tab: Page, archive: Path) -> Page:
    """As it is when it is opened."""
    open_page(tab, archive)
    tab.locator("#player").wait_for()
    return tab


def first_names(page: Page, count: int = 3) -> list[str]:
    names = """[...document.querySelectorAll('.line')]
      .sort((a, b) => parseFloat(a.style.top) - parseFloat(b.style.top))
      .map((line) => line.querySelector('.name').textContent)"""
    found: list[str] = page.evaluate(names)
    return found[:count]


def test_only_lines_in_sight_are_elements_and_all_can_be_reached(page: Page) -> None:
    assert page.locator("h1").inner_text() == "Labels of 5,000 videos"
    assert page.locator("#count").inner_text() == "5,000 videos"
    assert page.locator(".line").count() < 40
    page.locator("#list").evaluate("list => list.scrollTo(0, list.scrollHeight)")
    wait_until(page, "!!document.querySelector('#line-4999')")
    assert page.locator(".line").count() < 40
    page.locator("#list").press("End")
    assert page.locator("#line-4999").get_attribute("aria-selected") == "true"
    assert page.locator("#line-4999").get_attribute("aria-posinset") == "5000"


def test_orders(page: Page) -> None:
    page.select_option("#order", "worst")
    assert first_names(page) == ["video-4971", "video-4972", "video-4973"]
    lowest = [page.locator(f"#line-{place} .worst").inner_text() for place in (0, 9)]
    assert lowest == ["0.00", "0.00"]
    page.locator("#reverse").click()
    assert first_names(page, 1) == ["a b"]
    page.locator("#reverse").click()
    page.select_option("#order", "name")
    assert first_names(page, 2) == ["-dash", HOSTILE]
    page.select_option("#order", "flagged")
    assert page.locator("#line-0 .facts").inner_text() == f"{FRAMES} frames · {FLAGGED} flagged"


def test_filters_by_flag_object_and_name(page: Page) -> None:
    page.locator(".chip[data-flag=lost]").click()
    assert page.locator("#count").inner_text() == "1,667 of 5,000 videos"
    page.locator(".chip[data-flag=lost]").click()
    label = page.locator("#label option", has_text="car").get_attribute("value")
    page.select_option("#label", label)
    assert page.locator("#count").inner_text() == "1,667 of 5,000 videos"
    page.locator(".chip[data-flag=lost]").click()
    assert page.locator("#count").inner_text() == "0 of 5,000 videos"  # the lost ones are dogs
    assert page.locator("#empty").is_visible()
    assert page.locator("#player").is_hidden()
    page.locator(".chip[data-flag=lost]").click()
    page.fill("#search", "VIDEO-002")
    assert page.locator("#count").inner_text() == "3 of 5,000 videos"
    assert sorted(first_names(page)) == ["video-0022", "video-0025", "video-0028"]


def test_failed_videos_are_listed_with_kind_and_message(page: Page) -> None:
    page.select_option("#show", "failed")
    assert page.locator("#count").inner_text() == "2 videos"
    page.select_option("#show", "failed:unreadable")
    assert first_names(page) == ["broken/../x"]
    assert page.locator("#failure .kind").inner_text() == "unreadable"
    assert page.locator("#failure .message").inner_text() == "moov atom not found"
    assert page.locator("#player").is_hidden()


def test_the_film_of_a_hostile_name_plays(page: Page) -> None:
    page.fill("#search", "onerror")
    wait_for_video(page, HOSTILE)
    assert page.locator(".line .name").inner_text() == HOSTILE
    wait_until(page, "document.querySelector('#player video').readyState >= 2")
    wait_until(page, "document.querySelector('.thumb img').naturalWidth >= 160 * 6")
    page.keyboard.press("Escape")
    # Slowly, or it may begin anew before it is stopped.
    page.evaluate("document.querySelector('#player video').playbackRate = 0.25")
    page.keyboard.press(" ")
    wait_until(page, "document.querySelector('#player video').currentTime > 0.4")
    assert page.locator(".play").inner_text() == "Pause"
    page.locator(".play").click()
    wait_until(page, "document.querySelector('#player video').paused")
    wait_until(page, "parseInt(document.querySelector('#player .frame').textContent.slice(6)) >= 9")
    assert frame(page) >= 9
    wait_until(page, f"location.hash.endsWith('&frame={frame(page)}')")
    again, stood = page.url, frame(page)
    page.goto("about:blank")
    page.goto(again)  # a link to the video, and to where it stood
    wait_for_video(page, HOSTILE)
    wait_until(page, "document.querySelector('#player video').readyState >= 2")
    assert frame(page) == stood


def test_it_jumps_to_flagged_frames_and_to_the_one_to_annotate(page: Page) -> None:
    page.fill("#search", "video-4992")  # a dog, lost from frame 20 on
    wait_for_video(page, "video-4992")
    page.keyboard.press("Escape")
    page.keyboard.press("n")
    assert frame(page) == 10
    page.locator(".next-flag").click()
    assert frame(page) == LOW.start
    assert page.locator(".lane-label").first.inner_text().split("\n")[:2] == ["dog 1", "0.00"]
    assert "lost" in page.locator(".lane-label .flags").first.inner_text()
    assert "frame 00020; dog 1: 0.00 lost" in (
        page.locator(".lanes").get_attribute("aria-valuetext") or ""
    )
    status = page.locator(".status")
    assert status.inner_text() == "dog 1: lost, low confidence"
    page.keyboard.press("n")  # while the first one is lost
    assert (frame(page), status.inner_text()) == (MERGED.start, "object 2: merged")
    page.keyboard.press("n")
    assert frame(page) == DRIFT.start
    assert status.inner_text() == "dog 1: lost, drift, low confidence"
    page.keyboard.press("n")
    assert frame(page) == DRIFT.start
    assert status.inner_text() == "no object is flagged anew or otherwise after this frame"
    page.keyboard.press(".")
    assert (frame(page), status.inner_text()) == (DRIFT.start + 1, "")
    for expected in (DRIFT.start, MERGED.start, LOW.start, 10, 10):
        page.keyboard.press("p")
        assert frame(page) == expected
    assert status.inner_text() == "no object is flagged anew or otherwise before this frame"
    page.keyboard.press("a")
    advised = page.locator(".candidate.best").inner_text()
    assert advised == f"Annotate frame {frame(page):05d}"
    assert 1 <= frame(page) <= LOW.start
    page.keyboard.press(".")
    page.locator(".candidate.best").click()
    assert advised.endswith(f"{frame(page):05d}")


def test_links_lead_on_while_the_page_is_open(page: Page) -> None:
    page.fill("#search", "VIDEO-002")
    page.locator(".chip[data-flag=lost]").click()
    entries = page.evaluate("history.length")
    page.evaluate("location.hash = '#video=video-4992&frame=22'")
    wait_for_video(page, "video-4992")
    assert frame(page) == 22
    assert page.evaluate(SHOWN) == "video-4992"
    assert (
        page.locator("#count").inner_text() == "5,000 videos"
    )  # what left it out is no more chosen
    assert page.locator("#search").input_value() == ""
    page.evaluate("location.hash = '#video=video-4992&frame=999'")
    wait_until(
        page, f"document.querySelector('#player .frame').textContent.includes('{FRAMES - 1:05d}')"
    )
    for key in "ppj":  # none of these is a step to go back to
        page.keyboard.press(key)
    following = page.evaluate(SHOWN)
    assert following != "video-4992"
    wait_until(page, f"location.hash === '#video={following}'")
    assert page.evaluate("history.length") == entries + 2
    page.go_back()
    wait_for_video(page, "video-4992")
    assert frame(page) == 22
    page.evaluate("location.hash = '#video=nobody'")
    wait_until(
        page, "document.querySelector('#count').textContent === 'no video has the name nobody'"
    )


def test_a_click_on_the_timeline_seeks(page: Page) -> None:
    wait_until(page, "document.querySelector('#player video').readyState >= 2")
    lanes = page.locator(".lanes")
    box = lanes.bounding_box()
    assert box is not None
    lanes.click(position={"x": box["width"] * 30.5 / FRAMES, "y": box["height"] / 2})
    assert frame(page) == 30
    time_s = page.evaluate("document.querySelector('#player video').currentTime")
    assert time_s == pytest.approx(30.5 / FPS_HZ, abs=1e-3)
    lanes.press("ArrowLeft")
    assert frame(page) == 29
    lanes.press("End")
    assert frame(page) == FRAMES - 1


def test_keys_go_through_the_videos(page: Page) -> None:
    names = first_names(page)
    for key, expected in (("j", 1), ("j", 2), ("k", 1)):
        page.keyboard.press(key)
        assert page.evaluate(SHOWN) == names[expected]
        wait_for_video(page, names[expected])
