"""The review gallery in a browser: opened, waited for, read."""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Browser, Page

LONGEST_S = 200.0
SHOWN = "document.querySelector('.line[aria-selected=true] .name').textContent"


@contextmanager
def watched(browser: Browser) -> Iterator[Page]:
    """A page; at the end, that nothing failed or went to the network."""
    problems: list[str] = []
    requests: list[str] = []
    page = browser.new_page(viewport={"width": 1300, "height": 850})
    page.set_default_timeout(LONGEST_S * 1000)
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


def open_page(page: Page, path: Path) -> None:
    """As it is when it is opened."""
    page.goto("about:blank")
    page.goto(path.as_uri())
    page.locator("body[data-ready=yes]").wait_for()


def wait_until(page: Page, condition: str) -> None:
    """Wait for a JavaScript expression; polled from here, as the page's policy forbids `eval`."""
    deadline_s = time.monotonic() + LONGEST_S
    while not page.evaluate(condition):
        assert time.monotonic() < deadline_s, f"never came true: {condition}"
        page.wait_for_timeout(50)


def wait_for_video(page: Page, name: str) -> None:
    """Its details are loaded after it was chosen."""
    heading = "document.querySelector('#player h2').innerText"
    wait_until(page, f"{heading} === {json.dumps(name)}")


def frame_name(page: Page) -> str:
    return page.locator("#player .frame").inner_text().split()[1]


def frame(page: Page) -> int:
    return int(frame_name(page))
