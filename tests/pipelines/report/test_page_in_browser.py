"""How the report page behaves in Chromium."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, ViewportSize

from pipelines.report.page import write_report

FRAMES, FPS_HZ = 24, 12.0
WHOLE_PAGE, PART_OF_PAGE = (
    ViewportSize(width=1000, height=3000),
    ViewportSize(width=500, height=500),
)


def wait_until(page: Page, condition: str) -> None:
    """Wait for a JavaScript expression; polled from here, as the page's policy forbids `eval`."""
    deadline_s = time.monotonic() + 200
    while not page.evaluate(condition):
        assert time.monotonic() < deadline_s, f"never came true: {condition}"
        page.wait_for_timeout(30)


@contextmanager
def opened(browser: Browser, path: Path) -> Iterator[Page]:
    """The page, with its films loaded; at the end, that nothing failed or went to the network."""
    problems: list[str] = []
    requests: list[str] = []
    page = browser.new_page(viewport=WHOLE_PAGE)
    page.set_default_timeout(200_000)
    try:
        page.on("console", lambda message: problems.append(message.text))
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on("requestfailed", lambda request: problems.append(request.url[:80]))
        page.on("request", lambda request: requests.append(request.url))
        page.goto(path.as_uri())
        page.locator("#videos").scroll_into_view_if_needed()
        films = "[...document.querySelectorAll('#videos video')]"
        wait_until(page, f"{films}.every(v => v.readyState >= 2)")
        yield page
        assert problems == []
        assert [url[:80] for url in requests if not url.startswith(("file:", "data:"))] == []
    finally:
        page.close()


@pytest.fixture
def page(browser, html, tmp_path) -> Iterator[Page]:
    path = tmp_path / "index.html"
    path.write_text(html, encoding="utf-8")
    with opened(browser, path) as page:
        yield page


def test_a_film_plays_and_its_marker_follows(page):
    film = page.locator("#videos video").first
    assert film.evaluate("v => [v.videoWidth, v.videoHeight, v.muted]") == [64, 36, True]
    assert film.evaluate("v => v.currentTime") == 0
    assert page.locator(".frame").inner_text() == "not scored"
    film.evaluate("v => v.play()")
    wait_until(page, "document.querySelector('#videos video').currentTime > 0.3")
    film.evaluate("v => v.pause()")
    wait_until(
        page,
        """() => {
          const frame = Math.floor(document.querySelector('#videos video').currentTime * 12 + 1e-3);
          return document.querySelector('.marker').getAttribute('x1') == frame + 0.5;
        }""",
    )


def test_the_timeline_seeks(page):
    film = page.locator("#videos video").first
    strip = page.locator(".timeline")
    strip.scroll_into_view_if_needed()
    box = strip.bounding_box()
    strip.click(position={"x": box["width"] * 9.5 / FRAMES, "y": box["height"] / 2})
    assert film.evaluate("v => v.currentTime") == pytest.approx(9.5 / FPS_HZ, abs=1e-3)
    wait_until(page, "document.querySelector('.marker').getAttribute('x1') === '9.5'")
    assert page.locator(".frame").inner_text() == "frame 00009"
    assert page.locator("output").all_inner_texts() == ["0.91", "–"]
    strip.press("ArrowRight")
    strip.press("ArrowRight")
    wait_until(page, "document.querySelector('.marker').getAttribute('x1') === '11.5'")
    assert page.locator("output").all_inner_texts() == ["0.89", "0.25"]


def test_one_button_plays_and_pauses_all(page):
    button = page.locator("#videos .play-all")
    paused = "[...document.querySelectorAll('#videos video')].map(v => v.paused)"
    assert page.evaluate(paused) == [True, True]
    button.click()
    assert button.inner_text() == "Pause all"
    wait_until(
        page,
        "[...document.querySelectorAll('#videos video')].every(v => !v.paused && v.currentTime > 0)",
    )
    assert page.evaluate("document.querySelector('#recoloured video').paused")
    button.click()
    assert page.evaluate(paused) == [True, True]
    assert button.inner_text() == "Play all"


def test_the_worst_video_comes_first(browser, report, tmp_path):
    good, unknown = report.videos
    bad = replace(good, video_id="bad", j_by_object={"1": (0.125,) * len(good.frames)})
    path = tmp_path / "index.html"
    write_report(replace(report, videos=(good, unknown, bad)), path)
    shown = """[...document.querySelectorAll('#videos .card')]
      .map((card, index) => [card.getBoundingClientRect(), index])
      .sort(([a], [b]) => a.top - b.top || a.left - b.left)
      .map(([, index]) => index)"""
    with opened(browser, path) as page:
        assert page.evaluate(shown) == [0, 1, 2]
        page.locator(".order").select_option("worst")
        assert page.evaluate(shown) == [2, 0, 1]
        page.locator(".order").select_option("given")
        assert page.evaluate(shown) == [0, 1, 2]


def test_films_out_of_sight_rest_until_scrolled_to(page):
    films = "[...document.querySelectorAll('#videos video')]"
    page.set_viewport_size(PART_OF_PAGE)
    page.locator("#videos .play-all").click()
    page.evaluate("scrollTo(0, document.body.scrollHeight)")
    wait_until(page, f"{films}.every(v => v.paused)")
    page.locator("#videos video").last.scroll_into_view_if_needed()
    wait_until(page, f"{films}.some(v => !v.paused)")
