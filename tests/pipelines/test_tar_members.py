"""Reading tar archives: what is safe comes out, what is not is named, damage is told from the end."""

import gzip
import io
import random
import tarfile
from pathlib import Path

import pytest

from pipelines.tar_members import (
    DamagedArchiveError,
    Member,
    is_archive,
    read_members,
    split_tar_uri,
    tar_uri,
    without_archive_suffix,
)

PACKED = ["plain", "gz"]


def content(seed: int, size: int) -> bytes:
    return random.Random(seed).randbytes(size)


def pack(path: Path, packed: str, entries: list[tuple[str, bytes, bytes]]) -> Path:
    """An archive of (name, type, content), in this order."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, kind, data in entries:
            header = tarfile.TarInfo(name)
            header.type, header.size, header.linkname = kind, len(data), "elsewhere"
            tar.addfile(header, io.BytesIO(data))
    raw = buffer.getvalue()
    path.write_bytes(gzip.compress(raw) if packed == "gz" else raw)
    return path


def files(**sizes: int) -> list[tuple[str, bytes, bytes]]:
    return [
        (name, tarfile.REGTYPE, content(i, size)) for i, (name, size) in enumerate(sizes.items())
    ]


def everything(path: Path) -> list[tuple[Member, bytes]]:
    return [(member, file.read(-1)) for member, file in read_members(path)]


def until_damage(path: Path) -> tuple[list[str], str]:
    """Names of the members that could be read, and the kind of damage after them."""
    names = []
    with pytest.raises(DamagedArchiveError) as caught:
        for member, file in read_members(path):
            file.read(-1)
            names.append(member.name)
    return names, caught.value.kind


@pytest.mark.parametrize("packed", PACKED)
def test_members_come_in_their_order(tmp_path: Path, packed: str) -> None:
    entries = files(**{"b.mp4": 3000, "a/-_x.mp4": 2_500_000, "empty.mp4": 0, "č.mp4": 512})
    entries.insert(1, ("folder", tarfile.DIRTYPE, b""))
    entries.append(("x" * 300 + ".mp4", tarfile.REGTYPE, b"long"))
    path = pack(tmp_path / "a.tar", packed, entries)
    plain = [entry for entry in entries if entry[1] == tarfile.REGTYPE]
    assert everything(path) == [(Member(n, len(data)), data) for n, _, data in plain]
    assert [m.name for m, _ in read_members(path)] == [n for n, _, _ in plain]  # nothing is read


@pytest.mark.parametrize("packed", PACKED)
def test_seeking_forward(tmp_path: Path, packed: str) -> None:
    path = pack(tmp_path / "a.tar", packed, files(**{"a": 300_000, "b": 100}))
    parts = []
    for _, file in read_members(path):
        head = file.read(10)
        file.seek(60)
        parts.append((head, file.read(20)))
    assert parts == [
        (content(i, n)[:10], content(i, n)[60:80]) for i, n in ((0, 300_000), (1, 100))
    ]


@pytest.mark.parametrize("packed", PACKED)
def test_unsafe_members_are_refused_by_name(tmp_path: Path, packed: str) -> None:
    kinds = {
        "link.mp4": (tarfile.SYMTYPE, "a link"),
        "hard.mp4": (tarfile.LNKTYPE, "a link"),
        "disk": (tarfile.BLKTYPE, "a device"),
        "tty": (tarfile.CHRTYPE, "a device"),
        "pipe": (tarfile.FIFOTYPE, "a FIFO"),
        "/etc/passwd": (tarfile.REGTYPE, "the name leaves the archive's folder"),
        "../up.mp4": (tarfile.REGTYPE, "the name leaves the archive's folder"),
        "a/../../up": (tarfile.DIRTYPE, "the name leaves the archive's folder"),
    }
    entries = [(name, kind, b"") for name, (kind, _) in kinds.items()]
    good = files(**{"good.mp4": 100, "..good.mp4": 5})
    got = everything(pack(tmp_path / "a.tar", packed, [good[0], *entries, good[1]]))
    assert [m.name for m, _ in got] == ["good.mp4", *kinds, "..good.mp4"]
    refused = {m.name: (m.refused_kind, m.refused_message) for m, _ in got[1:-1]}
    assert refused == {name: ("unsafe_member", why) for name, (_, why) in kinds.items()}
    assert all(data == b"" for _, data in got[1:-1])
    assert [m.refused_kind for m in (got[0][0], got[-1][0])] == [None, None]


def test_a_name_that_is_not_unicode(tmp_path: Path) -> None:
    name = b"caf\xe9.mp4".decode(errors="surrogateescape")
    path = tmp_path / "a.tar"
    with tarfile.open(path, "w", format=tarfile.GNU_FORMAT) as tar:
        tar.addfile(tarfile.TarInfo(name))
    ((member, _),) = read_members(path)
    assert (member.name, member.refused_kind) == ("caf\\udce9.mp4", "unreadable")


@pytest.mark.parametrize("packed", PACKED)
def test_wherever_an_archive_is_cut_the_members_before_are_read(
    tmp_path: Path, packed: str
) -> None:
    entries = files(**{f"{i}.mp4": 700 + 300 * i for i in range(6)})
    whole = pack(tmp_path / "whole.tar", packed, entries).read_bytes()
    cut = tmp_path / "cut.tar"
    seen = set()
    for length in (*range(1, len(whole) - (20 if packed == "gz" else 10240), 128), len(whole) - 12):
        cut.write_bytes(whole[:length])
        if packed == "plain" and length == len(whole) - 12:  # only padding after the end is gone
            assert len(everything(cut)) == 6
            continue
        names, kind = until_damage(cut)
        assert names == [f"{i}.mp4" for i in range(len(names))]
        assert kind == "truncated" or length < 512
        seen.add(len(names))
    assert seen >= {0, 1, 2, 3, 4, 5}


def test_damage_in_the_middle_is_not_the_end(tmp_path: Path) -> None:
    entries = files(**{"a.mp4": 1000, "b.mp4": 1000, "c.mp4": 1000})
    raw = bytearray(pack(tmp_path / "a.tar", "plain", entries).read_bytes())
    raw[3 * 512 + 20] ^= 0xFF  # the header of b
    path = tmp_path / "damaged.tar"
    path.write_bytes(raw)
    assert until_damage(path) == (["a.mp4"], "unreadable")
    path.write_bytes(gzip.compress(raw))
    assert until_damage(path) == (["a.mp4"], "unreadable")


def test_a_flipped_bit_in_gzip_is_found(tmp_path: Path) -> None:
    path = pack(tmp_path / "a.tar.gz", "gz", files(**{"a.mp4": 50_000, "b.mp4": 50_000}))
    raw = bytearray(path.read_bytes())
    raw[-6] ^= 1  # the checksum
    path.write_bytes(raw)
    assert until_damage(path) == (["a.mp4", "b.mp4"], "unreadable")
    raw[60_000] ^= 255
    path.write_bytes(raw)
    assert until_damage(path)[1] in ("unreadable", "truncated")


def test_what_is_no_archive(tmp_path: Path) -> None:
    path = tmp_path / "a.tar"
    assert until_damage(path) == ([], "missing")
    path.touch()
    assert until_damage(path) == ([], "empty")
    path.write_bytes(b"no archive" * 1000)
    assert until_damage(path) == ([], "unreadable")
    path.write_bytes(b"\x1f\x8bno gzip" * 1000)
    assert until_damage(path) == ([], "unreadable")
    path.unlink()
    path.mkdir()
    assert until_damage(path) == ([], "storage")


def test_headers_that_lie_about_their_size(tmp_path: Path) -> None:
    path = tmp_path / "a.tar"
    for kind, size in ((tarfile.XHDTYPE, 1 << 40), (tarfile.GNUTYPE_LONGNAME, 1 << 30)):
        header = tarfile.TarInfo("a.mp4")
        header.type, header.size = kind, size
        path.write_bytes(header.tobuf(tarfile.GNU_FORMAT) + bytes(4096))
        assert until_damage(path) == ([], "unreadable")
    header = tarfile.TarInfo("a.mp4")
    header.pax_headers = {"size": "-1024"}
    path.write_bytes(header.tobuf(tarfile.PAX_FORMAT) + bytes(4096))
    assert until_damage(path) == ([], "unreadable")


def test_two_gzip_streams_one_after_the_other(tmp_path: Path) -> None:
    entries = files(**{"a.mp4": 5000, "b.mp4": 6000})
    raw = pack(tmp_path / "a.tar", "plain", entries).read_bytes()
    path = tmp_path / "b.tgz"
    path.write_bytes(gzip.compress(raw[:4000]) + gzip.compress(raw[4000:]))
    assert [data for _, data in everything(path)] == [data for _, _, data in entries]


def test_names() -> None:
    assert [is_archive(n) for n in ("a.tar", "A.TAR.GZ", "a.tgz", "a.gz", "tar", "a.tar.mp4")] == [
        True, True, True, False, False, False,
    ]  # fmt: skip
    assert without_archive_suffix("x/part_0.tar.gz") == "x/part_0"
    for member in ("a.mp4", "sub/a::b.mp4", "č d.mp4"):
        assert split_tar_uri(tar_uri(member, "/x y/a.tar")) == (member, "/x y/a.tar")
    assert split_tar_uri("/a.tar") is None
