"""Archives as sources: their members become videos, once read they are not read again."""

import os
from pathlib import Path

import pytest

from pipelines import sources
from pipelines.corpus import Corpus, CorpusConfig, Earlier, build_corpus
from pipelines.tar_index import load_indices, save_indices
from tests.tars import pack

CONFIG = CorpusConfig()


def listed(*sources: Path, earlier: Earlier = Earlier()) -> Corpus:  # noqa: B008  # frozen
    return build_corpus([str(source) for source in sources], CONFIG, earlier=earlier)


def names(found: Corpus) -> list[str]:
    return [video.video_id for video in found.videos]


@pytest.mark.parametrize("suffix", ["tar", "tar.gz", "tgz"])
def test_members_are_rows_like_files(tmp_path: Path, suffix: str) -> None:
    contents = {"z.mp4": b"z" * 10, "-sub/_a.mkv": os.urandom(70_000), "b.mp4": os.urandom(200_000)}
    for name, data in contents.items():
        (tmp_path / "files" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "files" / name).write_bytes(data)
    path = pack(tmp_path / f"p.{suffix}", {**contents, "notes.txt": b"no video", "z2.jpg": b"j"})
    videos = listed(path).videos
    assert [v.video_id for v in videos] == ["z", "-sub/_a", "b"]  # as they are read
    assert [v.uri for v in videos] == [f"tar://{name}::{path}" for name in contents]
    as_files = {v.video_id: v for v in listed(tmp_path / "files").videos}
    for video in videos:
        file = as_files[video.video_id]
        assert (video.bytes, video.etag) == (file.bytes, file.etag)


def test_an_archive_in_a_folder_counts_as_a_folder(tmp_path: Path) -> None:
    pack(tmp_path / "k" / "train" / "part_1.tar.gz", {"a.mp4": b"1"})
    pack(tmp_path / "k" / "train" / "part_0.tar.gz", {"b.mp4": b"2", "a.mp4": b"3"})
    (tmp_path / "k" / "z.mp4").write_bytes(b"z")
    expected = ["z", "train/part_0/b", "train/part_0/a", "train/part_1/a"]
    assert names(listed(tmp_path / "k")) == expected
    assert names(listed(tmp_path / "k" / "train" / "part_1.tar.gz")) == ["a"]
    table = tmp_path / "list.csv"
    table.write_text("uri,label,split\nk/train/part_0.tar.gz,run,val\n")
    videos = listed(table).videos
    assert {(v.label, v.split) for v in videos} == {("run", "val")}
    assert [v.video_id for v in videos] == ["k/train/part_0/b", "k/train/part_0/a"]


def test_what_is_refused_or_damaged_is_a_row(tmp_path: Path) -> None:
    entries = {"a.mp4": os.urandom(900), "../up.mp4": b"x", "link": None, "b.mp4": os.urandom(9000)}
    path = pack(tmp_path / "cut.tar.gz", entries)
    path.write_bytes(path.read_bytes()[:5000])
    empty = pack(tmp_path / "none.tar", {"readme.txt": b"x"})
    videos = {v.video_id: (v.refused_kind, v.uri) for v in listed(path, empty).videos}
    assert videos == {
        "a": (None, f"tar://a.mp4::{path}"),
        "../up.mp4": ("unsafe_member", f"tar://../up.mp4::{path}"),
        "link": ("unsafe_member", f"tar://link::{path}"),
        "cut.tar.gz": ("truncated", str(path)),
        "none.tar": ("no_video_stream", str(empty)),
    }


def test_of_two_members_with_one_name_the_first_counts(tmp_path: Path) -> None:
    path = pack(tmp_path / "a.tar", {"a.mp4": b"first", "b.mp4": b"b"})
    again = pack(tmp_path / "b.tar", {"a.mp4": b"second"})
    path.write_bytes(path.read_bytes()[:2048] + again.read_bytes())
    found = listed(path)
    assert [(v.video_id, v.bytes) for v in found.videos] == [("a", 5), ("b", 1)]
    (note,) = found.notes
    assert (note.state, note.uri) == ("duplicate", f"tar://a.mp4::{path}")


def test_an_archive_is_read_again_only_when_it_has_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = [pack(tmp_path / f"{n}.tar", {"a.mp4": n.encode(), "l": None}) for n in "xy"]
    read: list[str] = []
    real = sources.index_archive
    monkeypatch.setattr(sources, "index_archive", lambda a: (read.append(a.uri), real(a))[1])
    first = listed(tmp_path)
    assert sorted(read) == [str(path) for path in paths]
    save_indices(first.indices, tmp_path / "archives.parquet")
    indices = load_indices(tmp_path / "archives.parquet")
    assert list(indices.values()) == first.indices
    read.clear()
    again = build_corpus([f"{tmp_path}/*.tar"], CONFIG, earlier=Earlier((), indices))
    assert again == first
    assert read == []
    os.utime(paths[1], ns=(0, 1))
    listed(*paths[1:], earlier=Earlier((), indices))
    assert read == [str(paths[1])]
    (tmp_path / "archives.parquet").write_bytes(b"damaged")
    assert load_indices(tmp_path / "archives.parquet") == {}
    assert load_indices(tmp_path / "nothing.parquet") == {}


def test_an_archive_whose_path_could_not_be_named_is_refused(tmp_path: Path) -> None:
    path = pack(tmp_path / "a::b" / "c.tar", {"a.mp4": b"x"})
    pack(tmp_path / "a::b" / "ok" / "d.mp4.tar", {"a.mp4": b"x"})
    (tmp_path / "a::b" / "e.mp4").write_bytes(b"x")
    kinds = {v.uri: v.refused_kind for v in listed(tmp_path).videos}
    assert kinds[str(path)] == "unreadable"
    assert kinds[str(tmp_path / "a::b" / "e.mp4")] is None
