"""A browser, and a small report with every section, and its page."""

import math
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Browser, sync_playwright

from pipelines.report.page import Film, PropagatedVideo, Report, TableRow, write_report
from pipelines.video import write_h264

HOSTILE = "<script>alert(1)</script>\"'&<!-- \u202e"
FRAMES, FPS_HZ = 24, 12.0
CHROMIUM_NAMES = ("chromium", "chromium-browser", "google-chrome")
CHROMIUM_ARGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    chromium = next(filter(None, map(shutil.which, CHROMIUM_NAMES)), None)
    if chromium is None:
        pytest.skip("no chromium on PATH")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=chromium, args=CHROMIUM_ARGS, timeout=200_000
        )
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def report(tmp_path_factory) -> Report:
    folder = tmp_path_factory.mktemp("report")
    films = []
    for shade in (60, 160):
        film = folder / f"{shade}.mp4"
        ramp = np.linspace(0, 90, 64, dtype=np.uint8)
        frames = [
            np.full((36, 64, 3), shade, np.uint8) + np.roll(ramp, k)[:, None] for k in range(FRAMES)
        ]
        write_h264(film, frames, FPS_HZ)
        films.append(film)
    picture = folder / "pca.png"
    Image.fromarray(np.arange(48, dtype=np.uint8).reshape(4, 4, 3)).save(picture)

    stems = tuple(f"{k:05d}" for k in range(1, FRAMES - 1))
    falling = tuple(1 - k / 100 for k in range(1, FRAMES - 1))
    with_gap = tuple(math.nan if 8 <= k < 11 else 0.25 for k in range(1, FRAMES - 1))
    train = [
        dict(kind="train", step=s, loss=2 / s, accuracy=0.5, copy_accuracy=0.8, learning_rate=1e-3,
             images_per_s=9.0)
        for s in range(20, 1020, 20)
    ]  # fmt: skip
    held_out = {"kind": "validation", "loss": 1.0, "accuracy": 0.625, "copy_accuracy": 0.75}
    return Report(
        title=f"Title {HOSTILE}",
        subtitle="model and protocol",
        rows=(
            TableRow("identity", "crw", {"J&F-Mean": 0.25, "J-Decay": 0.5, "F-Decay": math.nan}),
            TableRow("trained", "crw", {"J&F-Mean": 0.5, "J-Decay": 0.125, "F-Decay": None}),
            TableRow("trained", "vidcolor", {"J&F-Mean": 0.375, "J-Mean": 0.4}),
        ),
        videos=(
            PropagatedVideo(HOSTILE, films[0], FPS_HZ, stems, 1, {"1": falling, "3": with_gap}),
            PropagatedVideo("-no_truth", films[1], FPS_HZ, (), 1, {}),
        ),
        recoloured=(Film("true and recoloured", films[1]),),
        pictures=(Film("principal components", picture),),
        history=(*train, {**held_out, "step": 500}, {**held_out, "step": 1000}),
        config={"fit": {"steps": 1000, "path": Path("a/b")}, "sizes": (1, 2)},
    )


@pytest.fixture(scope="session")
def html(report, tmp_path_factory) -> str:
    path = tmp_path_factory.mktemp("html") / "index.html"
    write_report(report, path)
    return path.read_text(encoding="utf-8")
