import pytest

from pipelines.storage import write_bytes


def test_writes_folders_and_replaces(tmp_path):
    path = tmp_path / "a" / "b" / "_x.json"
    write_bytes(path, b"old")
    write_bytes(path, b"new")
    assert path.read_bytes() == b"new"
    assert list(path.parent.iterdir()) == [path]


def test_a_failed_rename_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    path = tmp_path / "x.json"
    write_bytes(path, b"old")

    def refuse(self, target):
        assert self.name.startswith(".")
        assert self.read_bytes() == b"new"
        raise OSError("no rename")

    monkeypatch.setattr(type(path), "replace", refuse)
    with pytest.raises(OSError, match="no rename"):
        write_bytes(path, b"new")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]
