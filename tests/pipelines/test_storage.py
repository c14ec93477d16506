import hashlib
import io
import random
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from model.errors import UserError
from pipelines.storage import (
    edge_digest,
    fingerprint,
    inside,
    read_json,
    write_atomically,
    write_bytes,
    write_json,
    write_table,
)


def test_writes_folders_and_replaces(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "_x.json"
    write_bytes(path, b"old")
    write_bytes(path, b"new")
    assert path.read_bytes() == b"new"
    assert list(path.parent.iterdir()) == [path]


def test_a_failed_rename_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "x.json"
    write_bytes(path, b"old")

    def refuse(self: Path, target: Path) -> None:
        assert self.name.startswith(".")
        assert self.read_bytes() == b"new"
        raise OSError("no rename")

    monkeypatch.setattr(type(path), "replace", refuse)
    with pytest.raises(OSError, match="no rename"):
        write_bytes(path, b"new")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_writer_that_fails_leaves_nothing(tmp_path: Path) -> None:
    def half(temporary: Path) -> None:
        temporary.write_bytes(b"half")
        raise RuntimeError("the source broke")

    with pytest.raises(RuntimeError, match="the source broke"):
        write_atomically(tmp_path / "x.bin", half)
    assert list(tmp_path.iterdir()) == []


def test_json_and_tables_come_back(tmp_path: Path) -> None:
    value = {"a": [1, 2.5, None], "č": "日本"}
    write_json(tmp_path / "x.json", value)
    assert read_json(tmp_path / "x.json") == value
    assert "日本" in (tmp_path / "x.json").read_text(encoding="utf-8")
    with pytest.raises(ValueError, match="JSON compliant"):
        write_json(tmp_path / "x.json", {"a": float("nan")})
    assert read_json(tmp_path / "x.json") == value
    table = pa.table({"a": [1, 2]})
    write_table(tmp_path / "x.parquet", table)
    assert pq.read_table(tmp_path / "x.parquet").equals(table)


def test_json_that_is_missing_or_damaged_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"x\.json: no such file"):
        read_json(tmp_path / "x.json")
    for content in (b"{", b"\xff\xfe", b""):
        (tmp_path / "x.json").write_bytes(content)
        with pytest.raises(UserError, match=r"x\.json: not JSON"):
            read_json(tmp_path / "x.json")


def test_fingerprints_depend_on_the_value_alone() -> None:
    assert fingerprint({"a": 1, "b": [1.5]}) == fingerprint({"b": [1.5], "a": 1})
    assert fingerprint({"a": 1}) != fingerprint({"a": 2})
    assert len(fingerprint(None)) == 16


def test_names_stay_inside_the_folder(tmp_path: Path) -> None:
    assert inside(tmp_path, "a/b c/-d.png") == tmp_path / "a" / "b c" / "-d.png"
    for name in ("../a", "a/../../b", "/etc/passwd", "", "..", "a\0b"):
        with pytest.raises(UserError, match="would leave"):
            inside(tmp_path, name)


@pytest.mark.parametrize("size", [0, 1, 65_535, 65_536, 100_000, 131_072, 131_073, 500_000])
def test_the_digest_of_a_files_edges(size: int) -> None:
    data = random.Random(size).randbytes(size)
    edge = 1 << 16
    expected = hashlib.blake2b(data[:edge] + data[-edge:] + str(size).encode(), digest_size=12)
    assert edge_digest(io.BytesIO(data), size) == expected.hexdigest()
