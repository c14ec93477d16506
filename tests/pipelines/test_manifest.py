"""The manifest's file, its fingerprint, and what tells two manifests apart."""

from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from model.errors import UserError
from pipelines.manifest import (
    MANIFEST_SCHEMA,
    Manifest,
    ManifestFile,
    Video,
    compare_manifests,
    load_manifest,
    manifest_fingerprint,
    save_manifest,
)


def videos(count: int) -> list[Video]:
    return [
        Video(f"-č{i}", f"/videos/{i}.mp4", i, f"e{i}", None, "train", 10**18 + i)
        for i in range(count)
    ]


def test_manifest_file(tmp_path: Path) -> None:
    rows = [
        *videos(3),
        Video("x", "tar://../x::/a.tar", 0, "", "run", "val", 5, "unsafe_member", "m"),
    ]
    path = tmp_path / "manifest.parquet"
    save_manifest(rows, path)
    assert load_manifest(path) == rows
    assert pq.read_schema(path).equals(MANIFEST_SCHEMA)
    path.write_bytes(b"no")
    with pytest.raises(UserError, match=r"manifest\.parquet: not a manifest"):
        load_manifest(path)
    pq.write_table(pa.table({"a": [1]}), path)
    with pytest.raises(UserError, match=r"manifest\.parquet: not a manifest"):
        load_manifest(path)
    path.unlink()
    with pytest.raises(UserError, match=r"manifest\.parquet: no such manifest"):
        load_manifest(path)


def test_a_manifest_is_a_sequence_of_videos() -> None:
    rows = videos(5_000)  # more than are made at a time
    manifest = Manifest.of(iter(rows))
    assert list(manifest) == rows
    assert list(manifest) == rows, "a second time"
    assert (manifest[0], manifest[-1], manifest[4_999]) == (rows[0], rows[-1], rows[-1])
    for part in (slice(None), slice(3), slice(-2, None), slice(9, 2), slice(None, None, -700)):
        assert manifest[part] == rows[part]
    assert manifest != rows[:-1]
    assert manifest != rows[::-1]
    with pytest.raises(IndexError):
        manifest[5_000]


def test_parts_of_the_file_are_those_of_the_list(tmp_path: Path) -> None:
    rows = videos(10_000)
    save_manifest(rows, tmp_path / "manifest.parquet")
    file = ManifestFile(tmp_path / "manifest.parquet")
    border = pq.read_metadata(tmp_path / "manifest.parquet").row_group(0).num_rows
    assert border < 5_000, "a worker must not hold them all"
    for start, stop in [
        (0, 16),
        (16, 17),
        (border - 1, border),
        (border, border + 1),
        (border - 5, border + 5),
        (9_990, 10_000),
        (3, 9_000),
        (5, 6),
    ]:
        assert file.videos(start, stop) == rows[start:stop]


def test_the_fingerprint_is_that_of_the_content_and_its_order() -> None:
    rows = videos(10_000)  # more than are hashed at a time
    digest = manifest_fingerprint(rows)
    assert manifest_fingerprint(iter(rows)) == digest
    elsewhere = [replace(v, uri=f"/moved{v.uri}", modified_ns=7) for v in rows]
    assert manifest_fingerprint(elsewhere) == digest
    for change in (
        {"bytes": 77},
        {"etag": "x"},
        {"label": "x"},
        {"split": "val"},
        {"video_id": "x"},
    ):
        for row in (0, 9_999):
            other = [*rows[:row], replace(rows[row], **change), *rows[row + 1 :]]  # type: ignore[arg-type]
            assert manifest_fingerprint(other) != digest
    assert manifest_fingerprint(rows[::-1]) != digest
    assert manifest_fingerprint(rows[:-1]) != digest


def test_the_archive_that_holds_a_video_counts_but_not_its_folder() -> None:
    def inside(archive: str) -> list[Video]:
        return [replace(v, uri=f"tar://{i}.mp4::{archive}") for i, v in enumerate(videos(2))]

    digest = manifest_fingerprint(inside("/a/part_0.tar"))
    assert manifest_fingerprint(inside("/b/part_0.tar")) == digest
    assert manifest_fingerprint(inside("/a/part_1.tar")) != digest
    assert manifest_fingerprint(videos(2)) != digest


def test_manifests_are_compared_by_id() -> None:
    before = videos(6)
    now = [*before[2:5], replace(before[5], etag="x"), *videos(9)[6:]]
    assert compare_manifests(before, now) == (3, 2, 1)
    assert compare_manifests(before, before) == (0, 0, 0)


def test_a_member_knows_its_archive() -> None:
    (video,) = videos(1)
    assert video.archive is None
    assert replace(video, uri="tar://a::b.mp4::/x/y.tar.gz").archive == "/x/y.tar.gz"
