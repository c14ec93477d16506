"""Paths of objects behave as those of files."""

import copy
from pathlib import Path

import pytest

from model.errors import UserError
from pipelines.s3_path import S3Path
from pipelines.storage import (
    inside,
    local_file,
    location,
    read_json,
    remove_folder,
    upload_folder,
    write_atomically,
    write_bytes,
    write_json,
)
from tests.s3_faults import FaultyProxy


def test_names_are_those_of_pathlib() -> None:
    path, pure = S3Path.parse("s3://some-bucket/a b/-č.tar.gz/"), Path("/a b/-č.tar.gz")
    assert str(path) == "s3://some-bucket/a b/-č.tar.gz"
    assert (path.name, path.stem, path.suffix) == (pure.name, pure.stem, pure.suffix)
    assert str(path.parent / "x") == "s3://some-bucket/a b/x"
    assert str(path.with_suffix(".json")) == "s3://some-bucket/a b/-č.tar.json"
    assert str(path.parent.parent) == "s3://some-bucket" == str(path.parent.parent.parent)
    assert path.relative_to(path.parent.parent).as_posix() == "a b/-č.tar.gz"
    assert copy.deepcopy(path) == path
    assert str(inside(path, "x/y")) == f"{path}/x/y"
    with pytest.raises(UserError, match="would leave"):
        inside(path, "../x")


@pytest.mark.parametrize(
    "uri", ["s3://", "s3:///key", "s3://a b/key", "s3://key:pass-word@bucket/x"]
)
def test_what_is_no_address_is_refused_without_repeating_a_password(uri: str) -> None:
    with pytest.raises(UserError, match="not an address s3://BUCKET/KEY") as raised:
        location(uri)
    assert "pass-word" not in str(raised.value)


def test_other_schemes_are_refused() -> None:
    assert location("a/b") == Path("a/b")
    with pytest.raises(UserError, match="gs://: not a place that is known"):
        location("gs://bucket/x")


def test_files_and_folders(bucket: S3Path, s3_proxy: FaultyProxy) -> None:
    folder = bucket / "folder"
    for name in ("a", "a.json", "a/x", "a-b", "b/y/z"):
        write_bytes(folder / name, name.encode())
    write_bytes(S3Path(bucket.bucket, "folder/web console/"), b"")
    s3_proxy.forget()
    entries = {path.name: path for path in folder.iterdir()}
    assert len(s3_proxy.requests) == 1
    assert sorted(name for name, path in entries.items() if path.is_file()) == [
        "a",
        "a-b",
        "a.json",
    ]
    assert entries["a.json"].size_bytes() == 6
    assert [path.name for path in folder.files()] == ["a", "a-b", "a.json", "x", "z"]
    for name, is_file, is_dir in [("a", 1, 1), ("b", 0, 1), ("a.j", 0, 0), ("a-b", 1, 0)]:
        path = folder / name
        assert (path.is_file(), path.is_dir()) == (is_file, is_dir)
        assert path.exists() == bool(is_file or is_dir)
    with pytest.raises(UserError, match=r"s3://.*/none\.json: no such file"):
        read_json(folder / "none.json")
    with pytest.raises(FileNotFoundError, match=r"No such object: 's3://.*/none'"):
        (folder / "none").size_bytes()
    remove_folder(folder / "a")
    assert [path.name for path in folder.files()] == ["a", "a-b", "a.json", "z"]


def test_writing_is_whole_or_not_at_all(bucket: S3Path) -> None:
    path = bucket / "x.json"
    write_json(path, {"č": 1})
    assert read_json(path) == {"č": 1}

    def half(temporary: Path) -> None:
        temporary.write_bytes(b"half")
        raise RuntimeError("the source broke")

    with pytest.raises(RuntimeError, match="the source broke"):
        write_atomically(path, half)
    assert read_json(path) == {"č": 1}
    assert write_atomically(path, lambda temporary: None) == 0
    assert path.read_bytes() == b""


def test_local_copies_are_gone_afterwards(bucket: S3Path, tmp_path: Path) -> None:
    for name in ("a/b.txt", "c.txt"):
        (tmp_path / "in" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "in" / name).write_text(name)
    upload_folder(tmp_path / "in", bucket / "up")
    assert [path.read_text() for path in (bucket / "up").files()] == ["a/b.txt", "c.txt"]
    with local_file(bucket / "up" / "c.txt") as file:
        assert file.read_text() == "c.txt"
    assert not file.exists()
    with local_file(tmp_path / "in" / "c.txt") as file:
        assert file == tmp_path / "in" / "c.txt"
