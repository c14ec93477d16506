"""A uri becomes a path that can be read: files where they lie, members of archives without unpacking."""

import os
from pathlib import Path

import fsspec
import pytest

from pipelines import fetch
from pipelines.corpus import CorpusConfig, build_corpus
from pipelines.decode import DecodeConfig, DecodeError, Decoder
from pipelines.fetch import Fetcher, grouped_for_reading
from pipelines.manifest import Video
from tests.conftest import MakeVideo
from tests.tars import pack


def listed(*sources: Path) -> list[Video]:
    return build_corpus([str(source) for source in sources], CorpusConfig()).videos


def failure(fetcher: Fetcher, video: Video) -> tuple[str, str]:
    with pytest.raises(DecodeError) as caught, fetcher.local(video):
        pass
    return caught.value.kind, caught.value.message


@pytest.mark.parametrize("name", ["a.tar", "a.tar.gz"])
def test_members_in_any_order(tmp_path: Path, name: str) -> None:
    entries = {f"{i}/v.mp4": bytes([i]) * (10 + 200_000 * i) for i in range(5)}
    videos = listed(pack(tmp_path / name, entries))
    fetcher = Fetcher()
    for row in (0, 1, 3, 4, 2, 2, 0):
        with fetcher.local(videos[row]) as path:
            assert path.read_bytes() == entries[f"{row}/v.mp4"]
            assert path.stat().st_nlink == 0  # nothing stays when the process is killed
        assert not path.exists()
        with fsspec.open(videos[row].uri) as file:
            assert file.read() == entries[f"{row}/v.mp4"]


def test_an_archive_is_read_once_in_its_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = [pack(tmp_path / f"{n}.tgz", {f"{i}.mp4": b"x" for i in range(9)}) for n in "ab"]
    opened = []

    def count(archive: Path) -> object:
        opened.append(archive)
        return read(archive)

    read = fetch.read_members
    monkeypatch.setattr(fetch, "read_members", count)
    videos = [video for path in paths for video in listed(path)]
    fetcher = Fetcher()
    for video in videos[1::2]:  # those between are passed over
        with fetcher.local(video):
            pass
    assert opened == paths


def test_what_cannot_be_fetched_says_why(tmp_path: Path) -> None:
    archive = pack(tmp_path / "a.tar.gz", {"a.mp4": b"a" * 5000, "link.mp4": None, "b.mp4": b""})
    first, link, empty = listed(archive)
    fetcher = Fetcher()
    assert failure(fetcher, link) == ("unsafe_member", "a link")
    assert failure(fetcher, empty) == ("empty", "the file is empty")
    pack(archive, {"c.mp4": os.urandom(5000), "d.mp4": os.urandom(5000)})
    gone = ("missing", "the archive holds no such member")
    assert [failure(fetcher, first) for _ in range(2)] == [gone, gone]
    archive.write_bytes(archive.read_bytes()[:3000])
    fetcher = Fetcher()
    assert {failure(fetcher, first)[0] for _ in range(2)} == {"truncated"}
    archive.unlink()
    assert failure(Fetcher(), first)[0] == "missing"
    file = Video("f", str(tmp_path / "f.mp4"), 1, "", None, "train")
    assert failure(fetcher, file) == ("missing", "the file does not exist")


def test_no_room_for_the_copy_is_an_error_of_storage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (video,) = listed(pack(tmp_path / "a.tar", {"a.mp4": b"a"}))

    def full() -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pipelines.fetch.tempfile.TemporaryFile", full)
    kind, message = failure(Fetcher(), video)
    assert (kind, message) == ("storage", "no temporary file: No space left on device")


def test_a_member_decodes_like_its_file(tmp_path: Path, make_video: MakeVideo) -> None:
    file = make_video(tmp_path / "a.mp4")
    (member,) = listed(pack(tmp_path / "a.tar.gz", {"a.mp4": file}))
    (damaged,) = listed(pack(tmp_path / "b.tar.gz", {"a.mp4": b"no video"}))
    fetcher = Fetcher()
    with Decoder(DecodeConfig(size_px=64)) as decoder:
        with fetcher.local(member) as path:
            inside = list(decoder.chunks(path))
        (expected,) = decoder.chunks(file)
        assert [chunk.timestamps_s for chunk in inside] == [expected.timestamps_s]
        assert (inside[0].frames_NHW3 == expected.frames_NHW3).all()
        with pytest.raises(DecodeError) as caught, fetcher.local(damaged) as path:
            list(decoder.chunks(path))
    assert caught.value.kind == "unreadable"
    assert "/proc/" not in caught.value.message  # the same message in every run
    with pytest.raises(DecodeError) as caught, fetcher.local(member) as path:
        raise DecodeError("unreadable", f"cannot open {path}")
    assert caught.value.message == f"cannot open {member.uri}"


def test_members_of_one_archive_go_to_one_worker() -> None:
    items = [("x", None), ("y", None), ("a", "1"), ("b", "1"), ("c", "2"), ("z", None)]
    groups = grouped_for_reading(items, lambda item: item[1])
    assert ["".join(name for name, _ in group) for group in groups] == ["x", "y", "ab", "c", "z"]
