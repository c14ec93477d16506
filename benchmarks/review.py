"""The review gallery of thousands of videos: how long it takes to make, how large it is, and how quick it is
in Chromium.

    python -m benchmarks.review --videos 5000 --json review.json

Predictions are synthetic (two objects, 96 frames, a stretch in which one is lost); their films are three
small ones under many names. What the browser does is measured inside the page, from the event to the next
frame that it paints.
"""

import argparse
import os
import resource
import shutil
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import cv2
import numpy as np
import pyarrow as pa
from playwright.sync_api import Page, sync_playwright

from benchmarks.figures import show
from pipelines.overlay_film import OverlayFilm
from pipelines.predictions import PREDICTION_SCHEMA, PredictionWriter, VideoFacts
from pipelines.review.page import write_review_page
from pipelines.storage import write_json

FRAMES, OBJECTS, FPS_HZ = 96, 2, 24.0
SIZE_HW = (180, 320)
CATEGORIES = ("dog", "car", "person", "bicycle")
CHROMIUM_ARGS = ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-sync"]
_PAINTED = "new Promise(done => requestAnimationFrame(() => setTimeout(done)))"


@dataclass(frozen=True)
class Figures:
    """All that is measured; times in the browser are medians."""

    videos: int
    frames: int
    build_s: float
    build_cpu_s: float
    """Processor time of all threads."""
    build_videos_per_s: float
    peak_mib: float
    page_mib: float
    """Of the page and everything that it loads from its own folder."""
    first_list_s: float
    """From opening the page to the list on the screen."""
    first_film_s: float
    """From opening the page to the first video's picture."""
    sort_ms: float
    filter_ms: float
    search_ms: float
    choose_ms: float
    """Another video: its details and its timeline, not its film."""
    scroll_ms: float
    """To a place far away in the list."""
    elements: float
    """Lines of the list that exist at once."""


def main() -> None:
    """Make the archive and its page, open it, print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--videos", type=int, default=5000)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        out = Path(name) / "out"
        make_archive(out, arguments.videos)
        started_s, started_cpu_s = time.perf_counter(), time.process_time()
        page = Path(str(write_review_page(out)))
        build_s = time.perf_counter() - started_s
        build_cpu_s = time.process_time() - started_cpu_s
        files = [file for file in page.parent.rglob("*") if file.is_file()]
        figures = Figures(
            videos=arguments.videos,
            frames=arguments.videos * FRAMES,
            build_s=build_s,
            build_cpu_s=build_cpu_s,
            build_videos_per_s=arguments.videos / build_s,
            peak_mib=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
            page_mib=sum(file.stat().st_size for file in files) / 2**20,
            **measured_in_browser(page, arguments.videos),
        )
    show("The review gallery", asdict(figures), arguments.json)


def make_archive(out: Path, videos: int) -> None:
    """What a propagation leaves, as far as the gallery reads it."""
    (out / "overlays").mkdir(parents=True)
    (out / "predictions").mkdir()
    films = [_film(out / f"film-{index}.mp4", index) for index in range(3)]
    random = np.random.default_rng(0)
    for index in range(videos):
        video_id = f"video-{index:06d}"
        _predictions(out, video_id, CATEGORIES[index % len(CATEGORIES)], random)
        for suffix in (".mp4", ".jpg"):
            os.link(films[index % 3].with_suffix(suffix), out / "overlays" / f"{video_id}{suffix}")
    config = {"model": {"kind": "synthetic"}, "protocol": {"name": "none"}}
    write_json(out / "summary.json", {"config": config, "fingerprint": "", "archive": ""})


def _film(path: Path, seed: int) -> Path:
    plane = np.random.default_rng(seed).integers(0, 256, (5, 8, 3)).astype(np.uint8)
    picture = cv2.resize(plane, SIZE_HW[::-1], interpolation=cv2.INTER_CUBIC)
    with OverlayFilm(path, FPS_HZ) as film:
        for frame in range(FRAMES):
            film.write(np.roll(picture, 2 * frame, axis=1))
    return path


def _predictions(out: Path, video_id: str, category: str, random: np.random.Generator) -> None:
    rows = FRAMES * OBJECTS
    confidence_OT = np.clip(1 - 0.004 * np.arange(FRAMES) * random.random((OBJECTS, 1)), 0, 1)
    begin = int(random.integers(10, FRAMES - 20))
    confidence_OT[0, begin : begin + 15] *= random.random()
    flags: list[list[str]] = [[] for _ in range(rows)]
    if random.random() < 0.3:
        flag = str(random.choice(["lost", "occluded", "drift", "merged"]))
        for frame in range(begin, begin + 15):
            flags[frame * OBJECTS] = [flag]
    columns = {
        "video_id": [video_id] * rows,
        "frame_index": np.repeat(np.arange(FRAMES), OBJECTS),
        "frame": [f"{frame:05d}" for frame in range(FRAMES) for _ in range(OBJECTS)],
        "time_s": np.repeat(np.arange(FRAMES) / FPS_HZ, OBJECTS),
        "kind": ["mask"] * rows,
        "object_id": np.tile(np.arange(1, OBJECTS + 1), FRAMES),
        "height_px": np.full(rows, SIZE_HW[0]),
        "width_px": np.full(rows, SIZE_HW[1]),
        "anchor": np.repeat(np.arange(FRAMES) == 0, OBJECTS),
        "confidence": confidence_OT.T.ravel(),
        "flags": flags,
    }
    arrays = [
        pa.array(columns[field.name], field.type)
        if field.name in columns
        else pa.nulls(rows, field.type)
        for field in PREDICTION_SCHEMA
    ]
    with PredictionWriter(out / "predictions" / f"{video_id}.parquet") as writer:
        writer.copy(pa.RecordBatch.from_arrays(arrays, schema=PREDICTION_SCHEMA))
        facts = VideoFacts("", FPS_HZ, FRAMES, *SIZE_HW, FRAMES / FPS_HZ, {"1": category})
        writer.finish(facts, {0: ""})


def measured_in_browser(page_file: Path, videos: int) -> dict[str, float]:
    """Raises `RuntimeError` where there is no chromium."""
    chromium = shutil.which("chromium")
    if chromium is None:
        raise RuntimeError("no chromium on PATH")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=CHROMIUM_ARGS)
        page = browser.new_page(viewport={"width": 1400, "height": 900})
        started_s = time.perf_counter()
        page.goto(page_file.as_uri(), wait_until="commit")
        page.locator("#line-0").wait_for()
        first_list_s = time.perf_counter() - started_s
        while page.locator("#player video").evaluate("v => v.readyState") < 2:
            page.wait_for_timeout(5)
        first_film_s = time.perf_counter() - started_s
        orders = ("worst", "name", "flagged", "mean", "help")
        figures = {
            "first_list_s": first_list_s,
            "first_film_s": first_film_s,
            "sort_ms": _median([_changed(page, "#order", order) for order in orders]),
            "filter_ms": _median(
                [_clicked(page, f".chip:nth-child({place})") for place in (1, 1, 2, 2, 3, 3)]
            ),
            "search_ms": _median([_typed(page, text) for text in ("0", "00", "004", "0042", "")]),
            "choose_ms": _median([_clicked(page, f"#line-{line}") for line in (1, 3, 2, 4, 1)]),
            "scroll_ms": _median([_scrolled(page, share) for share in (0.5, 0.1, 0.9, 0.3, 0.0)]),
            "elements": page.locator(".line").count(),
        }
        browser.close()
    return figures


def _timed(page: Page, action: str, argument: object) -> float:
    script = f"""async (argument) => {{
      const begin = performance.now();
      {action};
      await {_PAINTED};
      return performance.now() - begin;
    }}"""
    took_ms: float = page.evaluate(script, argument)
    return took_ms


def _changed(page: Page, selector: str, value: str) -> float:
    action = f"""const field = document.querySelector('{selector}'); field.value = argument;
      field.dispatchEvent(new Event('change'))"""
    return _timed(page, action, value)


def _typed(page: Page, text: str) -> float:
    action = """const field = document.querySelector('#search'); field.value = argument;
      field.dispatchEvent(new Event('input'))"""
    return _timed(page, action, text)


def _clicked(page: Page, selector: str) -> float:
    return _timed(page, "document.querySelector(argument).click()", selector)


def _scrolled(page: Page, share: float) -> float:
    action = """const list = document.querySelector('#list');
      list.scrollTo(0, argument * list.scrollHeight)"""
    return _timed(page, action, share)


def _median(values: list[float]) -> float:
    return float(np.median(values))


if __name__ == "__main__":
    main()
