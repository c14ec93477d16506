"""Preprocessing as a whole, on a local Ray: the end result, resuming, refusing."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from model.errors import UserError
from pipelines.dataset_folder import PreprocessConfig
from pipelines.decode import DecodeConfig
from pipelines.manifest import load_manifest
from pipelines.preprocess import preprocess
from pipelines.shards import ERROR_SCHEMA
from pipelines.validate import validate_dataset

pytestmark = pytest.mark.usefixtures("ray_session")


def contents(dataset: Path) -> dict[str, bytes]:
    """What must not depend on the run: everything but times and memory."""
    files = [dataset / n for n in ("manifest.parquet", "codebook.json", "errors.parquet")]
    files += sorted((dataset / "clips").glob("*.parquet"))
    return {file.name: file.read_bytes() for file in files}


def shard_times_ns(dataset: Path) -> dict[str, int]:
    return {file.name: file.stat().st_mtime_ns for file in (dataset / "clips").iterdir()}


@pytest.fixture
def dataset(small_dataset: Path, tmp_path: Path) -> Path:
    """A copy that may be changed."""
    return Path(shutil.copytree(small_dataset, tmp_path / "dataset"))


def test_the_dataset_is_sound_and_accounts_for_every_video(
    small_dataset: Path, small_corpus: Path
) -> None:
    report = validate_dataset(small_dataset)
    assert report.problems == []
    assert (report.videos, report.failed, report.shards) == (9, 3, 3)
    errors = pq.read_table(small_dataset / "errors.parquet")
    assert errors.schema.equals(ERROR_SCHEMA)
    kinds = [(row["video_id"], row["kind"], row["attempts"]) for row in errors.to_pylist()]
    assert kinds == [("corrupt", "unreadable", 1), ("empty", "empty", 1), ("short", "too_short", 1)]
    assert errors["uri"][0].as_py() == str((small_corpus / "corrupt.mp4").resolve())
    videos = load_manifest(small_dataset / "manifest.parquet")
    assert [v.video_id for v in videos] == sorted(v.video_id for v in videos)
    assert {"-a", "_b", "c d", "sub/č"} <= {v.video_id for v in videos}
    assert {v.split for v in videos} == {"train", "val"}
    shards = sorted((small_dataset / "clips").glob("*.parquet"))
    clips = pq.read_table(shards, columns=["video_id"])["video_id"].to_pylist()
    assert {name: clips.count(name) for name in set(clips)} == {
        "-a": 2, "_b": 3, "c d": 3, "sub/č": 4, "e": 4, "f": 5,
    }  # fmt: skip
    summary = json.loads((small_dataset / "summary.json").read_text())
    assert summary["state"] == "complete"
    assert (summary["clips"], summary["frames"]) == (21, 84)
    assert summary["errors"] == {"empty": 1, "too_short": 1, "unreadable": 1}
    assert summary["shards_made"] == 3


def test_one_worker_stage_by_stage_gives_the_same_bytes(
    small_dataset: Path, small_corpus: Path, small_config: PreprocessConfig, tmp_path: Path
) -> None:
    out, sources = tmp_path / "one", [str(small_corpus)]
    assert preprocess(sources, out, small_config, workers=1, stage="manifest") is None
    assert sorted(p.name for p in out.iterdir()) == ["manifest.parquet", "summary.json"]
    assert preprocess([], out, small_config, workers=1, stage="codebook") is None
    names = ["codebook.json", "manifest.parquet", "summary.json"]
    assert sorted(p.name for p in out.iterdir()) == names
    seen: list[tuple[str, int, int]] = []
    summary = preprocess(
        [],
        out,
        small_config,
        workers=1,
        stage="shards",
        progress=lambda stage, done, total, _: seen.append((stage, done, total)),
    )
    assert summary is not None
    assert summary.shards_made == 3
    assert seen == [("shards", done, 3) for done in range(4)]
    assert contents(out) == contents(small_dataset)


def test_a_rerun_makes_nothing(
    dataset: Path, small_corpus: Path, small_config: PreprocessConfig
) -> None:
    before, times_ns = contents(dataset), shard_times_ns(dataset)
    deadline = replace(small_config, decode=replace(small_config.decode, deadline_s=50))
    for sources, config in (([str(small_corpus)], small_config), ([], deadline)):
        summary = preprocess(sources, dataset, config, workers=2)
        assert summary is not None
        assert (summary.shards_made, summary.shards, summary.clips) == (0, 3, 21)
        assert contents(dataset) == before
        assert shard_times_ns(dataset) == times_ns


def test_only_what_was_not_committed_is_made_again(
    dataset: Path, small_corpus: Path, small_config: PreprocessConfig
) -> None:
    before, times_ns = contents(dataset), shard_times_ns(dataset)
    (dataset / "clips" / "shard-00001.json").unlink()
    leftovers = [dataset / "clips" / ".shard-00001.parquet.9.partial"]
    leftovers += [dataset / ".summary.json.9.partial"]
    for leftover in leftovers:
        leftover.write_bytes(b"half")
    summary = preprocess([str(small_corpus)], dataset, small_config, workers=1)
    assert summary is not None
    assert summary.shards_made == 1
    assert contents(dataset) == before
    changed = {n for n, time_ns in shard_times_ns(dataset).items() if time_ns != times_ns[n]}
    assert changed == {"shard-00001.parquet", "shard-00001.json"}
    assert validate_dataset(dataset).problems == []


def test_another_configuration_is_refused_naming_both_values(
    dataset: Path, small_corpus: Path, small_config: PreprocessConfig
) -> None:
    before = contents(dataset)
    other = replace(small_config, decode=DecodeConfig(fps_hz=8, size_px=64))
    with pytest.raises(UserError, match=r"decode\.fps_hz 6\.0 -> 8;.*--overwrite"):
        preprocess([str(small_corpus)], dataset, other, workers=1)
    assert contents(dataset) == before


def test_other_sources_are_refused(
    dataset: Path, small_corpus: Path, small_config: PreprocessConfig, tmp_path: Path
) -> None:
    other = Path(shutil.copytree(small_corpus, tmp_path / "moved"))
    assert preprocess([str(other)], dataset, small_config, workers=1) is not None  # only moved
    (other / "e.mp4").unlink()
    shutil.copy(other / "f.mp4", other / "g.mp4")
    shutil.copy(other / "f.mp4", other / "_b.mp4")
    before = contents(dataset)
    with pytest.raises(UserError, match="added 1, removed 1, changed 1;"):
        preprocess([str(other)], dataset, small_config, workers=1)
    assert contents(dataset) == before


def test_overwrite_starts_again(
    dataset: Path, small_corpus: Path, small_config: PreprocessConfig
) -> None:
    other = replace(small_config, decode=DecodeConfig(fps_hz=8, size_px=64))
    sources = [str(small_corpus)]
    assert not preprocess(sources, dataset, other, workers=1, stage="manifest", overwrite=True)
    assert sorted(p.name for p in dataset.iterdir()) == ["manifest.parquet", "summary.json"]
    summary = json.loads((dataset / "summary.json").read_text())
    assert (summary["state"], summary["config"]["decode.fps_hz"]) == ("incomplete", 8)


def test_a_run_killed_before_its_first_summary_goes_on(
    small_dataset: Path, small_corpus: Path, small_config: PreprocessConfig, tmp_path: Path
) -> None:
    for name in ("manifest.parquet", ".manifest.parquet.9.partial", ".summary.json.9.partial"):
        shutil.copy(small_dataset / "manifest.parquet", tmp_path / name)
    assert not preprocess([str(small_corpus)], tmp_path, small_config, workers=1, stage="manifest")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["manifest.parquet", "summary.json"]


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_folder_of_other_things_is_refused(
    small_corpus: Path, small_config: PreprocessConfig, tmp_path: Path, overwrite: bool
) -> None:
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(UserError, match="is not empty and holds no dataset"):
        preprocess([str(small_corpus)], tmp_path, small_config, workers=1, overwrite=overwrite)
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.txt"]
    for out in (tmp_path / "thesis.txt", tmp_path / "thesis.txt" / "sub"):
        with pytest.raises(UserError, match=r"thesis\.txt: is not a folder"):
            preprocess([str(small_corpus)], out, small_config, workers=1)


@pytest.mark.parametrize("text", ["{", "[]", "{}"])
def test_a_damaged_summary_is_named(
    dataset: Path, small_corpus: Path, small_config: PreprocessConfig, text: str
) -> None:
    (dataset / "summary.json").write_text(text)
    with pytest.raises(UserError, match=r"summary\.json: not "):
        preprocess([str(small_corpus)], dataset, small_config, workers=1)


def test_bad_sources_leave_no_folder(small_config: PreprocessConfig, tmp_path: Path) -> None:
    for sources in ([str(tmp_path / "nowhere")], []):
        with pytest.raises(UserError, match="no such"):
            preprocess(sources, tmp_path / "out", small_config, workers=1)
    assert not (tmp_path / "out").exists()


def test_failed_videos_are_tried_again_when_asked(
    ray_session: None,
    small_corpus: Path,
    small_config: PreprocessConfig,
    small_dataset: Path,
    tmp_path: Path,
) -> None:
    """A disk that was away for a while."""
    corpus, out = Path(shutil.copytree(small_corpus, tmp_path / "videos")), tmp_path / "dataset"
    preprocess([str(corpus)], out, small_config, workers=2, stage="codebook")
    (corpus / "e.mp4").rename(tmp_path / "away.mp4")
    first = preprocess([], out, small_config, workers=2)
    assert first is not None
    assert first.errors["missing"] == 1
    (tmp_path / "away.mp4").rename(corpus / "e.mp4")
    same = preprocess([str(corpus)], out, small_config, workers=2)
    assert same is not None
    assert (same.shards_made, same.errors) == (0, first.errors)
    again = preprocess([str(corpus)], out, small_config, workers=2, retry_errors=True)
    assert again is not None
    # Three shards of three videos; the bad ones lie in all but one or none.
    assert 1 <= again.shards_made <= 3
    assert "missing" not in again.errors
    names = sorted(path.name for path in (out / "clips").glob("*.parquet"))
    assert [(out / "clips" / name).read_bytes() for name in names] == [
        (small_dataset / "clips" / name).read_bytes() for name in names
    ]


def test_shards_that_share_a_task_are_those_made_alone(
    small_config: PreprocessConfig, tmp_path: Path
) -> None:
    """One worker makes two shards of so many at a time, two workers make each alone."""
    (tmp_path / "videos").mkdir()
    for index in range(140):
        (tmp_path / "videos" / f"{index:03d}.mp4").write_bytes(b"not opened")
    config = replace(
        small_config,
        decode=DecodeConfig(decoder="dummy", size_px=64),
        shards=replace(small_config.shards, videos_per_shard=1),
    )
    for workers in (1, 2):
        out = tmp_path / str(workers)
        summary = preprocess([str(tmp_path / "videos")], out, config, workers=workers)
        assert summary is not None
        assert (summary.shards_made, summary.clips, summary.videos_failed) == (140, 140, 0)
    assert contents(tmp_path / "1") == contents(tmp_path / "2")
