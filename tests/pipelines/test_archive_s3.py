"""An output on S3: what makes a video count comes last, and corrections send what they change."""

from pathlib import Path

import numpy as np
import pytest

from model.propagation.annotations import MaskAnnotation
from model.propagation.protocols import get_protocol
from pipelines.archive import MOST_UNSTORED, ArchiveConfig, Corrections, propagate_archive
from pipelines.labels.codec import VideoInfo
from pipelines.labels.formats import open_labels, write_labels
from pipelines.s3 import StorageError
from pipelines.s3_path import S3Path
from pipelines.storage import write_bytes
from tests.pipelines.test_archive import LAB
from tests.pipelines.test_corrections import COUNT, correct, put_video, scene
from tests.s3_faults import Fault, FaultyProxy


def run(place: Path, out: Path | S3Path, corrections: Corrections | None = None):
    config = ArchiveConfig(LAB, get_protocol("crw"), overlays=True)
    places = place / "archive", place / "labels", out
    return propagate_archive(*places, config, workers=1, corrections=corrections)


def put(proxy: FaultyProxy) -> list[str]:
    """Names of what was sent since the proxy last forgot, without what says how the run stands."""
    paths = [path.split("?")[0] for method, path in proxy.requests if method == "PUT"]
    names = ["/".join(path.split("/")[2:]) for path in paths]
    return [name for name in names if name.split("/")[1] in ("masks", "overlays", "predictions")]


@pytest.mark.usefixtures("in_this_process")
def test_predictions_come_last_and_corrections_send_what_changes(
    tmp_path: Path, bucket: S3Path, s3_proxy: FaultyProxy
) -> None:
    out = bucket / "out"
    put_video(tmp_path, "lost")
    s3_proxy.faults = [Fault("error_500", "PUT", "predictions/lost", times=99)]
    summary = run(tmp_path, out)
    assert (summary.videos_made, summary.errors) == (0, {"storage": 1})
    s3_proxy.forget()
    assert run(tmp_path, out).videos_made == 1
    sent = put(s3_proxy)
    films = ["out/overlays/lost.jpg", "out/overlays/lost.mp4"]
    assert len(sent) == COUNT + 3
    assert sorted(sent[-3:-1]) == films
    assert sent[-1] == "out/predictions/lost.parquet"
    s3_proxy.forget()
    assert run(tmp_path, out).videos_made == 0
    assert put(s3_proxy) == []

    for index in (4, 5):  # corrections lie on S3 as well
        correct(tmp_path, "lost", index)
        local = tmp_path / "corrected" / "lost" / f"{index:05d}.png"
        write_bytes(bucket / "corrected" / "lost" / local.name, local.read_bytes())
    s3_proxy.forget()
    assert run(tmp_path, out, Corrections(bucket / "corrected")).videos_corrected == 1
    masks = [f"out/masks/lost/{index:05d}.png" for index in range(4, COUNT)]
    sent = put(s3_proxy)
    assert sorted(sent[:-3]) == masks
    assert sorted(sent[-3:-1]) == films
    assert sent[-1] == "out/predictions/lost.parquet"

    run(tmp_path, tmp_path / "here", correct(tmp_path, "lost", 4, 5))
    found = {str(path.relative_to(out)): path.read_bytes() for path in out.files()}
    for path in sorted((tmp_path / "here").rglob("*")):
        name = str(path.relative_to(tmp_path / "here"))
        if path.is_file() and path.suffix != ".json":
            assert found[name] == path.read_bytes(), name
    assert not [name for name in found if name.startswith(".")]


@pytest.mark.usefixtures("in_this_process")
def test_an_archive_is_given_up_when_video_after_video_cannot_be_stored(
    tmp_path: Path, bucket: S3Path, s3_proxy: FaultyProxy
) -> None:
    names = [f"v{index}" for index in range(MOST_UNSTORED + 2)]
    for name in names:
        put_video(tmp_path, name)
    s3_proxy.faults = [Fault("slow_down", "PUT", "predictions/", times=999)]
    with pytest.raises(StorageError, match=r"predictions/v\d.* a rerun goes on from here"):
        run(tmp_path, bucket / "out")
    s3_proxy.forget()
    assert run(tmp_path, bucket / "out").videos_made == len(names)


@pytest.mark.usefixtures("in_this_process")
def test_labels_in_another_format_take_the_place_of_those_before(
    tmp_path: Path, bucket: S3Path
) -> None:
    out = bucket / "out"
    put_video(tmp_path, "v")
    run(tmp_path, out)
    assert {path.name for path in (out / "masks").files()} == {f"{i:05d}.png" for i in range(COUNT)}
    new = [("00004", MaskAnnotation(scene(4)[1].astype(int) * 100))]
    write_labels("coco-video", tmp_path / "corrected", VideoInfo("v"), new)
    assert run(tmp_path, out, Corrections(tmp_path / "corrected")).videos_corrected == 1
    assert list((out / "masks").files()) == []
    labels = open_labels(out / "labels")
    assert len(labels.frames("v")) == COUNT
    assert set(np.unique(labels.read("v", "00004").ids_HW)) == {0, 300}
    assert set(np.unique(labels.read("v", "00003").ids_HW)) == {0, 3}
