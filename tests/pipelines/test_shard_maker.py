"""The stage that makes shards, called directly: no Ray."""

import io
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from model.errors import UserError
from pipelines.codebook import Codebook
from pipelines.corpus import CorpusConfig, build_corpus
from pipelines.decode import Chunk, DecodeConfig, DecodeError, Decoder
from pipelines.manifest import Video, save_manifest
from pipelines.shard_maker import ShardConfig, ShardMaker, ShardPlan, plan_shards
from pipelines.shards import ClipFormat, Marker, marker_from_json, read_marker, unpack_targets
from pipelines.targets import colour_codes
from tests.conftest import MakeVideo


def make(
    videos: list[Video],
    codebook: Codebook,
    folder: Path,
    decode: DecodeConfig = DecodeConfig(size_px=64),  # noqa: B008  # frozen
) -> tuple[list[dict[str, Any]], Marker]:
    """Rows and marker of the one shard of these videos."""
    manifest = folder.with_suffix(".manifest")
    save_manifest(videos, manifest)
    maker = ShardMaker(decode, ShardConfig(), codebook, manifest, folder, "fingerprint")
    row = {"plans": [asdict(ShardPlan(0, 0, len(videos), None))]}
    (done,) = maker(row)
    assert done["failed"] == ""
    assert sorted(p.name for p in folder.iterdir()) == ["shard-00000.json", "shard-00000.parquet"]
    marker = read_marker(folder / "shard-00000.parquet")
    assert marker is not None and marker == marker_from_json(done["marker"])
    rows = pq.read_table(folder / "shard-00000.parquet").to_pylist()
    assert marker.rows == len(rows)
    assert marker.frames == 4 * len(rows)
    assert marker.videos == len(videos)
    assert marker.fingerprint == "fingerprint"
    return rows, marker


def listed(folder: Path) -> list[Video]:
    return build_corpus([str(folder)], CorpusConfig()).videos


def test_a_shard_of_one_video(tmp_path: Path, make_video: MakeVideo, codebook: Codebook) -> None:
    make_video(tmp_path / "videos" / "_-x.mp4", frames=33)  # 17 sampled frames: the last is left
    config = DecodeConfig()
    rows, marker = make(listed(tmp_path / "videos"), codebook, tmp_path / "clips", config)
    assert [row["clip_id"] for row in rows] == [f"_-x/{i:05d}" for i in range(4)]
    assert {row["video_id"] for row in rows} == {"_-x"}
    times_s = np.array([row["timestamps_s"] for row in rows])
    assert times_s == pytest.approx(np.arange(16).reshape(4, 4) / 6, abs=1e-3)
    assert marker.errors == {}
    assert marker.error_rows == []
    assert marker.peak_rss_mb > 20
    stored = unpack_targets([row["target"] for row in rows], ClipFormat())
    assert (stored.sum(axis=2) == 1).all()
    agreement = []
    for row, target in zip(rows, stored, strict=True):
        for jpeg, planes in zip(row["frames"], target, strict=True):
            image = Image.open(io.BytesIO(jpeg))
            assert (image.format, image.mode, image.size) == ("JPEG", "RGB", (256, 256))
            codes = colour_codes(np.array(image), codebook.centroids_K2)
            agreement.append((codes == planes.argmax(axis=0)).mean())
    assert np.mean(agreement) > 0.9  # red and blue swapped would give far less


def test_a_bad_video_leaves_the_others_as_they_are(
    tmp_path: Path, make_video: MakeVideo, codebook: Codebook
) -> None:
    good, mixed = tmp_path / "good", tmp_path / "mixed"
    for folder in (good, mixed):
        make_video(folder / "a.mp4", frames=20, seed=1)
        make_video(folder / "z.mp4", frames=20, seed=2)
    (mixed / "corrupt.mp4").write_bytes(b"no video" * 50)
    (mixed / "empty.mp4").touch()
    make_video(mixed / "short.mp4", frames=6)
    videos = [*listed(mixed), Video("gone", str(mixed / "gone.mp4"), 0, "", None, "train")]
    expected, _ = make(listed(good), codebook, tmp_path / "one")
    again, _ = make(listed(good), codebook, tmp_path / "two")
    rows, marker = make(videos, codebook, tmp_path / "three")
    assert rows == again == expected
    shards = [tmp_path / name / "shard-00000.parquet" for name in ("one", "two", "three")]
    assert len({shard.read_bytes() for shard in shards}) == 1
    kinds = {error.video_id: error.kind for error in marker.error_rows}
    assert kinds == {
        "corrupt": "unreadable", "empty": "empty", "gone": "missing", "short": "too_short",
    }  # fmt: skip
    assert marker.errors == {"empty": 1, "missing": 1, "too_short": 1, "unreadable": 1}
    short = next(error for error in marker.error_rows if error.kind == "too_short")
    assert short.message == "3 sampled frames, a clip needs 4"
    assert short.uri == str((mixed / "short.mp4").resolve())


def test_a_task_that_begins_anew_makes_no_shard_twice(
    codebook: Codebook, tmp_path: Path, make_video: MakeVideo
) -> None:
    """Its worker died after the first shard; of another configuration it would be made again."""
    for seed in range(2):
        make_video(tmp_path / "videos" / f"{seed}.mp4", seed=seed)
    manifest, clips = tmp_path / "manifest.parquet", tmp_path / "clips"
    save_manifest(listed(tmp_path / "videos"), manifest)
    plans = [asdict(ShardPlan(i, i, i + 1, None)) for i in range(2)]

    def run(plans: list[dict[str, Any]], fingerprint: str) -> list[dict[str, Any]]:
        where = (manifest, clips, fingerprint)
        return list(
            ShardMaker(DecodeConfig(size_px=64), ShardConfig(), codebook, *where)({"plans": plans})
        )

    (first,) = run(plans[:1], "f")
    file = (clips / "shard-00000.parquet").stat()
    both = run(plans, "f")
    assert both[0] == first and marker_from_json(both[1]["marker"]).shard == "shard-00001.parquet"
    assert (clips / "shard-00000.parquet").stat().st_ino == file.st_ino
    run(plans[:1], "another")
    assert (clips / "shard-00000.parquet").stat().st_ino != file.st_ino


def test_a_shard_of_failures_alone_is_empty_and_committed(
    tmp_path: Path, codebook: Codebook
) -> None:
    videos = [Video(n, str(tmp_path / n), 0, "", None, "train") for n in ("a", "b")]
    rows, marker = make(videos, codebook, tmp_path / "clips")
    assert rows == []
    assert marker.errors == {"missing": 2}


def test_a_video_that_fails_late_leaves_no_clip(
    tmp_path: Path, make_video: MakeVideo, codebook: Codebook, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its first clips are on disk already when it fails."""
    monkeypatch.setattr("pipelines.shards.ROW_GROUP_CLIPS", 2)
    good, mixed = tmp_path / "good", tmp_path / "mixed"
    for folder in (good, mixed):
        make_video(folder / "a.mp4", frames=20, seed=1)
        make_video(folder / "z.mp4", frames=20, seed=2)
    cut = make_video(mixed / "cut.mp4", frames=300, fps_hz=25, size_hw=(96, 128))
    cut.write_bytes(cut.read_bytes()[: cut.stat().st_size * 6 // 10])
    decode = DecodeConfig(fps_hz=25, size_px=64)
    expected, _ = make(listed(good), codebook, tmp_path / "one", decode)
    rows, marker = make(listed(mixed), codebook, tmp_path / "two", decode)
    assert {row["video_id"] for row in rows} == {"a", "z"}
    assert rows == expected
    (error,) = marker.error_rows
    assert (error.video_id, error.kind) == ("cut", "truncated")
    one, two = (tmp_path / name / "shard-00000.parquet" for name in ("one", "two"))
    assert one.read_bytes() == two.read_bytes()


def test_a_bug_costs_one_video(
    tmp_path: Path, make_video: MakeVideo, codebook: Codebook, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_video(tmp_path / "videos" / "a.mp4", frames=8, seed=1)
    make_video(tmp_path / "videos" / "b.mp4", frames=8, seed=2)
    calls = 0

    def fail_once(*arguments: Any) -> np.ndarray:
        nonlocal calls
        calls += 1
        if calls == 2:
            raise RuntimeError("a bug")
        return colour_codes(*arguments)

    monkeypatch.setattr("pipelines.shard_maker.colour_codes", fail_once)
    rows, marker = make(listed(tmp_path / "videos"), codebook, tmp_path / "clips")
    assert [row["clip_id"] for row in rows] == ["b/00000"]
    assert marker.error_rows[0].kind == "internal"
    assert marker.error_rows[0].message.startswith("RuntimeError: a bug (test_shard_maker.py:")


def test_a_marker_of_before_does_not_survive_a_failed_run(
    tmp_path: Path, make_video: MakeVideo, codebook: Codebook, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_video(tmp_path / "videos" / "a.mp4", frames=8)
    make(listed(tmp_path / "videos"), codebook, tmp_path / "clips")
    (tmp_path / "clips" / "shard-00000.json").unlink()

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pipelines.shards.ShardWriter.close", full)
    manifest, clips = tmp_path / "clips.manifest", tmp_path / "clips"
    maker = ShardMaker(DecodeConfig(size_px=64), ShardConfig(), codebook, manifest, clips, "f")
    (row,) = maker({"plans": [asdict(ShardPlan(0, 0, 1, None))]})
    shard = tmp_path / "clips" / "shard-00000.parquet"
    assert row["failed"] == f"{shard}: No space left on device"
    assert [path.name for path in (tmp_path / "clips").iterdir()] == ["shard-00000.parquet"]
    assert read_marker(tmp_path / "clips" / "shard-00000.parquet") is None


def test_plans_are_consecutive_videos() -> None:
    videos = [Video(str(i), f"/{i}", 1, "e", None, "train") for i in range(7)]
    plans = plan_shards(videos, 3)
    assert [plan.name for plan in plans] == [f"shard-0000{i}.parquet" for i in range(3)]
    assert [(plan.start, plan.stop) for plan in plans] == [(0, 3), (3, 6), (6, 7)]
    assert plan_shards([], 3) == []


def test_no_shard_takes_from_two_archives() -> None:
    uris = ["/0", *(f"tar://{i}::/{name}.tar" for name in "ab" for i in range(3))]
    videos = [Video(uri, uri, 1, "e", None, "train") for uri in uris]
    assert [(plan.start, plan.stop, plan.archive) for plan in plan_shards(videos, 2)] == [
        (0, 1, None), (1, 3, "/a.tar"), (3, 4, "/a.tar"), (4, 6, "/b.tar"), (6, 7, "/b.tar"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    "settings",
    [{"clip_frames": 1}, {"jpeg_quality": 0}, {"videos_per_shard": 0}, {"attempts": 0}],
)
def test_impossible_settings_are_refused(settings: dict[str, int]) -> None:
    with pytest.raises(UserError, match=next(iter(settings))):
        ShardConfig(**settings)


class _Killed(Decoder):
    """A decoder whose child is killed at the second chunk, so many times."""

    kills = 0

    def chunks(self, path: Path, max_frames: int | None = None) -> Iterator[Chunk]:
        for index, chunk in enumerate(super().chunks(path, max_frames)):
            if index == 1 and self.kills > 0:
                self.kills -= 1
                raise DecodeError("crashed", "the decoder died (exit status -9)")
            yield chunk


@pytest.mark.parametrize(("kills", "attempts"), [(1, None), (2, None), (3, 3), (9, 3)])
def test_what_may_pass_is_tried_again(
    tmp_path: Path,
    make_video: MakeVideo,
    codebook: Codebook,
    monkeypatch: pytest.MonkeyPatch,
    kills: int,
    attempts: int | None,
) -> None:
    videos = tmp_path / "videos"
    make_video(videos / "a.mp4", frames=40)
    make_video(videos / "b.mp4", frames=600, fps_hz=30)
    make_video(videos / "c.mp4", frames=40, seed=1)
    undisturbed, _ = make(listed(videos), codebook, tmp_path / "undisturbed")
    monkeypatch.setattr("pipelines.shard_maker.Decoder", _Killed)
    monkeypatch.setattr(_Killed, "kills", kills)
    rows, marker = make(listed(videos), codebook, tmp_path / "clips")
    if attempts is None:
        assert marker.error_rows == []
        same = [
            (tmp_path / f / "shard-00000.parquet").read_bytes() for f in ("undisturbed", "clips")
        ]
        assert same[0] == same[1]
    else:
        (error,) = marker.error_rows
        assert (error.video_id, error.kind, error.attempts) == ("b", "crashed", attempts)
        assert rows == [row for row in undisturbed if row["video_id"] != "b"]


def test_what_will_not_pass_is_tried_once(
    tmp_path: Path, make_video: MakeVideo, codebook: Codebook
) -> None:
    make_video(tmp_path / "videos" / "short.mp4", frames=2)
    (tmp_path / "videos" / "text.mp4").write_text("no video")
    _, marker = make(listed(tmp_path / "videos"), codebook, tmp_path / "clips")
    found = {(error.kind, error.attempts) for error in marker.error_rows}
    assert found == {("too_short", 1), ("unreadable", 1)}
