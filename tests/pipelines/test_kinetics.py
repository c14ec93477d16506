"""Kinetics: lists in the shapes of the three releases, joined to folders, archives and replacements."""

from pathlib import Path

import pyarrow.parquet as pq
import pytest

from model.errors import UserError
from pipelines.columns import rows_of
from pipelines.corpus import Corpus, CorpusConfig, build_corpus
from pipelines.kinetics import (
    SOURCES_SCHEMA,
    KineticsConfig,
    SourceNote,
    count_notes,
    read_annotations,
    save_notes,
)
from tests.tars import pack

K400 = """label,youtube_id,time_start,time_end,split,is_cc
abseiling,-3B32lodo2M,59,69,train,0
"tango, slow",_-a_000001_b,0,10,train,1
"""
K600_TEST = """youtube_id,time_start,time_end,split
--6bJUbfpnQ,17,27,test
"""
K700 = """label,youtube_id,time_start,time_end,split
testifying,---QUuC4vJs,84,94,validate
"""
CRAWLER = """video-id,start-time,end-time,label-name,subset
abc_def_123,1000.0,1010.0,jumping,val
"""


def joined(
    sources: list[Path], annotations: list[Path], replacements: Path | None = None
) -> Corpus:
    config = KineticsConfig(tuple(map(str, annotations)), replacements and str(replacements))
    return build_corpus(list(map(str, sources)), CorpusConfig(val_share=0), kinetics=config)


def write(path: Path, content: str | bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def test_the_lists_of_the_releases(tmp_path: Path) -> None:
    for name, text in (("a", K400), ("b", K600_TEST), ("c", K700), ("d", CRAWLER)):
        write(tmp_path / "lists" / f"{name}.csv", text)
    write(tmp_path / "lists" / "readme.txt", "not a list")
    annotations, notes = read_annotations([str(tmp_path / "lists")])
    assert {name: (label, split) for name, label, split, _ in rows_of(annotations)} == {
        "-3B32lodo2M_000059_000069": ("abseiling", "train"),
        "_-a_000001_b_000000_000010": ("tango, slow", "train"),
        "--6bJUbfpnQ_000017_000027": (None, "val"),
        "---QUuC4vJs_000084_000094": ("testifying", "val"),
        "abc_def_123_001000_001010": ("jumping", "val"),
    }
    assert notes == []
    one, two = (str(tmp_path / "lists" / f"{n}.csv") for n in "ab")
    again, notes = read_annotations([one, two, one])
    assert again.num_rows == 3
    assert {(n.name, n.uri, n.state) for n in notes} == {
        ("-3B32lodo2M_000059_000069", one, "duplicate"),
        ("_-a_000001_b_000000_000010", one, "duplicate"),
    }


def test_flat_folders(tmp_path: Path) -> None:
    table = write(tmp_path / "train.csv", K400 + "gone,zzz,1,11,train,0\n")
    names = ["-3B32lodo2M_000059_000069", "_-a_000001_b_000000_000010", "extra_000000_000010"]
    files = [write(tmp_path / "train" / f"{name}.mp4", name) for name in names]
    corpus = joined([tmp_path / "train"], [table])
    assert [(v.video_id, v.label, v.uri) for v in corpus.videos] == [
        (names[0], "abseiling", str(files[0])),
        (names[1], "tango, slow", str(files[1])),
    ]
    assert set(corpus.notes) == {
        SourceNote("zzz_000001_000011", "", "missing"),
        SourceNote(names[2], str(files[2]), "unannotated"),
    }


def test_parts_folders_and_replacements_together(tmp_path: Path) -> None:
    lists = [write(tmp_path / "a.csv", K400), write(tmp_path / "b.csv", K600_TEST)]
    one = "-3B32lodo2M_000059_000069"
    two = "_-a_000001_b_000000_000010"
    three = "--6bJUbfpnQ_000017_000027"
    other = "x_000000_000010"
    k400 = tmp_path / "k400"
    part_0 = pack(
        k400 / "train" / "part_0.tar.gz", {f"./{two}.mp4": b"in 0", f"{one}.mp4": b"broken"}
    )
    part_1 = pack(k400 / "train" / "part_1.tar.gz", {f"{two}.mp4": b"in 1", f"{other}.mp4": b"x"})
    flat = write(k400 / "test" / f"{three}.mp4", b"flat")
    repaired = write(k400 / "replacement" / f"{one}.mp4", b"repaired")
    corpus = joined([part_0, part_1, k400 / "test"], lists, k400 / "replacement")
    uri_of = {video.video_id: video.uri for video in corpus.videos}
    assert uri_of == {three: str(flat), one: str(repaired), two: f"tar://./{two}.mp4::{part_0}"}
    assert {v.video_id: (v.bytes, v.split) for v in corpus.videos} == {
        three: (4, "val"),
        one: (8, "train"),
        two: (4, "train"),
    }
    notes = {
        SourceNote(one, f"tar://{one}.mp4::{part_0}", "replaced"),
        SourceNote(two, f"tar://{two}.mp4::{part_1}", "duplicate"),
        SourceNote(other, f"tar://{other}.mp4::{part_1}", "unannotated"),
    }
    assert set(corpus.notes) == notes
    everything = joined([k400], lists, k400 / "replacement")  # the sources hold that folder too
    assert {video.video_id for video in everything.videos} == uri_of.keys()
    assert {note.state for note in everything.notes} == {"replaced", "duplicate", "unannotated"}


def test_what_is_refused_stays_an_error(tmp_path: Path) -> None:
    table = write(tmp_path / "a.csv", K700)
    name = "---QUuC4vJs_000084_000094"
    linked = pack(tmp_path / "a.tar", {f"{name}.mp4": None})
    good = pack(tmp_path / "b.tar", {f"{name}.mp4": b"good"})
    corpus = joined([linked, good], [table])
    assert {v.video_id: (v.refused_kind, v.label) for v in corpus.videos} == {
        name: (None, "testifying"),
        f"{name}.mp4": ("unsafe_member", None),
    }
    assert corpus.notes == []


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        ("label,youtube_id,time_start,split\n", "empty"),
        ("label,youtube_id,time_start,split\na,b,1,train\n", "needs a column named time_end"),
        ("label,time_start,time_end,split\na,1,2,train\n", "needs a column named youtube_id"),
        (K400 + "run,abc,1,later,train,0\n", r"line 4 names no clip \(abc, 1, later\)"),
        (K400 + "run,,1,2,train,0\n", "line 4 names no clip"),
        (K400 + "run,abc,inf,2,train,0\n", "line 4 names no clip"),
    ],
)
def test_bad_lists_are_refused_by_name(tmp_path: Path, text: str, cause: str) -> None:
    write(tmp_path / "list.csv", text)
    with pytest.raises(UserError, match=rf"list\.csv: .*{cause}"):
        read_annotations([str(tmp_path / "list.csv")])


def test_lists_that_are_not_there(tmp_path: Path) -> None:
    for source in (tmp_path / "nowhere", tmp_path):
        with pytest.raises(UserError, match="list of annotations"):
            read_annotations([str(source)])
    with pytest.raises(UserError, match=r"needs kinetics\.annotations"):
        KineticsConfig(replacements="folder")


def test_when_nothing_is_annotated_the_sources_are_named(tmp_path: Path) -> None:
    write(tmp_path / "videos" / "a.mp4", b"a")
    with pytest.raises(UserError, match="videos: none of the 1 files is to be taken"):
        joined([tmp_path / "videos"], [write(tmp_path / "a.csv", K400)])


def test_the_account_on_disk(tmp_path: Path) -> None:
    path = tmp_path / "sources.parquet"
    assert count_notes(path) == {}
    notes = [SourceNote("b", "/b", "unannotated"), SourceNote("c", "", "missing")]
    notes += [SourceNote("a", "/a", "unannotated")]
    save_notes(notes, path)
    assert count_notes(path) == {"missing": 1, "unannotated": 2}
    table = pq.read_table(path)
    assert table.schema.equals(SOURCES_SCHEMA)
    assert table["name"].to_pylist() == ["c", "a", "b"]
    save_notes([], path)
    assert not path.exists()
    path.write_bytes(b"no")
    with pytest.raises(UserError, match=r"sources\.parquet: not an account"):
        count_notes(path)
