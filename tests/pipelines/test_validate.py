"""Each promise about a dataset, broken on purpose, is reported."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from model.errors import UserError
from pipelines.storage import fingerprint
from pipelines.validate import validate_dataset

FIRST = "clips/shard-00000.parquet"


@pytest.fixture
def dataset(small_dataset: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(small_dataset, tmp_path / "dataset"))


def edit_json(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def edit_rows(dataset: Path, change: Callable[[list[dict[str, Any]]], None]) -> None:
    """Rewrite the first shard with changed rows, and its marker to fit."""
    shard = dataset / FIRST
    table = pq.read_table(shard)
    rows = table.to_pylist()
    change(rows)
    rewrite(shard, pa.Table.from_pylist(rows, schema=table.schema))


def rewrite(shard: Path, table: pa.Table) -> None:
    pq.write_table(table, shard)
    size = shard.stat().st_size
    edit_json(shard.with_suffix(".json"), rows=table.num_rows, bytes=size)


def drop_marker(dataset: Path) -> None:
    (dataset / FIRST).with_suffix(".json").unlink()


def truncate(dataset: Path) -> None:
    (dataset / FIRST).write_bytes((dataset / FIRST).read_bytes()[:-200])


def two_codes_in_a_cell(dataset: Path) -> None:
    def change(rows: list[dict[str, Any]]) -> None:
        target = bytearray(rows[1]["target"])
        target[10] ^= 0b00010000
        rows[1]["target"] = bytes(target)

    edit_rows(dataset, change)


def targets_of_another_clip(dataset: Path) -> None:
    def change(rows: list[dict[str, Any]]) -> None:
        for row in rows:
            planes = np.frombuffer(row["target"], np.uint8).reshape(4, 16, -1)
            row["target"] = np.roll(planes, 5, axis=1).tobytes()

    edit_rows(dataset, change)


def times_that_stand_still(dataset: Path) -> None:
    edit_rows(dataset, lambda rows: rows[0].update(timestamps_s=[0.0, 0.2, 0.2, 0.4]))


def a_frame_too_few(dataset: Path) -> None:
    edit_rows(dataset, lambda rows: rows[0].update(frames=rows[0]["frames"][:3]))


def a_frame_that_is_no_jpeg(dataset: Path) -> None:
    edit_rows(dataset, lambda rows: rows[0]["frames"].__setitem__(2, b"no JPEG"))


def a_clip_less(dataset: Path) -> None:
    shard = dataset / FIRST
    pq.write_table(pq.read_table(shard).slice(1), shard)
    edit_json(shard.with_suffix(".json"), bytes=shard.stat().st_size)


def without_targets(dataset: Path) -> None:
    rewrite(dataset / FIRST, pq.read_table(dataset / FIRST).drop_columns(["target"]))


def targets_of_another_size(dataset: Path) -> None:
    table = pq.read_table(dataset / FIRST)
    half = pa.array([row[:256] for row in table["target"].to_pylist()], pa.binary(256))
    at = table.schema.get_field_index("target")
    rewrite(dataset / FIRST, table.set_column(at, pa.field("target", half.type, False), half))


def not_a_shard(dataset: Path) -> None:
    rewrite(dataset / FIRST, pa.table({"a": [1]}))


def another_codebook(dataset: Path) -> None:
    path = dataset / "codebook.json"
    record = json.loads(path.read_text())
    record["centroids"][0][0] -= 0.25
    centroids = [tuple(row) for row in record["centroids"]]
    digest = fingerprint({"space": record["space"], "centroids": centroids})
    edit_json(path, centroids=centroids, fingerprint=digest)


def edited_codebook(dataset: Path) -> None:
    path = dataset / "codebook.json"
    edit_json(path, centroids=[[a + 1, b] for a, b in json.loads(path.read_text())["centroids"]])


def an_error_less(dataset: Path) -> None:
    path = dataset / "errors.parquet"
    pq.write_table(pq.read_table(path).slice(1), path)


def an_error_twice(dataset: Path) -> None:
    path = dataset / "errors.parquet"
    table = pq.read_table(path)
    pq.write_table(pa.concat_tables([table, table.slice(0, 1)]), path)


def an_error_of_a_good_video(dataset: Path) -> None:
    path = dataset / "errors.parquet"
    rows = pq.read_table(path).to_pylist()
    rows[0]["video_id"] = "e"
    pq.write_table(pa.Table.from_pylist(rows, schema=pq.read_schema(path)), path)


def an_error_of_an_unknown_video(dataset: Path) -> None:
    path = dataset / "errors.parquet"
    rows = pq.read_table(path).to_pylist()
    rows += [rows[0] | {"video_id": "nobody"}]
    pq.write_table(pa.Table.from_pylist(rows, schema=pq.read_schema(path)), path)


def a_shard_twice(dataset: Path) -> None:
    for suffix in (".parquet", ".json"):
        source = (dataset / FIRST).with_suffix(suffix)
        shutil.copy(source, source.with_name(f"shard-00009{suffix}"))


def a_video_less_in_the_manifest(dataset: Path) -> None:
    path = dataset / "manifest.parquet"
    pq.write_table(pq.read_table(path).slice(1), path)


def a_split_of_its_own(dataset: Path) -> None:
    path = dataset / "manifest.parquet"
    rows = pq.read_table(path).to_pylist()
    rows[0]["split"] = "holdout"
    pq.write_table(pa.Table.from_pylist(rows, schema=pq.read_schema(path)), path)


def summary(**changes: Any) -> Callable[[Path], None]:
    return lambda dataset: edit_json(dataset / "summary.json", **changes)


def removed(name: str) -> Callable[[Path], None]:
    return lambda dataset: (dataset / name).unlink()


def stray(name: str) -> Callable[[Path], None]:
    return lambda dataset: (dataset / name).write_text("stray")


@pytest.mark.parametrize(
    ("harm", "finding"),
    [
        (drop_marker, "shard-00000.parquet: no valid commit marker"),
        (truncate, "shard-00000.parquet: unreadable"),
        (two_codes_in_a_cell, "target is not one-hot"),
        (targets_of_another_clip, "targets agree with the frames in only"),
        (times_that_stand_still, "timestamps do not increase"),
        (a_frame_too_few, "not 4 frames"),
        (a_frame_that_is_no_jpeg, "a frame is not a 64x64 JPEG"),
        (a_clip_less, "its marker says"),
        (without_targets, "its schema is not the promised one"),
        (targets_of_another_size, "its schema is not the promised one"),
        (not_a_shard, "not a shard of clips"),
        (another_codebook, "made with another codebook"),
        (edited_codebook, "codebook.json: fingerprint"),
        (an_error_less, "video corrupt: neither clips nor an error"),
        (an_error_twice, "errors.parquet: corrupt is there twice"),
        (an_error_of_a_good_video, "errors.parquet: e has clips as well"),
        (an_error_of_an_unknown_video, "nobody is not in the manifest"),
        (a_shard_twice, "is there 2 times"),
        (a_video_less_in_the_manifest, "video -a: not in the manifest"),
        (a_split_of_its_own, "split of -a is 'holdout'"),
        (summary(clips=20), "summary.json: clips is 20, found 21"),
        (summary(frames=1), "summary.json: frames is 1, found 84"),
        (summary(bytes=1), "summary.json: bytes is 1, found"),
        (summary(videos=8), "summary.json: videos is 8, found 9"),
        (summary(videos_failed=0), "summary.json: videos_failed is 0, found 3"),
        (summary(errors={}), "summary.json: errors is {}, found"),
        (summary(shards=4), "summary.json: shards is 4, found 3"),
        (summary(state="incomplete"), "summary.json: state is 'incomplete'"),
        (removed("summary.json"), "summary.json: no such file"),
        (removed("manifest.parquet"), "manifest.parquet: no such manifest"),
        (removed("codebook.json"), "codebook.json: no such file"),
        (removed("errors.parquet"), "errors.parquet: unreadable"),
        (removed(FIRST), "clips/shard-00000.json: a marker without its shard"),
        (stray("notes.txt"), "notes.txt: does not belong to a dataset"),
        (stray("clips/notes.parquet"), "clips/notes.parquet: does not belong to a dataset"),
        (stray("clips/.shard-00000.parquet.7.partial"), "does not belong to a dataset"),
        (stray("summary.json"), "summary.json: not JSON"),
        (lambda dataset: (dataset / "summary.json").write_text("[]"), "not a JSON object"),
    ],
)
def test_a_broken_promise_is_reported(
    dataset: Path, harm: Callable[[Path], None], finding: str
) -> None:
    harm(dataset)
    problems = validate_dataset(dataset).problems
    assert any(finding in problem for problem in problems), problems


def test_a_sound_dataset_has_no_problems(dataset: Path) -> None:
    seen: list[tuple[str, int, int]] = []
    report = validate_dataset(
        dataset, lambda stage, done, all_, _: seen.append((stage, done, all_))
    )
    assert report.problems == []
    assert (report.videos, report.clips, report.shards, report.failed) == (9, 21, 3, 3)
    assert seen == [("validate", 1, 3), ("validate", 2, 3), ("validate", 3, 3)]


def test_what_is_no_dataset(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="nowhere: no such dataset"):
        validate_dataset(tmp_path / "nowhere")
    assert len(validate_dataset(tmp_path).problems) >= 4
