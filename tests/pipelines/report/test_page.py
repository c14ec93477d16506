"""What stands in the file of the report page."""

import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import av
import numpy as np
import pytest

from model.errors import UserError
from pipelines.report.page import Film, Report, TableRow, write_report

FRAMES = 24
ALL_SECTIONS = {"baselines", "videos", "recoloured", "pictures", "training", "configuration"}


class Elements(HTMLParser):
    """Collects (tag, attributes, text) of every element, text up to its first child."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str], list[str]]] = []
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, {name: value or "" for name, value in attrs}, []))

    def handle_data(self, data):
        if self.found:
            self.found[-1][2].append(data)

    def texts(self, tag: str, css_class: str | None = None) -> list[str]:
        return [
            "".join(text).strip()
            for name, attributes, text in self.found
            if name == tag and (css_class is None or css_class in attributes.get("class", ""))
        ]

    def attributes(self, tag: str) -> list[dict[str, str]]:
        return [attributes for name, attributes, _ in self.found if name == tag]


def written(report: Report, folder: Path) -> str:
    path = folder / "page" / "index.html"
    write_report(report, path)
    assert [p.name for p in path.parent.iterdir()] == ["index.html"]
    return path.read_text(encoding="utf-8")


def section_ids(elements: Elements) -> set[str]:
    return {attributes["id"] for attributes in elements.attributes("section")}


def test_nothing_is_loaded_from_elsewhere(html):
    elements = Elements(html)
    loading = ("src", "href", "xlink:href", "poster", "data", "action", "srcset")
    references = [
        value
        for _, attributes, _ in elements.found
        for name, value in attributes.items()
        if name in loading
    ]
    assert len([r for r in references if r.startswith("data:video/mp4;base64,")]) == 3
    assert len([r for r in references if r.startswith("data:image/png;base64,")]) == 1
    posters = [film["poster"] for film in elements.attributes("video")]
    assert len([p for p in posters if p.startswith("data:image/jpeg;base64,")]) == 3
    assert [r for r in references if not r.startswith(("data:", "#"))] == []
    assert "@import" not in html
    assert [found for found in re.findall(r"url\(([^)]*)", html) if not found.startswith("#")] == []
    policy = next(a["content"] for a in elements.attributes("meta") if "http-equiv" in a)
    assert "default-src 'none'" in policy
    assert "http" not in policy


def test_same_report_same_bytes(report, tmp_path, html):
    assert written(report, tmp_path) == html


def test_hostile_names_stay_text(report, html):
    hostile = report.videos[0].video_id
    assert hostile.startswith("<script>")
    assert "<script>alert" not in html
    elements = Elements(html)
    assert not any("alert" in text for text in elements.texts("script"))
    assert hostile in elements.texts("bdi")
    assert any(hostile in attributes["aria-label"] for attributes in elements.attributes("video"))
    assert elements.texts("title") == [report.title]


def test_a_name_that_is_not_utf8_is_written(report, tmp_path):
    video = replace(report.videos[1], video_id="caf\udce9")
    html = written(replace(report, videos=(video,)), tmp_path)
    assert Elements(html).texts("bdi")[0] == "caf\\udce9"


def test_element_ids_are_unique(html):
    elements = Elements(html)
    ids = [attributes["id"] for _, attributes, _ in elements.found if "id" in attributes]
    assert len(ids) == len(set(ids))
    targets = [a["href"][1:] for a in elements.attributes("a")]
    assert set(targets) == ALL_SECTIONS == section_ids(elements)
    used = [a["xlink:href"][1:] for a in elements.attributes("use")]
    assert used
    assert set(used) <= set(ids)


@pytest.mark.parametrize(
    ("field", "section"),
    [
        ("rows", "baselines"),
        ("videos", "videos"),
        ("recoloured", "recoloured"),
        ("pictures", "pictures"),
        ("history", "training"),
        ("config", "configuration"),
    ],
)
def test_a_section_without_data_is_left_out(report, tmp_path, field, section):
    empty = {} if field == "config" else ()
    elements = Elements(written(replace(report, **{field: empty}), tmp_path))
    assert section_ids(elements) == ALL_SECTIONS - {section}
    assert {a["href"] for a in elements.attributes("a")} == {
        f"#{s}" for s in ALL_SECTIONS - {section}
    }


def test_a_report_of_nothing_is_a_title(tmp_path):
    elements = Elements(written(Report("T", "", (), (), (), (), (), {}), tmp_path))
    assert section_ids(elements) == set()
    assert elements.texts("h1") == ["T"]
    assert elements.texts("h2") == elements.attributes("dl") == elements.attributes("a") == []


def test_the_table_groups_by_protocol_and_marks_the_best(html):
    table = html[html.index("<table>") : html.index("</table>")]
    bodies = [Elements(body) for body in table.split("<tbody>")[1:]]
    protocols = [next(t for t in b.texts("span") if t.startswith("protocol")) for b in bodies]
    assert protocols == ["protocol crw", "protocol vidcolor"]
    rows = re.findall(r"<tr><th scope=\"row\">(.*?)</th>(.*?)</tr>", table)
    cells = [
        (model, re.findall(r'<td( class="best")?>.*?<span class="number">(.*?)</span>', row))
        for model, row in rows
    ]
    best = ' class="best"'
    dash = ("", "–")
    assert cells[0] == ("identity", [("", "0.250"), dash, dash, ("", "0.500"), dash, dash, dash])
    assert cells[1] == ("trained", [(best, "0.500"), dash, dash, (best, "0.125"), dash, dash, dash])
    assert cells[2] == ("trained", [("", "0.375"), ("", "0.400"), dash, dash, dash, dash, dash])
    assert re.findall(r"width: ([\d.]+)%", table) == ["25.0", "50.0", "37.5"]


def test_key_numbers_name_what_they_are_compared_with(html):
    elements = Elements(html)
    values, notes = elements.texts("dd", "value"), elements.texts("dd", "note")
    labels = elements.texts("dt")
    assert list(zip(labels, values, notes, strict=True)) == [
        ("J&F-Mean, crw", "0.500", "best: trained; identity: 0.250"),
        ("J&F-Mean, vidcolor", "0.375", "best: trained"),
        ("videos propagated", "2", "2 objects with ground truth"),
        ("held-out colour accuracy", "0.625", "copying the last reference: 0.750"),
    ]


def test_the_timeline_has_a_line_per_object_in_film_time(html):
    lines = [a for a in Elements(html).attributes("polyline")]
    # The second object has a gap of three frames, so it is two lines.
    assert [line["style"] for line in lines] == [
        "--object: rgb(128 0 0)",
        "--object: rgb(128 128 0)",
        "--object: rgb(128 128 0)",
    ]
    points = [[tuple(map(float, p.split(","))) for p in line["points"].split()] for line in lines]
    assert points[0] == [(k + 0.5, pytest.approx(k / 100)) for k in range(1, FRAMES - 1)]
    assert [x for x, _ in points[1] + points[2]] == [
        k + 0.5 for k in range(1, FRAMES - 1) if not 8 <= k < 11
    ]
    assert f'viewBox="0 0 {FRAMES} 1"' in html
    assert Elements(html).texts("span", "score") == ["J 0.567"]  # (0.885 + 0.25) / 2


def test_the_configuration_is_yaml(html):
    text = Elements(html).texts("pre")
    assert text == ["fit:\n  steps: 1000\n  path: a/b\nsizes:\n- 1\n- 2"]


def test_bad_input_is_named(report, tmp_path):
    def refusal(**changes) -> str:
        with pytest.raises(UserError) as error:
            write_report(replace(report, **changes), tmp_path / "index.html")
        assert not (tmp_path / "index.html").exists()
        return str(error.value)

    video = report.videos[0]
    text = tmp_path / "text.mp4"
    text.write_text("no film")
    assert "text.mp4: not a readable MP4" in refusal(recoloured=(Film("", text),))
    assert "text.mp4: not a readable PNG" in refusal(pictures=(Film("", text),))
    assert "gone.mp4: cannot be read" in refusal(recoloured=(Film("", tmp_path / "gone.mp4"),))
    late = replace(video, first_scored_index=3)
    assert "the film has 24 frames" in refusal(videos=(late,))
    short = replace(video, j_by_object={"1": (0.5,)})
    assert "1 scores of object 1 for 22 frames" in refusal(videos=(short,))
    assert "frame rate" in refusal(videos=(replace(video, fps_hz=0.0),))
    assert "'PCK'" in refusal(rows=(TableRow("m", "p", {"PCK": 1.0}),))


def test_a_film_that_not_every_browser_plays_is_refused(report, tmp_path):
    path = tmp_path / "mpeg4.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=12)
        stream.width, stream.height, stream.pix_fmt = 32, 32, "yuv420p"
        for _ in range(3):
            frame = av.VideoFrame.from_ndarray(np.zeros((32, 32, 3), np.uint8), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    with pytest.raises(UserError, match=r"mpeg4\.mp4: mpeg4 video"):
        write_report(replace(report, recoloured=(Film("", path),)), tmp_path / "index.html")
