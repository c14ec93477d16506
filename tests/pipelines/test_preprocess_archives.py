"""Preprocessing from tar archives on a local Ray: what comes out, resuming in the middle, progress."""

import os
import shutil
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from pipelines.dataset_folder import PreprocessConfig
from pipelines.manifest import load_manifest
from pipelines.preprocess import preprocess
from pipelines.validate import validate_dataset
from tests.conftest import MakeVideo
from tests.tars import pack

pytestmark = pytest.mark.usefixtures("ray_session")


def contents(dataset: Path) -> dict[str, bytes]:
    """What must not depend on the run."""
    names = ("manifest.parquet", "archives.parquet", "codebook.json", "errors.parquet")
    files = [dataset / n for n in names] + sorted((dataset / "clips").glob("*.parquet"))
    return {file.name: file.read_bytes() for file in files}


def frames(dataset: Path) -> dict[str, list[bytes]]:
    """Frames of every clip; its id without the folder of the video."""
    shards = sorted((dataset / "clips").glob("*.parquet"))
    rows = pq.read_table(shards, columns=["clip_id", "frames"]).to_pylist()
    return {"/".join(row["clip_id"].split("/")[-2:]): row["frames"] for row in rows}


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory, make_video: MakeVideo) -> Path:
    """A gzipped part of seven videos, a plain one with an unsafe and a bad member, and one cut short."""
    folder = tmp_path_factory.mktemp("corpus") / "parts"
    made = [
        make_video(folder.parent / "loose" / f"{'-_abcdefg'[i]}{i}.mp4", frames=20, seed=i)
        for i in range(9)
    ]
    pack(folder / "part_0.tar.gz", {video.name: video for video in made[6::-1]})
    pack(folder / "part_1.tar", {"../up.mp4": b"x", made[7].name: made[7], "bad.mp4": b"no video"})
    cut = pack(folder / "part_2.tar.gz", {made[8].name: made[8], "lost.mp4": made[7]})
    cut.write_bytes(cut.read_bytes()[:-1000])
    return folder


@pytest.fixture(scope="module")
def packed_dataset(
    ray_session: None,
    parts: Path,
    small_config: PreprocessConfig,
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    out = tmp_path_factory.mktemp("packed") / "dataset"
    assert preprocess([str(parts)], out, small_config, workers=2) is not None
    return out


def test_members_become_the_clips_that_their_files_would(
    packed_dataset: Path, parts: Path, small_config: PreprocessConfig, tmp_path: Path
) -> None:
    assert validate_dataset(packed_dataset).problems == []
    errors = pq.read_table(packed_dataset / "errors.parquet").to_pylist()
    assert {row["video_id"]: (row["kind"], row["uri"]) for row in errors} == {
        "part_1/../up.mp4": ("unsafe_member", f"tar://../up.mp4::{parts}/part_1.tar"),
        "part_1/bad": ("unreadable", f"tar://bad.mp4::{parts}/part_1.tar"),
        "part_2.tar.gz": ("truncated", f"{parts}/part_2.tar.gz"),
    }
    assert preprocess([str(parts.parent / "loose")], tmp_path, small_config, workers=2) is not None
    assert frames(packed_dataset) == frames(tmp_path)


def test_no_shard_mixes_archives(packed_dataset: Path) -> None:
    videos = load_manifest(packed_dataset / "manifest.parquet")
    order = [video.video_id for video in videos]
    assert order[:4] == ["part_2.tar.gz", "part_0/e6", "part_0/d5", "part_0/c4"]
    shards = sorted((packed_dataset / "clips").glob("*.parquet"))
    ids = [pq.read_table(s, columns=["video_id"])["video_id"].unique().to_pylist() for s in shards]
    assert ids == [[], order[1:4], order[4:7], order[7:8], ["part_1/f7"], ["part_2/g8"]]


def test_a_run_stopped_in_the_middle_of_an_archive_ends_the_same(
    packed_dataset: Path, parts: Path, small_config: PreprocessConfig, tmp_path: Path
) -> None:
    out = Path(shutil.copytree(packed_dataset, tmp_path / "dataset"))
    before = contents(out)
    times_ns = {f.name: f.stat().st_mtime_ns for f in (out / "clips").iterdir()}
    for index in (2, 3, 4):  # the end of the first part and the whole second one
        (out / "clips" / f"shard-0000{index}.json").unlink()
    (out / "clips" / "shard-00003.parquet").unlink()
    seen: list[tuple[str, int, int]] = []
    summary = preprocess(
        [str(parts)],
        out,
        small_config,
        workers=1,
        progress=lambda stage, done, total, _: seen.append((stage, done, total)),
    )
    assert summary is not None
    assert summary.shards_made == 3
    assert contents(out) == before
    changed = {
        f.name[:11] for f in (out / "clips").iterdir() if f.stat().st_mtime_ns != times_ns[f.name]
    }
    assert changed == {"shard-00002", "shard-00003", "shard-00004"}
    assert seen == [("manifest", 12, 12), *(("shards", done, 6) for done in (3, 4, 5, 6))]


def test_archives_that_have_not_changed_are_not_read_again(
    packed_dataset: Path, parts: Path, small_config: PreprocessConfig, tmp_path: Path
) -> None:
    moved = Path(shutil.copytree(parts, tmp_path / "parts"))
    out = tmp_path / "dataset"
    sources = [str(moved)]
    assert preprocess(sources, out, small_config, workers=1, stage="manifest") is None
    part = moved / "part_0.tar.gz"
    status = part.stat()
    part.write_bytes(bytes(status.st_size))
    os.utime(part, ns=(status.st_atime_ns, status.st_mtime_ns))
    before = (out / "manifest.parquet").read_bytes()
    assert preprocess(sources, out, small_config, workers=1, stage="manifest") is None
    assert (out / "manifest.parquet").read_bytes() == before
