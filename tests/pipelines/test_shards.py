"""The Parquet contract: what plain readers see, and when a shard counts."""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from model.errors import UserError
from pipelines.shards import (
    Clip,
    ClipFormat,
    Marker,
    ShardWriter,
    VideoError,
    clip_schema,
    committed_shards,
    format_of,
    marker_path,
    read_marker,
    shard_name,
    unpack_targets,
    write_marker,
)
from pipelines.targets import pack_one_hot

FORMAT = ClipFormat(frames=4, size_px=64, clusters=16)


def codes_of(index: int) -> np.ndarray:
    return np.random.default_rng(index).integers(0, 16, (4, 8, 8)).astype(np.uint8)


def clip(index: int) -> Clip:
    times_s = [index + t / 6 for t in range(4)]
    jpegs = [f"jpeg {index} {t}".encode() for t in range(4)]
    return Clip(f"v/{index:05d}", "v", times_s, jpegs, pack_one_hot(codes_of(index), 16))


def write(path: Path, count: int) -> Path:
    writer = ShardWriter(path, clip_schema(FORMAT, "abc"))
    for index in range(count):
        writer.add(clip(index))
    writer.close()
    assert writer.rows == writer.total_rows == count
    return path


def marker(shard: Path, rows: int) -> Marker:
    errors = [VideoError("x", "/x.mp4", "empty", "the file is empty", 1)]
    size = shard.stat().st_size
    return Marker(shard.name, rows, size, rows * 4, 2, 1.5, {"empty": 1}, errors, "f", 100)


def test_a_shard_for_plain_readers(tmp_path: Path) -> None:
    path = write(tmp_path / shard_name(3), 70)
    assert path.name == "shard-00003.parquet"
    table = pq.read_table(path)
    assert table.schema.names == ["clip_id", "video_id", "timestamps_s", "frames", "target"]
    assert table.schema.field("timestamps_s").type == pa.list_(pa.float64())
    assert table.schema.field("frames").type == pa.list_(pa.binary())
    assert table.schema.field("target").type == pa.binary(4 * 16 * 8 * 8 // 8)
    assert table.schema.metadata[b"huetrack.target_shape"] == b"4,16,8,8"
    assert table.schema.metadata[b"huetrack.target_axes"] == b"frame,cluster,row,column"
    assert table.schema.metadata[b"huetrack.target_bit_order"] == b"big"
    assert table.schema.metadata[b"huetrack.codebook"] == b"abc"
    assert format_of(table.schema, path) == FORMAT
    row = table.to_pandas().iloc[69]
    assert row["clip_id"] == "v/00069"
    assert row["frames"][3] == b"jpeg 69 3"
    planes = np.unpackbits(np.frombuffer(row["target"], np.uint8), bitorder="big")
    assert (planes.reshape(4, 16, 8, 8).argmax(axis=1) == codes_of(69)).all()


def test_the_paper_format_takes_2048_bytes_a_frame() -> None:
    assert ClipFormat().target_shape == (4, 16, 32, 32)
    assert ClipFormat().target_bytes == 4 * 2048


def test_targets_unpack_from_bytes_and_arrays(tmp_path: Path) -> None:
    packed = [clip(index).target for index in range(3)]
    one_hot = unpack_targets(packed, FORMAT)
    assert one_hot.shape == (3, 4, 16, 8, 8)
    assert (one_hot.argmax(axis=2) == [codes_of(index) for index in range(3)]).all()
    as_array = np.array([np.frombuffer(row, np.uint8) for row in packed])
    assert (unpack_targets(as_array, FORMAT) == one_hot).all()


def test_waiting_rows_can_be_taken_back(tmp_path: Path) -> None:
    writer = ShardWriter(tmp_path / "x.parquet", clip_schema(FORMAT, "abc"))
    for index in range(66):
        writer.add(clip(index))
    assert (writer.flushed_rows, writer.total_rows) == (64, 66)
    writer.drop_waiting(65)
    writer.close()
    assert pq.read_table(tmp_path / "x.parquet")["clip_id"].to_pylist()[-1] == "v/00064"


def test_the_same_clips_give_the_same_bytes(tmp_path: Path) -> None:
    one, two = write(tmp_path / "one.parquet", 5), write(tmp_path / "two.parquet", 5)
    assert one.read_bytes() == two.read_bytes()


def test_a_shard_counts_only_with_a_marker_that_fits(tmp_path: Path) -> None:
    shard = tmp_path / "clips" / shard_name(0)
    shard.parent.mkdir()
    write(shard, 3)
    assert read_marker(shard) is None
    with pytest.raises(UserError, match="no finished shard"):
        committed_shards(tmp_path)
    write_marker(marker(shard, 3), shard)
    assert read_marker(shard) == marker(shard, 3)
    assert list(committed_shards(tmp_path)) == [shard]
    write(shard.with_name(shard_name(1)), 1)
    assert list(committed_shards(tmp_path)) == [shard]
    shard.write_bytes(shard.read_bytes()[:-1])
    assert read_marker(shard) is None
    shard.unlink()
    assert read_marker(shard) is None


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"rows": 1}', '"x"', "null"])
def test_a_damaged_marker_is_none(tmp_path: Path, text: str) -> None:
    shard = write(tmp_path / shard_name(0), 1)
    marker_path(shard).write_text(text)
    assert read_marker(shard) is None


def test_a_marker_with_unknown_fields_is_none(tmp_path: Path) -> None:
    shard = write(tmp_path / shard_name(0), 1)
    write_marker(marker(shard, 1), shard)
    record = json.loads(marker_path(shard).read_text())
    assert record["error_rows"][0]["kind"] == "empty"
    marker_path(shard).write_text(json.dumps(record | {"surplus": 1}))
    assert read_marker(shard) is None


def test_other_parquet_files_are_not_shards(tmp_path: Path) -> None:
    for metadata in ({}, {"huetrack.target_shape": "4,16"}, {"huetrack.target_shape": "a,b,c,d"}):
        schema = pa.schema([("a", pa.int32())], metadata=metadata)
        with pytest.raises(UserError, match=r"x\.parquet: not a shard"):
            format_of(schema, Path("x.parquet"))
