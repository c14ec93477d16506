"""The page about a dataset: what it says, and how it looks to a browser."""

import base64
import io
import re
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Browser
from skimage.color import lab2rgb, rgb2lab

from pipelines.inspection import (
    FailedVideo,
    InspectConfig,
    Inspection,
    ShardSample,
    SourceRates,
    inspect_dataset,
)
from pipelines.report.clip_pictures import clip_sets, clip_strip, painted
from pipelines.report.colour_plane import ClusterShare, cluster_shares, plane
from pipelines.report.inspect_page import write_inspection

HOSTILE = "<script>alert(1)</script>\"'&<!-- \u202e"
CONFIG = InspectConfig(clips=8, sets=3)


@pytest.fixture(scope="module")
def inspection(small_dataset: Path) -> Inspection:
    found = inspect_dataset(small_dataset, CONFIG)
    row = FailedVideo(HOSTILE, "unreadable", HOSTILE)
    return replace(found, dataset=HOSTILE, error_rows=(row, *found.error_rows[1:]))


@pytest.fixture(scope="module")
def page(inspection: Inspection, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("inspect") / "folder" / "inspect.html"
    write_inspection(inspection, CONFIG, path)
    return path


def picture(uri: str) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(uri.split(",")[1]))))


def test_set_1_is_the_luma_that_the_jpeg_stores(inspection: Inspection) -> None:
    assert inspection.codebook is not None
    clip = inspection.sample.shown[0]
    sets = clip_sets(clip, inspection.codebook.centroids_K2)
    assert (sets.frames, sets.size_px, sets.cells) == (4, 64, 8)
    grey = picture(sets.grey_uri)
    assert grey.shape == (64, 4 * 64)
    for index, jpeg in enumerate(clip.frames):
        image = Image.open(io.BytesIO(jpeg))
        image.draft("L", image.size)  # libjpeg then gives the Y plane as it is
        luma = np.asarray(image).astype(int)
        assert np.abs(grey[:, 64 * index : 64 * (index + 1)] - luma).max() <= 1


def test_set_2_has_the_ab_of_the_cluster_and_the_lightness_of_the_cell() -> None:
    random = np.random.default_rng(0)
    frame = np.kron(random.integers(90, 160, (4, 4, 3)), np.ones((8, 8, 1))).astype(np.uint8)
    centroids = np.array([[-15, 10], [15, -10], [5, 15]], dtype=np.float32)
    codes = random.integers(0, 3, (4, 4)).astype(np.uint8)
    lightness = rgb2lab(frame[::8, ::8])[..., :1]
    expected = lab2rgb(np.concatenate((lightness, centroids[codes]), axis=-1)) * 255
    assert np.abs(painted(frame, codes, centroids) - expected).max() <= 1


def test_a_strip_holds_the_frames_in_order(inspection: Inspection) -> None:
    clip = inspection.sample.shown[0]
    strip = picture(clip_strip(clip).uri)
    assert strip.shape == (160, 640, 3)
    for index, jpeg in enumerate(clip.frames):
        frame = np.asarray(Image.open(io.BytesIO(jpeg)).resize((160, 160))).astype(int)
        assert np.abs(strip[:, 160 * index : 160 * (index + 1)] - frame).mean() < 6


def test_shares_add_up_and_the_most_frequent_comes_first(inspection: Inspection) -> None:
    assert inspection.codebook is not None
    counts = np.arange(16)
    shares = cluster_shares(inspection.codebook, counts)
    assert [s.share for s in shares] == pytest.approx(list(np.arange(15, -1, -1) / 120))
    assert (shares[0].a, shares[0].b) == inspection.codebook.centroids[15]
    lab = [[[65.0, shares[0].a, shares[0].b]]]
    rgb = [int(shares[0].colour[at : at + 2], 16) for at in (1, 3, 5)]
    assert np.abs(lab2rgb(lab)[0, 0] * 255 - rgb).max() <= 1
    assert {s.share for s in cluster_shares(inspection.codebook, None)} == {0.0}


def test_discs_lie_at_their_ab_with_the_area_of_their_share() -> None:
    clusters = [
        ClusterShare(10, 20, "#ff8800", 0.6),
        ClusterShare(-10, 20, "#00ff00", 0.3),
        ClusterShare(-10, -40, "#8888ff", 0.1),
    ]
    discs = plane(clusters).split('id="plane-discs"')[1].split("</g>")[0]
    outlines = re.findall(r' d="([^"]*)".*?fill: (#\w+)', discs, re.DOTALL)
    points = [np.array(re.findall(r"[\d.]+", d), dtype=float).reshape(-1, 2) for d, _ in outlines]
    assert [colour for _, colour in outlines] == [c.colour for c in clusters]
    diameters = np.array([np.ptp(outline[:, 0]) for outline in points])
    assert diameters**2 / diameters[0] ** 2 == pytest.approx([1, 0.5, 1 / 6], rel=1e-3)
    middles = np.array([(o.min(axis=0) + o.max(axis=0)) / 2 for o in points])
    across = middles[0, 0] - middles[1, 0]  # 20 units of a
    assert across > 0
    # b grows upwards, y downwards; both axes have one scale.
    assert middles[2, 1] - middles[1, 1] == pytest.approx(3 * across, rel=1e-3)
    assert middles[2, 0] == pytest.approx(middles[1, 0], abs=1e-3)


def test_names_and_messages_are_escaped(page: Path) -> None:
    html = page.read_text(encoding="utf-8")
    assert "<script" not in html
    assert html.count("&lt;script&gt;alert(1)&lt;/script&gt;") >= 4
    assert set(re.findall(r'(?:src|href)="([^#"]{5})', html)) == {"data:"}
    assert not list(page.parent.glob(".*"))


def test_in_a_browser_everything_is_there_and_nothing_is_fetched(
    browser: Browser, page: Path
) -> None:
    problems: list[str] = []
    requests: list[str] = []
    tab = browser.new_page(viewport={"width": 1200, "height": 900})
    tab.on("console", lambda message: problems.append(message.text))
    tab.on("pageerror", lambda error: problems.append(str(error)))
    tab.on("request", lambda request: requests.append(request.url))
    tab.goto(page.as_uri())
    try:
        widths = "[...document.images].map(i => [i.complete, i.naturalWidth])"
        assert tab.evaluate(widths) == [[True, 640]] * 8 + [[True, 256], [True, 32]] * 3
        cells = tab.locator("img.cells").first
        assert cells.evaluate("i => getComputedStyle(i).imageRendering") == "pixelated"
        grey_box, cells_box = (
            tab.locator(".pair img").nth(i).bounding_box() for i in (0, 1)
        )  # side by side, of one size
        assert grey_box is not None
        assert cells_box is not None
        assert (cells_box["y"], cells_box["height"]) == (grey_box["y"], grey_box["height"])
        assert cells_box["x"] > grey_box["x"]
        assert tab.locator("h1").inner_text() == HOSTILE
        assert tab.locator(".value").all_inner_texts()[:3] == ["9", "21", "84"]
        assert "33 % failed" in tab.locator(".key-numbers").inner_text()
        assert "all 3 shards, 21 clips of 6 videos" in tab.locator("#codebook").inner_text()
        shares = tab.locator(".shares li").all_inner_texts()
        percents = [float(text.split()[-2]) for text in shares]
        assert len(percents) == 16
        assert percents == sorted(percents, reverse=True)
        assert sum(percents) == pytest.approx(100, abs=1)
        assert tab.locator("#codebook svg #plane-discs path").count() == 16
        titles = tab.locator("#distributions figcaption").all_inner_texts()
        assert len(titles) == 3
        assert titles[2] == "Frame rate of the sources: 6 of 6 readable"
        kinds = Counter(tab.locator(".kinds li").all_inner_texts())
        assert kinds == Counter(["unreadable 1", "empty 1", "too_short 1"])
        rows = tab.locator("#errors tbody tr")
        assert rows.count() == 3
        assert rows.first.locator("td").last.inner_text() == HOSTILE
        assert "decode.fps_hz: 6.0" in tab.locator("#configuration").inner_text()
        too_wide = "document.documentElement.scrollWidth > innerWidth"
        assert not tab.evaluate(too_wide)
        tab.set_viewport_size({"width": 400, "height": 800})
        assert not tab.evaluate(too_wide)
        assert problems == []
        assert [url for url in requests if not url.startswith(("file:", "data:"))] == []
    finally:
        tab.close()


def test_an_incomplete_dataset_without_clips_says_so(
    inspection: Inspection, tmp_path: Path
) -> None:
    empty = replace(
        inspection,
        dataset="empty",
        complete=False,
        totals={"videos": 9, "shards": 0, "clips": 0, "frames": 0, "bytes": 0},
        codebook=None,
        sample=ShardSample(available=0),
        sources=SourceRates(0, ()),
        errors={},
        error_rows=(),
    )
    write_inspection(empty, CONFIG, tmp_path / "page.html")
    html = (tmp_path / "page.html").read_text(encoding="utf-8")
    for sentence in ("preprocessing has not finished", "There are no clips", "No video failed so"):
        assert sentence in html
    assert "<svg" not in html
    with_codebook = replace(empty, codebook=inspection.codebook)
    write_inspection(with_codebook, CONFIG, tmp_path / "page.html")
    assert "there are no shares" in (tmp_path / "page.html").read_text(encoding="utf-8")


def test_a_long_list_of_errors_says_that_it_is_cut(inspection: Inspection, tmp_path: Path) -> None:
    many = replace(
        inspection, errors={"timeout": 5000}, totals={**inspection.totals, "videos": 9000}
    )
    write_inspection(many, CONFIG, tmp_path / "page.html")
    html = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert "5000 of 9000 videos failed. The first 3 are listed" in html
