"""A person corrects a frame of a finished archive; the rerun makes again what that touches, and no more."""

from pathlib import Path

import cv2
import numpy as np
import pyarrow.parquet as pq
import pytest

from model.propagation.annotations import BoxAnnotation
from model.propagation.protocols import get_protocol
from pipelines.archive import Corrections
from pipelines.labels.codec import VideoInfo
from pipelines.labels.davis import read_mask, write_mask
from pipelines.labels.formats import write_labels
from pipelines.predictions import read_facts, rows_by_frame
from pipelines.review.archive import review_of
from pipelines.review.export import export_frames
from pipelines.review.selection import most_needed
from tests.pipelines.test_archive import propagated

COUNT, JUMP = 9, 4
HEIGHT, WIDTH = 32, 256
NEAR = get_protocol("crw", ["window_on_anchor=true", "pad_with_first=false"])
"""What is beyond its window it loses."""


def scene(index: int) -> tuple[np.ndarray, np.ndarray]:
    """A red square on green that jumps farther than `NEAR` looks, and its mask."""
    picture = np.full((HEIGHT, WIDTH, 3), (20, 120, 30), np.uint8)
    ids = np.zeros((HEIGHT, WIDTH), np.uint8)
    left = 8 * index + (160 if index >= JUMP else 0)
    picture[8:24, left : left + 16] = (220, 30, 30)
    ids[8:24, left : left + 16] = 3
    return picture, ids


def put_video(place: Path, name: str) -> None:
    folder = place / "archive" / name
    folder.mkdir(parents=True)
    for index in range(COUNT):
        cv2.imwrite(str(folder / f"{index:05d}.png"), scene(index)[0][..., ::-1])
    write_mask(place / "labels" / name / "00000.png", scene(0)[1])


def correct(place: Path, name: str, *frames: int, batch: str = "corrected") -> Corrections:
    for index in frames:
        write_mask(place / batch / name / f"{index:05d}.png", scene(index)[1])
    return Corrections(place / batch)


def j_of(place: Path, name: str, index: int) -> float:
    found = read_mask(place / "out" / "masks" / name / f"{index:05d}.png") == 3
    truth = scene(index)[1] == 3
    return (found & truth).sum() / (found | truth).sum()


def contents(folder: Path) -> dict[str, tuple[bytes, int]]:
    """Every file's bytes and inode."""
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    return {str(p.relative_to(folder)): (p.read_bytes(), p.stat().st_ino) for p in files}


def of_video(files: dict[str, tuple[bytes, int]], name: str) -> dict[str, tuple[bytes, int]]:
    return {path: file for path, file in files.items() if name in path}


def rows(place: Path, name: str) -> dict[int, list[dict]]:
    found = rows_by_frame(place / "out" / "predictions" / f"{name}.parquet")
    return {index: batch.to_pylist() for index, batch in found}


@pytest.mark.usefixtures("in_this_process")
def test_a_lost_object_is_found_again_and_nothing_else_changes(tmp_path: Path) -> None:
    for name in ("lost", "other"):
        put_video(tmp_path, name)
    propagated(tmp_path, protocol=NEAR, overlays=True)
    before, before_rows = contents(tmp_path / "out"), rows(tmp_path, "lost")
    assert [j_of(tmp_path, "lost", i) > 0.5 for i in range(COUNT)] == [True] * 4 + [False] * 5

    first = correct(tmp_path, "lost", 5)
    summary, errors = propagated(tmp_path, protocol=NEAR, overlays=True, corrections=first)
    assert (summary.videos_made, summary.videos_corrected, summary.frames_made) == (0, 1, 4)
    assert errors == []
    after, after_rows = contents(tmp_path / "out"), rows(tmp_path, "lost")
    assert of_video(after, "other") == of_video(before, "other")
    kept = [f"masks/lost/{i:05d}.png" for i in range(5)]
    assert {name: after[name] for name in kept} == {name: before[name] for name in kept}
    assert [j_of(tmp_path, "lost", i) > 0.5 for i in range(COUNT)] == [True] * 4 + [False] + [
        True
    ] * 4
    np.testing.assert_array_equal(
        read_mask(tmp_path / "out" / "masks" / "lost" / "00005.png"), scene(5)[1]
    )
    assert str({i: after_rows[i] for i in range(5)}) == str({i: before_rows[i] for i in range(5)})
    (corrected,) = after_rows[5]
    assert (corrected["anchor"], corrected["confidence"]) == (True, 1.0)
    assert after["overlays/lost.mp4"][0] != before["overlays/lost.mp4"][0]
    facts = read_facts(tmp_path / "out" / "predictions" / "lost.parquet")
    assert facts is not None and sorted(facts.anchors) == [0, 5]

    # The same again touches nothing; a later batch leaves the first one's work alone.
    summary, _ = propagated(tmp_path, protocol=NEAR, overlays=True, corrections=first)
    assert (summary.videos_corrected, summary.frames_made) == (0, 0)
    assert of_video(contents(tmp_path / "out"), "lost") == of_video(after, "lost")
    second = correct(tmp_path, "lost", 4, batch="second")
    summary, _ = propagated(tmp_path, protocol=NEAR, overlays=True, corrections=second)
    assert (summary.videos_corrected, summary.frames_made) == (1, 1)
    assert all(j_of(tmp_path, "lost", i) > 0.5 for i in range(COUNT))

    # All at once comes to the same bytes.
    corrections = correct(tmp_path, "lost", 4, 5, batch="all")
    done = contents(tmp_path / "out")
    (tmp_path / "out").rename(tmp_path / "done")
    propagated(tmp_path, protocol=NEAR, overlays=True, corrections=corrections)
    whole = contents(tmp_path / "out")
    for name in (n for n in whole if n.split("/")[0] in ("masks", "overlays")):
        assert whole[name][0] == done[name][0], name
    table = pq.read_table(tmp_path / "out" / "predictions" / "lost.parquet")
    assert str(table.to_pylist()) == str(
        pq.read_table(tmp_path / "done" / "predictions" / "lost.parquet").to_pylist()
    )


@pytest.mark.usefixtures("in_this_process")
def test_labels_in_one_file_and_corrections_that_fit_nothing(tmp_path: Path) -> None:
    put_video(tmp_path, "lost")
    propagated(tmp_path, overlays=False, out_format="coco-video")
    before = rows(tmp_path, "lost")
    write_mask(tmp_path / "corrected" / "astray" / "00000.png", scene(0)[1])
    corrections = correct(tmp_path, "lost", 5)
    summary, errors = propagated(
        tmp_path, overlays=False, out_format="coco-video", corrections=corrections
    )
    assert [(row["video_id"], row["kind"]) for row in errors] == [("astray", "no_video")]
    assert (summary.videos_corrected, summary.frames_made) == (1, 4)
    after = rows(tmp_path, "lost")
    assert str({i: after[i] for i in range(5)}) == str({i: before[i] for i in range(5)})
    assert (tmp_path / "out" / "labels" / "lost.json").is_file()

    box = BoxAnnotation((1,), np.array([[1.0, 2, 3, 4]]))
    write_labels("mot", tmp_path / "boxes", VideoInfo("lost"), [(6, box)])
    summary, errors = propagated(
        tmp_path,
        overlays=False,
        out_format="coco-video",
        corrections=Corrections(tmp_path / "boxes"),
    )
    assert errors[-1]["message"] == "corrections are of kind box, labels of kind mask"
    assert str(rows(tmp_path, "lost")) == str(after)


@pytest.mark.usefixtures("in_this_process")
def test_changed_labels_make_again_what_they_touch(tmp_path: Path) -> None:
    for name in ("lost", "other"):
        put_video(tmp_path, name)
    settings = {"protocol": NEAR, "overlays": False, "anchors": "all"}
    propagated(tmp_path, **settings, corrections=correct(tmp_path, "lost", 2))
    before = contents(tmp_path / "out")

    def made_again() -> tuple[int, int]:
        summary, errors = propagated(tmp_path, **settings)
        assert errors == []
        return summary.videos_corrected, summary.frames_made

    assert made_again() == (0, 0)
    # Another file with the same labels: looked at once, and nothing is made.
    first = tmp_path / "labels" / "lost" / "00000.png"
    write_mask(first, scene(0)[1])
    looked_at = (tmp_path / "out" / "label_files.json").read_bytes()
    assert made_again() == (0, 0)
    assert (tmp_path / "out" / "label_files.json").read_bytes() != looked_at

    # One more annotated frame, then another first one: with it all but the corrected frame.
    write_mask(tmp_path / "labels" / "lost" / "00005.png", scene(5)[1])
    assert made_again() == (1, 4)
    assert [j_of(tmp_path, "lost", i) > 0.5 for i in range(JUMP, COUNT)] == [False] + [True] * 4
    write_mask(first, np.roll(scene(0)[1], 1, axis=0))
    assert made_again() == (1, COUNT)
    np.testing.assert_array_equal(
        read_mask(tmp_path / "out" / "masks" / "lost" / "00002.png"), scene(2)[1]
    )
    # A label that was taken back.
    (tmp_path / "labels" / "lost" / "00005.png").unlink()
    assert made_again() == (1, COUNT - 2)
    assert [j_of(tmp_path, "lost", i) > 0.5 for i in range(JUMP, COUNT)] == [False] * 5
    assert of_video(contents(tmp_path / "out"), "other") == of_video(before, "other")

    # It is what a first run makes of the labels as they are now.
    done = contents(tmp_path / "out")
    (tmp_path / "out").rename(tmp_path / "done")
    propagated(tmp_path, **settings, corrections=Corrections(tmp_path / "corrected"))
    whole = contents(tmp_path / "out")
    for name in (n for n in whole if n.startswith("masks/")):
        assert whole[name][0] == done[name][0], name


@pytest.mark.usefixtures("in_this_process")
def test_labels_of_another_place_are_the_ones_that_count(tmp_path: Path) -> None:
    for name in ("lost", "other"):
        put_video(tmp_path, name)
    propagated(tmp_path, protocol=NEAR, overlays=False)
    (tmp_path / "labels").rename(tmp_path / "first")
    put_labels = {"lost": np.roll(scene(0)[1], 2, axis=0), "other": scene(0)[1]}
    for name, ids_HW in put_labels.items():
        write_mask(tmp_path / "labels" / name / "00000.png", ids_HW)
    summary, _ = propagated(tmp_path, protocol=NEAR, overlays=False)
    assert (summary.videos_corrected, summary.frames_made) == (1, COUNT)
    for name, ids_HW in put_labels.items():
        found = read_mask(tmp_path / "out" / "masks" / name / "00000.png")
        np.testing.assert_array_equal(found, ids_HW)
    write_labels(
        "mot",
        tmp_path / "boxes",
        VideoInfo("lost"),
        [(0, BoxAnnotation((1,), np.array([[1.0, 2, 3, 4]])))],
    )
    (tmp_path / "labels").rename(tmp_path / "second")
    (tmp_path / "boxes").rename(tmp_path / "labels")
    _, errors = propagated(tmp_path, protocol=NEAR, overlays=False)
    assert [row["message"] for row in errors if row["video_id"] == "lost"] == [
        "labels are of kind box, it was labelled from kind mask; remove predictions/lost.parquet to "
        "make it anew"
    ]


@pytest.mark.usefixtures("in_this_process")
def test_frames_that_come_back_as_they_were_exported_are_nobodys_word(tmp_path: Path) -> None:
    put_video(tmp_path, "lost")
    propagated(tmp_path, protocol=NEAR, overlays=False)
    archive = review_of(tmp_path / "out")
    needed = most_needed(archive, 2, 2)
    edited, left = (frame.index for frame in needed)
    export_frames(archive, needed, tmp_path / "to", "davis")
    write_mask(tmp_path / "to/Annotations/lost" / f"{edited:05d}.png", scene(edited)[1])

    def anchors_with(corrections: Corrections) -> tuple[int, list[int]]:
        summary, _ = propagated(tmp_path, protocol=NEAR, overlays=False, corrections=corrections)
        facts = read_facts(tmp_path / "out" / "predictions" / "lost.parquet")
        assert facts is not None
        return summary.corrections_unedited, sorted(facts.anchors)

    # Also in another place, and when what is predicted there has changed by the other correction.
    assert anchors_with(Corrections(tmp_path / "to")) == (1, sorted({0, edited}))
    (tmp_path / "to" / "Annotations").rename(tmp_path / "moved")
    assert anchors_with(Corrections(tmp_path / "moved")) == (1, sorted({0, edited}))
    (tmp_path / "out" / "exported.json").unlink()
    (tmp_path / "moved").rename(tmp_path / "to" / "Annotations")
    assert anchors_with(Corrections(tmp_path / "to")) == (1, sorted({0, edited}))
    accepted = Corrections(tmp_path / "to", accept_unchanged=True)
    assert anchors_with(accepted) == (0, sorted({0, edited, left}))
