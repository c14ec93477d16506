"""Sources to manifest: every name is listed, ids are unique, lists are checked."""

import os
import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.errors import UserError
from pipelines.corpus import CorpusConfig, Earlier, Selection, build_corpus, ensure_both_splits
from pipelines.listing import stem, stems_of
from pipelines.manifest import Video, manifest_fingerprint
from pipelines.tar_members import are_archives, is_archive

CONFIG = CorpusConfig()


def put(folder: Path, *names: str) -> Path:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(f"content of {name}".encode())
    return folder


def ids(*sources: object, config: CorpusConfig = CONFIG) -> list[str]:
    return [video.video_id for video in build_corpus([str(s) for s in sources], config).videos]


def test_every_name_is_listed(tmp_path: Path) -> None:
    names = ["-a.mp4", "_b.mkv", "._x.mp4", ".hidden/c.avi", "a b.webm", "č 日本.mov", "UP.MP4"]
    names += ["x.y.mp4", "sub/deep/e.ts", "#1.mpg", "sub/..mp4"]
    folder = put(tmp_path / "videos", *names, "notes.txt", "f.jpg", "mp4", ".mp4", "sub/.mkv")
    (folder / "folder.mp4").mkdir()
    expected = sorted(name.rpartition(".")[0] for name in names)
    assert ids(folder) == expected
    assert ids(f"{folder}/**/*.*4", f"{folder}/-a.mp4") == [
        "-a", "._x", ".mp4", "UP", "sub/.", "x.y",
    ]  # fmt: skip


def test_rows_describe_the_files(tmp_path: Path) -> None:
    folder = put(tmp_path / "videos", "a.mp4")
    (video,) = build_corpus([str(folder)], CorpusConfig(val_share=0)).videos
    assert video.uri == str((folder / "a.mp4").resolve())
    assert video.bytes == len(b"content of a.mp4")
    assert (video.label, video.split) == (None, "train")
    (folder / "a.mp4").write_bytes(b"Content of a.mp4")  # the same size
    (changed,) = build_corpus([str(folder)], CorpusConfig(val_share=0)).videos
    assert changed.etag != video.etag
    assert manifest_fingerprint([changed]) != manifest_fingerprint([video])
    moved = replace(video, uri="/elsewhere/a.mp4")
    assert manifest_fingerprint([moved]) == manifest_fingerprint([video])


def test_files_with_one_stem_keep_their_suffixes(tmp_path: Path) -> None:
    folder = put(tmp_path / "videos", "a.mp4", "a.avi", "b.mp4", "sub/a.mp4")
    assert ids(folder) == ["a.avi", "a.mp4", "b", "sub/a"]


def test_a_file_named_twice_is_there_once(tmp_path: Path) -> None:
    folder = put(tmp_path / "videos", "a.mp4", "b.mp4")
    assert ids(folder, folder / "a.mp4", f"{folder}/*.mp4") == ["a", "b"]


def test_two_videos_with_one_id_are_refused(tmp_path: Path) -> None:
    one, two = put(tmp_path / "one", "a.mp4"), put(tmp_path / "two", "a.mp4")
    with pytest.raises(UserError, match=r"id 'a\.mp4'.*one.*two"):
        ids(one, two)
    table = put(tmp_path, "x.mp4", "y.mp4") / "list.csv"
    table.write_text("uri,video_id\nx.mp4,same\ny.mp4,same\n")
    with pytest.raises(UserError, match="id 'same'"):
        ids(table)


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".parquet"])
@pytest.mark.parametrize("column", ["uri", "path", "file", "video"])
def test_lists(tmp_path: Path, suffix: str, column: str) -> None:
    put(tmp_path, "videos/-a.mp4", "videos/b c.mp4", "elsewhere/d.mp4")
    absolute = str(tmp_path / "elsewhere" / "d.mp4")
    rows = [
        {column: "videos/-a.mp4", "video_id": "_first", "label": "run, jump", "split": "val"},
        {column: "videos/b c.mp4", "video_id": "", "label": "", "split": "train"},
        {column: absolute, "video_id": "", "label": "7", "split": "test"},
    ]
    table = tmp_path / f"list{suffix}"
    if suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(rows), table)
    else:
        cut = "\t" if suffix == ".tsv" else ","
        lines = [cut.join(f'"{value}"' for value in row.values()) for row in rows]
        text = "\n".join([cut.join(rows[0]), *lines]) + "\n"
        table.write_text(text, encoding="utf-8-sig" if column == "uri" else "utf-8")
    videos = build_corpus([str(table)], CONFIG).videos
    assert [(v.video_id, v.label, v.split) for v in videos] == [
        ("_first", "run, jump", "val"),
        ("d", "7", "val"),
        ("videos/b c", None, "train"),
    ]
    assert all(Path(video.uri).is_file() and video.bytes > 0 for video in videos)


def test_labels_that_are_numbers_are_kept(tmp_path: Path) -> None:
    put(tmp_path, "a.mp4", "b.mp4")
    rows = [{"uri": "a.mp4", "label": 3}, {"uri": "b.mp4", "label": None}]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "list.parquet")
    videos = build_corpus([str(tmp_path / "list.parquet")], CONFIG).videos
    assert [video.label for video in videos] == ["3", None]


def test_a_listed_file_that_is_missing_has_no_etag(tmp_path: Path) -> None:
    table = tmp_path / "list.csv"
    table.write_text("uri\ngone.mp4\n")
    (video,) = build_corpus([str(table)], CONFIG).videos
    assert (video.video_id, video.bytes, video.etag) == ("gone", 0, "")


@pytest.mark.parametrize(
    ("content", "cause"),
    [
        ("uri\n../a.mp4\n", "leaves the list's folder"),
        ("uri\nsub/../../a.mp4\n", "leaves the list's folder"),
        ("uri\n", "empty"),
        ("", "empty"),
        ("name\na.mp4\n", "needs a column"),
        ("uri,split\na.mp4,holdout\n", "'holdout'"),
        ("uri,label\n,run\n", "no uri"),
        (b"uri\n\xff\xfe.mp4\n", "not a readable list"),
    ],
)
def test_bad_lists_are_refused_by_name(tmp_path: Path, content: str | bytes, cause: str) -> None:
    table = tmp_path / "list.csv"
    table.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(UserError, match=rf"list\.csv: .*{cause}") as caught:
        ids(table)
    assert "\n" not in str(caught.value)


def test_a_parquet_list_that_is_none(tmp_path: Path) -> None:
    (tmp_path / "list.parquet").write_bytes(b"PAR1 not really")
    with pytest.raises(UserError, match=r"list\.parquet: not a readable list"):
        ids(tmp_path / "list.parquet")


def test_sources_without_videos_are_refused_by_name(tmp_path: Path) -> None:
    put(tmp_path / "texts", "a.txt")
    for source in ("nowhere", "texts", "texts/*.mp4"):
        with pytest.raises(UserError, match=source.replace("*", r"\*")):
            ids(tmp_path / source)


def test_a_name_that_is_not_unicode_is_an_error_row(tmp_path: Path) -> None:
    folder = put(tmp_path / "videos", "a.mp4")
    name = b"caf\xe9.mp4".decode(errors="surrogateescape")
    try:
        put(folder, "b.mp4").joinpath("b.mp4").rename(folder / name)
    except OSError:
        pytest.skip("this file system takes no such name")
    for source in (str(folder), f"{folder}/*.mp4"):
        good, bad = sorted(build_corpus([source], CONFIG).videos, key=lambda v: v.video_id)
        assert (good.video_id, good.refused_kind) == ("a", None)
        assert (bad.refused_kind, bad.refused_message) == ("unreadable", "the name is not UTF-8")
        assert bad.uri == f"{folder}/caf\\udce9.mp4"
        assert bad.video_id == "caf\\udce9.mp4"


def test_a_file_that_has_not_changed_is_not_read_again(tmp_path: Path) -> None:
    folder = put(tmp_path / "videos", "a.mp4", "b.mp4", "c.mp4")
    before = build_corpus([str(folder)], CONFIG).videos
    marked = [replace(video, etag="as before") for video in before]
    again = build_corpus([str(folder)], CONFIG, earlier=Earlier(marked)).videos
    assert again == marked
    (folder / "a.mp4").write_bytes(b"longer than it was before")
    os.utime(folder / "a.mp4", ns=(0, before[0].modified_ns))
    os.utime(folder / "b.mp4", ns=(0, before[1].modified_ns + 1))
    etags = [v.etag for v in build_corpus([str(folder)], CONFIG, earlier=Earlier(marked)).videos]
    fresh = [v.etag for v in build_corpus([str(folder)], CONFIG).videos]
    assert etags == [*fresh[:2], "as before"]
    assert fresh[0] != before[0].etag
    assert fresh[1] == before[1].etag


def test_a_part_of_the_videos(tmp_path: Path) -> None:
    names = [f"{i:03d}.mp4" for i in range(60)]
    folder = put(tmp_path / "videos", *names)
    config = CorpusConfig(val_share=0.3)

    def chosen(**settings: Any) -> list[tuple[str, str]]:
        videos = build_corpus([str(folder)], config, Selection(**settings)).videos
        return [(video.video_id, video.split) for video in videos]

    every = chosen()
    assert chosen(limit=7) == every[:7]
    assert chosen(limit=600) == every
    train, val = chosen(split="train"), chosen(split="val")
    assert (train, val) == tuple([v for v in every if v[1] == s] for s in ("train", "val"))
    assert len(train) + len(val) == 60
    assert train
    assert val
    shuffled = chosen(shuffle_seed=3)
    assert shuffled != every
    assert sorted(shuffled) == every
    assert chosen(shuffle_seed=3, limit=9) == shuffled[:9]
    assert chosen(shuffle_seed=4) != shuffled
    assert (
        chosen(shuffle_seed=3, split="val", limit=2) == [v for v in shuffled if v[1] == "val"][:2]
    )
    with pytest.raises(UserError, match="limit must be at least 1"):
        Selection(limit=0)


def test_a_split_that_holds_nothing_is_refused(tmp_path: Path) -> None:
    folder = put(tmp_path / "videos", "a.mp4")
    with pytest.raises(UserError, match="videos: none of the 1 files is to be taken"):
        build_corpus([str(folder)], CorpusConfig(val_share=0), Selection(split="val"))


def test_the_split_depends_on_the_name_alone(tmp_path: Path) -> None:
    names = [f"{i:03d}.mp4" for i in range(200)]
    folder = put(tmp_path / "videos", *names)
    config = CorpusConfig(val_share=0.2)
    split = {v.video_id: v.split for v in build_corpus([str(folder)], config).videos}
    assert 20 <= list(split.values()).count("val") <= 60
    some = random.Random(0).sample(names, 50)
    fewer = build_corpus([str(folder / name) for name in some], config).videos
    assert {v.video_id: v.split for v in fewer} == {n[:-4]: split[n[:-4]] for n in some}
    assert [v.video_id for v in fewer] == sorted(n[:-4] for n in some)
    other = build_corpus([str(folder)], CorpusConfig(val_share=0.2, seed=1)).videos
    assert {v.video_id: v.split for v in other} != split


def test_both_splits_are_there(tmp_path: Path) -> None:
    videos = [Video(str(i), f"/{i}.mp4", 1, "e", None, "train") for i in range(5)]
    mended = ensure_both_splits(videos, CONFIG)
    assert [v.split for v in mended].count("val") == 1
    assert {replace(v, split="train") for v in mended} == set(videos)
    assert sorted(ensure_both_splits(videos[::-1], CONFIG), key=lambda v: v.video_id) == mended
    assert ensure_both_splits(mended, CONFIG) == mended
    assert ensure_both_splits(videos[:1], CONFIG) == videos[:1]
    assert ensure_both_splits(videos, CorpusConfig(val_share=0)) == videos


@pytest.mark.parametrize("share", [-0.1, 1.0])
def test_impossible_shares_are_refused(share: float) -> None:
    with pytest.raises(UserError, match="val_share"):
        CorpusConfig(val_share=share)


def test_what_is_no_plain_file_is_refused_by_name(tmp_path: Path) -> None:
    folder = put(tmp_path / "videos", "good.mp4")
    (folder / "gone.mp4").symlink_to(tmp_path / "elsewhere.mp4")
    os.mkfifo(folder / "pipe.mp4")
    found = {video.video_id: video for video in build_corpus([str(folder)], CONFIG).videos}
    assert {name: video.refused_kind for name, video in found.items()} == {
        "gone.mp4": "missing",
        "good": None,
        "pipe.mp4": "unreadable",
    }


NAMES = st.lists(
    st.text(st.sampled_from("aA./é\n "), max_size=6).flatmap(
        lambda head: st.sampled_from(
            ["", ".mp4", ".MP4", ".mkv", ".tar", ".Tar.gz", ".tgz", ".gz"]
        ).map(lambda suffix: head + suffix)
    ),
    max_size=8,
)


@given(NAMES)
def test_columns_are_taken_for_what_single_names_are(names: list[str]) -> None:
    column = pa.chunked_array([names], pa.string())
    assert stems_of(column).to_pylist() == [stem(name) for name in names]
    assert are_archives(column).to_pylist() == [is_archive(name) for name in names]
