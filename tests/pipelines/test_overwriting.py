"""What an overwrite must not cost."""

from pathlib import Path

import pytest

from model.errors import UserError
from model.propagation.protocols import get_protocol
from pipelines.archive import ArchiveConfig, Corrections, propagate_archive
from pipelines.labels.davis import write_mask
from pipelines.overwriting import refuse_to_remove
from pipelines.s3_path import S3Path
from pipelines.storage import Location
from tests.pipelines.test_archive import LAB
from tests.pipelines.test_corrections import contents, correct, put_video, scene


def overwritten(place: Path, labels: Path, corrections: Corrections | None = None, **settings):
    config = ArchiveConfig(LAB, get_protocol("crw", settings.pop("set", ())), overlays=False)
    out = place / "out"
    calls = {"overwrite": True, "workers": 1, "corrections": corrections} | settings
    return propagate_archive(place / "archive", labels, out, config, **calls)


@pytest.mark.usefixtures("in_this_process")
def test_what_is_read_is_not_removed(tmp_path: Path) -> None:
    put_video(tmp_path, "v")
    out = tmp_path / "out"
    overwritten(tmp_path, tmp_path / "labels")
    before = contents(out)
    (tmp_path / "link").symlink_to(out / "masks")
    for labels in (out / "masks", out, tmp_path / "link"):
        with pytest.raises(UserError, match="is read, and --overwrite would remove"):
            overwritten(tmp_path, labels)
    with pytest.raises(UserError, match=r"predictions/own\.json: is read"):
        overwritten(tmp_path, tmp_path / "labels", also_read=[out / "predictions" / "own.json"])
    with pytest.raises(UserError, match=r"masks: is read, and .*out/masks; name another --out"):
        overwritten(tmp_path, tmp_path / "labels", Corrections(out / "masks"))
    assert contents(out) == before


@pytest.mark.parametrize(
    ("place", "refused"),
    [
        (S3Path("b", "out/masks"), True),
        (S3Path("b", "out/labels/v.json"), True),
        (S3Path("b", "out"), True),
        (S3Path("b", "out/masks-of-mine"), False),
        (S3Path("c", "out/masks"), False),
        (Path("out/masks"), False),
    ],
)
def test_the_same_on_s3(place: Location, refused: bool) -> None:
    if not refused:
        refuse_to_remove(S3Path("b", "out"), [place])
        return
    with pytest.raises(UserError, match=f"{place}: is read"):
        refuse_to_remove(S3Path("b", "out"), [place])


@pytest.mark.usefixtures("in_this_process")
def test_corrections_that_are_nowhere_else_are_not_lost(tmp_path: Path) -> None:
    labels = tmp_path / "labels"
    for name in ("v", "w"):
        put_video(tmp_path, name)
    corrections = correct(tmp_path, "v", 5, 6)
    correct(tmp_path, "w", 0, 5)  # the first is just what the labels say
    overwritten(tmp_path, labels, corrections, overwrite=False)
    before = contents(tmp_path / "out")
    with pytest.raises(UserError, match="would lose corrections of 3 frames of 2 videos"):
        overwritten(tmp_path, labels)
    with pytest.raises(
        UserError,
        match=r"use another folder \(--overwrite would lose corrections of 3 frames of 2 videos\)",
    ):
        overwritten(tmp_path, labels, overwrite=False, set=["top_k=5"])
    part = correct(tmp_path, "v", 6, batch="part")
    with pytest.raises(UserError, match="would lose corrections of 2 frames of 2 videos"):
        overwritten(tmp_path, labels, part)
    assert contents(tmp_path / "out") == before
    for index in (5, 6):  # in the labels, though these are not asked for more than the first frame
        write_mask(labels / "v" / f"{index:05d}.png", scene(index)[1])
    correct(tmp_path, "w", 5, batch="part")
    assert overwritten(tmp_path, labels, part).videos_made == 2
