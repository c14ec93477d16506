"""The review gallery in Chromium: found, sorted, filtered, played, jumped in."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page

from tests.pipelines.report.gallery_archive import FPS_HZ, FRAMES, LOW, write_archive

HOSTILE = "<img src=x onerror=alert(1)>\"'&#?%20+ ünï"
NAMES = ("a b", "-dash", HOSTILE, *(f"video-{index:04d}" for index in range(4997)))
SHOWN = "document.querySelector('.line[aria-selected=true] .name').textContent"


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_archive(tmp_path_factory.mktemp("archive"), NAMES)


@pytest.fixture(scope="module")
def tab(browser: Browser, archive: Path) -> Iterator[Page]:
    """The page; at the end, that nothing failed or went to the network."""
    problems: list[str] = []
    requests: list[str] = []
    page = browser.new_page(viewport={"width": 1300, "height": 850})
    page.set_default_timeout(60_000)
    page.on("console", lambda message: problems.append(message.text))
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on("requestfailed", lambda request: problems.append(f"{request.failure} {request.url}"))
    page.on("request", lambda request: requests.append(request.url))
    try:
        yield page
        # What is still being loaded when another video or page is wanted is given up.
        assert [text for text in problems if not text.startswith("net::ERR_ABORTED")] == []
        assert [url[:80] for url in requests if not url.startswith(("file:", "data:"))] == []
    finally:
        page.close()


@pytest.fixture
def page(tab: Page, archive: Path) -> Page:
    """As it is when it is opened."""
    tab.goto("about:blank")
    tab.goto(archive.as_uri())
    tab.locator("body[data-ready=yes]").wait_for()
    tab.locator("#player").wait_for()
    return tab


def wait_until(page: Page, condition: str) -> None:
    for _ in range(600):
        if page.evaluate(condition):
            return
        page.wait_for_timeout(50)
    raise AssertionError(f"never came true: {condition}")


def first_names(page: Page, count: int = 3) -> list[str]:
    names = """[...document.querySelectorAll('.line')]
      .sort((a, b) => parseFloat(a.style.top) - parseFloat(b.style.top))
      .map((line) => line.querySelector('.name').textContent)"""
    found: list[str] = page.evaluate(names)
    return found[:count]


def wait_for_video(page: Page, name: str) -> None:
    """Its details are loaded after it was chosen."""
    for _ in range(600):
        if page.locator("#player h2").inner_text() == name:
            return
        page.wait_for_timeout(50)
    raise AssertionError(f"{name} never came")


def frame(page: Page) -> int:
    return int(page.locator("#player .frame").inner_text().split()[1])


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
    assert (
        page.locator("#line-0 .facts").inner_text() == f"{FRAMES} frames · {3 + len(LOW)} flagged"
    )


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
    page.keyboard.press(" ")
    wait_until(page, "document.querySelector('#player video').currentTime > 0.4")
    assert page.locator(".play").inner_text() == "Pause"
    page.locator(".play").click()
    wait_until(page, "document.querySelector('#player video').paused")
    assert frame(page) >= 9
    again = page.url
    page.goto("about:blank")
    page.goto(again)  # a link to the video
    wait_for_video(page, HOSTILE)


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
    page.keyboard.press("n")
    assert frame(page) == LOW.start
    assert page.locator(".status").inner_text() == "no flagged frame after this one"
    page.keyboard.press("p")
    assert frame(page) == 10
    page.keyboard.press("a")
    advised = page.locator(".candidate.best").inner_text()
    assert advised == f"Annotate frame {frame(page):05d}"
    assert 1 <= frame(page) <= LOW.start
    page.keyboard.press(".")
    page.locator(".candidate.best").click()
    assert advised.endswith(f"{frame(page):05d}")


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


def test_it_fits_a_narrow_window_and_the_dark(page: Page) -> None:
    light = page.evaluate("getComputedStyle(document.body).backgroundColor")
    page.emulate_media(color_scheme="dark")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") != light
    page.emulate_media(color_scheme="light")
    page.set_viewport_size({"width": 400, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    page.set_viewport_size({"width": 1300, "height": 850})
