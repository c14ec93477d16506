"""What is found in a dataset, against what was put into it."""

import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from model.errors import UserError
from pipelines.codebook import load_codebook
from pipelines.inspection import InspectConfig, inspect_dataset
from pipelines.preprocess import preprocess
from pipelines.validate import validate_dataset

CLIPS_OF = {"-a": 2, "_b": 3, "c d": 3, "sub/č": 4, "e": 4, "f": 5}


@pytest.fixture
def dataset(small_dataset: Path, tmp_path: Path) -> Path:
    """A copy that may be changed."""
    return Path(shutil.copytree(small_dataset, tmp_path / "dataset"))


def edit_summary(dataset: Path, **changes: object) -> None:
    path = dataset / "summary.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_everything_is_counted(small_dataset: Path) -> None:
    found = inspect_dataset(small_dataset, InspectConfig())
    summary = json.loads((small_dataset / "summary.json").read_text())
    assert found.complete
    assert found.totals == {k: summary[k] for k in ("videos", "shards", "clips", "frames", "bytes")}
    assert dict(found.sample.clips_of) == CLIPS_OF
    assert (found.sample.shards, found.sample.available, found.sample.clips) == (3, 3, 21)
    assert found.errors == {"unreadable": 1, "empty": 1, "too_short": 1}
    assert [row.video_id for row in found.error_rows] == ["corrupt", "empty", "short"]
    assert found.codebook == load_codebook(small_dataset / "codebook.json")
    assert found.config["decode.size_px"] == 64
    assert "ray" in found.versions

    table = pq.read_table(sorted((small_dataset / "clips").glob("*.parquet")))
    shape = [int(n) for n in table.schema.metadata[b"huetrack.target_shape"].split(b",")]
    packed = np.frombuffer(b"".join(table["target"].to_pylist()), np.uint8)
    one_hot = np.unpackbits(packed.reshape(len(table), -1), axis=1).reshape(-1, *shape)
    assert found.sample.code_counts_K is not None
    assert found.sample.code_counts_K.tolist() == one_hot.sum(axis=(0, 1, 3, 4)).tolist()
    last_s: dict[str, float] = {}
    for row in table.select(["video_id", "timestamps_s"]).to_pylist():
        last_s[row["video_id"]] = max(last_s.get(row["video_id"], 0), *row["timestamps_s"])
    assert found.sample.durations_s == last_s

    assert found.sources.tried == 6
    assert found.sources.rates_hz == pytest.approx([12.0] * 6)


def test_shown_clips_are_those_of_the_shards(small_dataset: Path) -> None:
    shown = inspect_dataset(small_dataset, InspectConfig(clips=9)).sample.shown
    rows = pq.read_table(sorted((small_dataset / "clips").glob("*.parquet"))).to_pylist()
    stored = {row["clip_id"]: row for row in rows}
    assert len({clip.clip_id for clip in shown}) == 9
    # Nine clips of six videos in three shards: every video is there.
    assert {clip.video_id for clip in shown} == CLIPS_OF.keys()
    centroids = load_codebook(small_dataset / "codebook.json").centroids_K2
    for clip in shown:
        row = stored[clip.clip_id]
        assert (clip.video_id, list(clip.frames)) == (row["video_id"], row["frames"])
        assert list(clip.timestamps_s) == row["timestamps_s"]
        assert clip.codes_Thw.shape == (4, 8, 8)
        # Codes are the nearest to the colours of the stored frames, but for what JPEG changes.
        image = cv2.imdecode(np.frombuffer(clip.frames[0], np.uint8), cv2.IMREAD_COLOR)
        lab = cv2.cvtColor(image.astype(np.float32) / 255, cv2.COLOR_BGR2LAB)
        ab = cv2.resize(lab, (8, 8), interpolation=cv2.INTER_AREA)[..., 1:]
        nearest = ((ab[:, :, None] - centroids) ** 2).sum(axis=-1).argmin(axis=-1)
        assert (nearest == clip.codes_Thw[0]).mean() > 0.75
    again = inspect_dataset(small_dataset, InspectConfig(clips=9)).sample.shown
    assert [c.clip_id for c in again] == [c.clip_id for c in shown]
    other = inspect_dataset(small_dataset, InspectConfig(clips=9, seed=1)).sample.shown
    assert [c.clip_id for c in other] != [c.clip_id for c in shown]


def test_a_large_dataset_is_sampled(small_dataset: Path) -> None:
    found = inspect_dataset(small_dataset, InspectConfig(shards=1, clips=2, sources=1))
    assert (found.sample.shards, found.sample.available) == (1, 3)
    assert 0 < found.sample.clips < 21
    assert len(found.sample.shown) == 2
    assert found.sources.tried == 1
    assert found.totals["clips"] == 21


def test_an_unfinished_dataset_is_told_by_its_markers(dataset: Path) -> None:
    edit_summary(dataset, state="incomplete", clips=0, frames=0, bytes=0, shards=0)
    (dataset / "errors.parquet").unlink()
    (dataset / "clips" / "shard-00002.json").unlink()
    found = inspect_dataset(dataset, InspectConfig())
    markers = [json.loads(p.read_text()) for p in sorted((dataset / "clips").glob("*.json"))]
    assert not found.complete
    assert found.totals == {
        "videos": 9,
        "shards": 2,
        "clips": sum(m["rows"] for m in markers),
        "frames": sum(m["frames"] for m in markers),
        "bytes": sum(m["bytes"] for m in markers),
    }
    expected = {row["video_id"] for m in markers for row in m["error_rows"]}
    assert {row.video_id for row in found.error_rows} == expected
    assert found.sample.clips == found.totals["clips"]


@pytest.mark.usefixtures("ray_session")
def test_a_manifest_alone_is_enough(small_corpus: Path, small_config, tmp_path: Path) -> None:
    out = tmp_path / "dataset"
    preprocess([str(small_corpus)], out, small_config, workers=1, stage="manifest")
    found = inspect_dataset(out, InspectConfig())
    assert (found.totals["videos"], found.totals["clips"]) == (9, 0)
    assert found.codebook is None
    assert found.sample.shown == []
    assert found.sources.tried == 0


def test_sources_that_are_gone_are_not_readable(dataset: Path, tmp_path: Path) -> None:
    path = dataset / "manifest.parquet"
    table = pq.read_table(path)
    uris = table["uri"].to_pylist()
    uris[table["video_id"].to_pylist().index("e")] = str(tmp_path / "gone.mp4")
    uris[table["video_id"].to_pylist().index("f")] = "s3://bucket/f.mp4"
    column = table.schema.get_field_index("uri")
    pq.write_table(table.set_column(column, "uri", pa.array(uris, pa.string())), path)
    sources = inspect_dataset(dataset, InspectConfig()).sources
    assert sources.tried == 6
    assert sources.rates_hz == pytest.approx([12.0] * 4)


def test_at_most_200_errors_are_listed(dataset: Path) -> None:
    path = dataset / "errors.parquet"
    table = pq.read_table(path)
    pq.write_table(pa.concat_tables([table] * 100), path)
    found = inspect_dataset(dataset, InspectConfig())
    assert len(found.error_rows) == 200
    assert sum(found.errors.values()) == 300


def test_what_is_no_dataset_is_refused(dataset: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such dataset"):
        inspect_dataset(tmp_path / "nowhere", InspectConfig())
    with pytest.raises(UserError, match=r"summary.json: no such file"):
        inspect_dataset(tmp_path, InspectConfig())
    with pytest.raises(UserError, match="shards must be at least 1"):
        InspectConfig(shards=0)
    shard = dataset / "clips" / "shard-00000.parquet"
    shard.write_bytes(b"x" * shard.stat().st_size)
    with pytest.raises(UserError, match=r"shard-00000.parquet: not a shard"):
        inspect_dataset(dataset, InspectConfig())
    (dataset / "errors.parquet").write_bytes(b"x")
    with pytest.raises(UserError, match=r"errors.parquet: not a list"):
        inspect_dataset(dataset, InspectConfig())
    (dataset / "summary.json").write_text("[]")
    with pytest.raises(UserError, match=r"summary.json: not the summary"):
        inspect_dataset(dataset, InspectConfig())


@pytest.mark.usefixtures("ray_session")
def test_the_page_in_the_dataset_disturbs_nothing(
    dataset: Path, small_corpus: Path, small_config
) -> None:
    page = dataset / "report" / "inspect.html"
    page.parent.mkdir()
    page.write_text("a page")
    assert validate_dataset(dataset).problems == []
    summary = preprocess([str(small_corpus)], dataset, small_config, workers=1)
    assert summary is not None
    assert summary.shards_made == 0
    assert page.exists()
    preprocess(
        [str(small_corpus)], dataset, small_config, workers=1, overwrite=True, stage="manifest"
    )
    assert not page.parent.exists()
