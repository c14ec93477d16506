"""Datasets on S3: made, resumed, validated and read as on a local disk."""

import tarfile
from collections import Counter
from itertools import islice
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import torch

from model.errors import UserError
from pipelines.batches import training_batches
from pipelines.clip_rows import BatchConfig, ClipDataset
from pipelines.corpus import CorpusConfig, build_corpus
from pipelines.dataset_folder import PreprocessConfig
from pipelines.preprocess import preprocess
from pipelines.s3 import StorageError
from pipelines.s3_path import S3Path
from pipelines.storage import files_in, remove_files, upload_folder, write_bytes, write_text
from pipelines.validate import validate_dataset
from tests.s3_faults import Fault, FaultyProxy

pytestmark = pytest.mark.usefixtures("ray_session")


@pytest.fixture
def videos(bucket: S3Path, small_corpus: Path, s3_proxy: FaultyProxy) -> S3Path:
    """The small corpus on S3."""
    upload_folder(small_corpus, bucket / "videos")
    s3_proxy.forget()
    return bucket / "videos"


def shards_of(folder: Path | S3Path) -> dict[str, bytes]:
    files = files_in(folder / "clips")
    return {name: f.read_bytes() for name, f in files.items() if f.suffix == ".parquet"}


def test_from_s3_to_s3_gives_the_bytes_of_a_local_run_and_a_rerun_does_nothing(
    bucket: S3Path,
    videos: S3Path,
    small_dataset: Path,
    small_config: PreprocessConfig,
    s3_proxy: FaultyProxy,
) -> None:
    out = bucket / "data" / "set"
    first = preprocess([str(videos)], out, small_config, workers=2)
    assert first is not None and first.shards_made == 3
    # Workers ask once for each of three shards whether it is there, and write it and its marker. Nothing is
    # read back, which the driver would do one after another.
    assert Counter(m for m, path in s3_proxy.requests if "/clips/" in path) == {"GET": 3, "PUT": 6}
    assert shards_of(out) == shards_of(small_dataset)
    assert (out / "codebook.json").read_bytes() == (small_dataset / "codebook.json").read_bytes()
    errors = pq.read_table(small_dataset / "errors.parquet").to_pylist()
    assert {row["video_id"]: row["kind"] for row in errors} == {
        "corrupt": "unreadable",
        "empty": "empty",
        "short": "too_short",
    }
    assert validate_dataset(out).problems == []
    # One listing tells what there is; only the manifest is opened in parts.
    asked = {path for method, path in s3_proxy.requests if method == "HEAD"}
    assert {path.partition("?")[0].rpartition("/")[2] for path in asked} <= {"manifest.parquet"}

    s3_proxy.forget()
    again = preprocess([str(videos)], out, small_config, workers=2)
    assert again is not None and again.shards_made == 0
    written = {
        path.partition("?")[0].rpartition("/")[2] for m, path in s3_proxy.requests if m == "PUT"
    }
    assert written == {".lock", "errors.parquet", "summary.json"}

    remove_files([out / "clips" / "shard-00000.json", out / "clips" / "shard-00002.json"])
    assert "shard-00000.parquet: no valid commit marker" in validate_dataset(out).problems
    resumed = preprocess([str(videos)], out, small_config, workers=1)
    assert resumed is not None and resumed.shards_made == 2
    assert shards_of(out) == shards_of(small_dataset)
    assert validate_dataset(out).problems == []

    fresh = preprocess([str(videos)], out, small_config, workers=1, overwrite=True)
    assert fresh is not None and fresh.shards_made == 3
    write_bytes(out / "clips" / "note.txt", b"mine")
    assert validate_dataset(out).problems == ["clips/note.txt: does not belong to a dataset"]


def test_a_list_on_s3_names_videos_anywhere(bucket: S3Path, videos: S3Path, tmp_path: Path) -> None:
    local = tmp_path / "local.mp4"
    local.touch()
    rows = [f"{videos}/e.mp4,a,train", "videos/f.mp4,b,val", f"{local},c,", f"{videos}/gone.mp4,,"]
    write_text(bucket / "list.csv", "uri,label,split\n" + "\n".join(rows) + "\n")
    found = build_corpus([f"{bucket}/list.csv"], CorpusConfig(val_share=0)).videos
    listed = {path.name: path.listed for path in videos.files()}
    assert [(v.video_id, v.uri, v.label, v.split) for v in found] == [
        ("e", f"{videos}/e.mp4", "a", "train"),
        ("gone", f"{videos}/gone.mp4", None, "train"),
        ("local", str(local), "c", "train"),
        ("videos/f", f"{videos}/f.mp4", "b", "val"),
    ]
    listed_e = listed["e.mp4"]
    assert listed_e is not None
    assert (found[0].bytes, found[0].etag) == (listed_e.bytes, listed_e.etag)
    assert found[0].etag
    assert (found[1].bytes, found[1].etag) == (0, "")


def test_a_prefix_is_listed_and_its_objects_are_not_asked_for(
    videos: S3Path, small_corpus: Path, s3_proxy: FaultyProxy
) -> None:
    found = build_corpus([str(videos)], CorpusConfig()).videos
    local = build_corpus([str(small_corpus)], CorpusConfig()).videos
    assert [(v.video_id, v.bytes, v.split) for v in found] == [
        (v.video_id, v.bytes, v.split) for v in local
    ]
    assert len(s3_proxy.requests) == 1
    with pytest.raises(UserError, match=r"s3://.*/nothing: no video has this address"):
        build_corpus([f"{videos.parent}/nothing"], CorpusConfig())
    with pytest.raises(StorageError, match="there is no bucket no-such-bucket"):
        build_corpus(["s3://no-such-bucket/videos"], CorpusConfig())


def test_a_video_that_cannot_be_fetched_is_a_row_and_flaky_storage_is_not(
    bucket: S3Path, videos: S3Path, small_config: PreprocessConfig, s3_proxy: FaultyProxy
) -> None:
    s3_proxy.faults = [
        Fault("slow_down", "GET", "videos/e.mp4", times=99),
        Fault("cut_short", "GET", "videos/f.mp4", times=1),
        Fault("error_500", "GET", "videos/-a.mp4", times=1),
        Fault("error_500", "PUT", "shard-00001.parquet", times=1),
    ]
    out = bucket / "set"
    assert preprocess([str(videos)], out, small_config, workers=2) is not None
    errors = pq.read_table(_parquet(out / "errors.parquet")).to_pylist()
    assert {row["video_id"]: row["kind"] for row in errors} == {
        "corrupt": "unreadable",
        "e": "storage",
        "empty": "empty",
        "short": "too_short",
    }
    (message,) = (row["message"] for row in errors if row["kind"] == "storage")
    assert "videos/e.mp4: S3 answered 503 SlowDown in 3 tries" in message
    assert not any("/proc/" in row["message"] for row in errors)
    assert validate_dataset(out).problems == []


def test_an_output_that_fails_ends_the_run_and_a_rerun_finishes_it(
    bucket: S3Path,
    videos: S3Path,
    small_dataset: Path,
    small_config: PreprocessConfig,
    s3_proxy: FaultyProxy,
) -> None:
    out = bucket / "set"
    s3_proxy.faults = [Fault("slow_down", "PUT", "shard-00001.parquet", times=99)]
    with pytest.raises(StorageError, match=r"shard-00001.parquet: S3 answered 503.*rerun goes on"):
        preprocess([str(videos)], out, small_config, workers=1)
    s3_proxy.forget()
    done = preprocess([str(videos)], out, small_config, workers=1)
    assert done is not None and 0 < done.shards_made < 4
    assert shards_of(out) == shards_of(small_dataset)
    assert validate_dataset(out).problems == []


def test_clips_are_read_for_training_from_s3(
    bucket: S3Path, small_dataset: Path, s3_proxy: FaultyProxy
) -> None:
    upload_folder(small_dataset, bucket / "set")
    config = BatchConfig(batch_size=4, resolution_px=64)
    local, remote = ClipDataset.open(small_dataset), ClipDataset.open(bucket / "set")
    assert remote.format == local.format
    assert (len(remote.train), len(remote.val)) == (len(local.train), len(local.val))
    ours, theirs = (
        list(islice(training_batches(dataset, config, seed=0), 6)) for dataset in (remote, local)
    )
    for a, b in zip(ours, theirs, strict=True):
        assert torch.equal(a.grey_BTHW, b.grey_BTHW)
        assert torch.equal(a.packed_target, b.packed_target)
    s3_proxy.faults = [Fault("slow_down", "GET", ".parquet", times=99)]
    with pytest.raises(OSError, match="AWS Error"):  # storage may recover: no damaged shard
        next(training_batches(remote, config, seed=0))
    s3_proxy.forget()
    remove_files([bucket / "set" / "clips" / "shard-00001.parquet"])
    with pytest.raises(UserError, match=r"s3://.*/shard-00001.parquet: cannot be read"):
        list(islice(training_batches(remote, config, seed=0), 6))
    with pytest.raises(UserError, match=r"s3://.*/shard-00001.parquet: is missing"):
        ClipDataset.open(bucket / "set")
    with pytest.raises(UserError, match=r"s3://.*/nothing: no such dataset"):
        ClipDataset.open(bucket / "nothing")


def _parquet(path: S3Path) -> object:
    import io

    return io.BytesIO(path.read_bytes())


def test_members_of_archives_on_s3_are_decoded(
    bucket: S3Path, small_corpus: Path, small_config: PreprocessConfig, tmp_path: Path
) -> None:
    for name, mode in [("part_0.tar.gz", "w:gz"), ("part_1.tar", "w:")]:
        with tarfile.open(tmp_path / name, mode) as tar:
            for video in ("e.mp4", "f.mp4"):
                tar.add(small_corpus / video, arcname=f"{name[:6]}-{video}")
        write_bytes(bucket / "parts" / name, (tmp_path / name).read_bytes())
    local, remote = (
        build_corpus([source], CorpusConfig()).videos
        for source in (str(tmp_path), f"{bucket}/parts")
    )
    assert remote[0].uri == f"tar://part_0-e.mp4::{bucket}/parts/part_0.tar.gz"
    assert [(v.video_id, v.bytes, v.etag) for v in remote] == [
        (v.video_id, v.bytes, v.etag) for v in local
    ]
    summaries = [
        preprocess([source], out, small_config, workers=1)
        for source, out in [(str(tmp_path), tmp_path / "set"), (f"{bucket}/parts", bucket / "set")]
    ]
    assert [s.videos_failed for s in summaries if s is not None] == [0, 0]
    assert shards_of(bucket / "set") == shards_of(tmp_path / "set")
