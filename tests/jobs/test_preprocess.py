"""`huetrack preprocess` and `huetrack validate`: exit codes and what is printed."""

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import yaml

from jobs.cli import run
from pipelines.validate import validate_dataset
from tests.conftest import MakeVideo
from tests.tars import pack

pytestmark = pytest.mark.usefixtures("ray_session")
QUICK = ["--decode.size-px", "64", "--codebook.pixels", "1000", "--workers", "1"]


@pytest.fixture
def videos(tmp_path: Path, make_video: MakeVideo) -> Path:
    """Two good videos and three corrupt ones."""
    folder = tmp_path / "videos"
    for seed in range(2):
        make_video(folder / f"good{seed}.mp4", frames=20, seed=seed)
    for index in range(3):
        (folder / f"bad{index}.mp4").write_bytes(b"no video" * 20)
    return folder


def test_too_many_failures_exit_1_and_the_dataset_is_there(
    tmp_path: Path, videos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["preprocess", str(videos), "--out", str(tmp_path / "out"), *QUICK]
    arguments += ["--corpus.val-share", "0"]
    assert run(arguments) == 1
    printed = capsys.readouterr()
    assert "5 (3 failed)" in printed.out
    assert "unreadable 3" in printed.out
    assert "shards: 1/1 5 videos" in printed.err  # plain lines in a log
    assert validate_dataset(tmp_path / "out").problems == []
    assert run([*arguments, "--max-error-rate", "0.7"]) == 0
    assert "(0 made now)" in capsys.readouterr().out

    assert run(["validate", str(tmp_path / "out")]) == 0
    assert "sound (5 videos, 4 clips in 1 shards, 3 failed" in capsys.readouterr().out
    summary = tmp_path / "out" / "summary.json"
    summary.write_text(json.dumps(json.loads(summary.read_text()) | {"clips": 7}))
    assert run(["validate", str(tmp_path / "out")]) == 1
    assert "summary.json: clips is 7, found 4" in capsys.readouterr().out

    assert run([*arguments, "--decode.fps-hz", "3"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "decode.fps_hz 6.0 -> 3.0" in line


def test_when_nothing_can_be_decoded_the_reasons_are_on_disk(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "videos").mkdir()
    for name in "abcd":
        (tmp_path / "videos" / f"{name}.mp4").write_bytes(b"this is no video")
    out = tmp_path / "dataset"
    assert run(["preprocess", str(tmp_path / "videos"), "--out", str(out)]) == 2
    message = capsys.readouterr().err.splitlines()[-1]
    assert "none of the" in message
    assert "unreadable" in message
    errors = pq.read_table(out / "errors.parquet").to_pylist()
    assert errors
    assert {row["kind"] for row in errors} == {"unreadable"}


def test_kinetics_in_parts_with_replacements(
    tmp_path: Path, make_video: MakeVideo, capsys: pytest.CaptureFixture[str]
) -> None:
    names = ["-abc_def_12_000010_000020", "_bcd-ef_123_000000_000010", "abcdefghijk_000001_000011"]
    files = [make_video(tmp_path / f"{i}.mp4", frames=20, seed=i) for i in range(3)]
    k400 = tmp_path / "k400"
    part = k400 / "train" / "part_0.tar.gz"
    pack(part, {f"{names[0]}.mp4": b"broken", f"{names[1]}.mp4": files[1], "x_0_1.mp4": files[2]})
    for file, place in ((files[0], f"replacement/{names[0]}"), (files[2], f"val/{names[2]}")):
        (k400 / place).parent.mkdir(exist_ok=True)
        file.rename(k400 / f"{place}.mp4")
    lists = k400 / "annotations"
    lists.mkdir()
    head = "label,youtube_id,time_start,time_end,split,is_cc\n"
    rows = "a b,-abc_def_12,10,20,train,0\nc,_bcd-ef_123,0,10,train,0\nd,gone,3,13,train,0\n"
    (lists / "train.csv").write_text(head + rows)
    (lists / "val.csv").write_text(head + '"e, f",abcdefghijk,1,11,val,0\n')
    out = tmp_path / "out"
    arguments = ["preprocess", str(k400 / "train"), str(k400 / "val"), "--out", str(out), *QUICK]
    arguments += ["--kinetics.annotations", str(lists)]
    arguments += ["--kinetics.replacements", str(k400 / "replacement")]
    assert run(arguments) == 0
    printed = " ".join(capsys.readouterr().out.split())
    assert "3 (0 failed)" in printed
    assert "missing 1, replaced 1, unannotated 1" in printed
    counts = {"missing": 1, "replaced": 1, "unannotated": 1}
    assert json.loads((out / "summary.json").read_text())["sources"] == counts
    account = pq.read_table(out / "sources.parquet").to_pylist()
    assert [(row["name"], row["state"]) for row in account] == [
        ("gone_000003_000013", "missing"),
        (names[0], "replaced"),
        ("x_0_1", "unannotated"),
    ]
    manifest = pq.read_table(out / "manifest.parquet").to_pylist()
    assert [(row["video_id"], row["label"], row["split"]) for row in manifest] == [
        (names[0], "a b", "train"),
        (names[2], "e, f", "val"),
        (names[1], "c", "train"),
    ]
    assert validate_dataset(out).problems == []
    assert run(arguments) == 0
    assert "(0 made now)" in capsys.readouterr().out
    (out / "sources.parquet").unlink()
    assert validate_dataset(out).problems == [f"summary.json: sources is {counts!r}, found {{}}"]


def test_a_part_of_the_videos_is_another_dataset(
    tmp_path: Path, videos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    arguments = ["preprocess", str(videos), "--out", str(out), "--stage", "manifest", *QUICK]
    some = [*arguments, "--limit", "2", "--shuffle-seed", "1", "--split", "train"]
    assert run(some) == 0
    manifest = pq.read_table(out / "manifest.parquet")
    assert manifest["split"].to_pylist() == ["train", "train"]
    assert run(some) == 0
    assert run(some[:-2]) == 2
    assert "selection.split train -> None" in capsys.readouterr().err
    assert run([*some, "--limit", "0"]) == 2


def test_one_stage(tmp_path: Path, videos: Path) -> None:
    out = tmp_path / "out"
    assert run(["preprocess", str(videos), "--out", str(out), "--stage", "manifest", *QUICK]) == 0
    assert (out / "manifest.parquet").exists()
    assert not (out / "codebook.json").exists()


@pytest.mark.parametrize(
    ("arguments", "cause"),
    [
        (["preprocess", "nowhere", "--out", "out"], "nowhere: no such file or folder"),
        (["preprocess", "nowhere"], "--out"),
        (["preprocess", "nowhere", "--out", "out", "--workers", "0"], "--workers"),
        (["preprocess", "nowhere", "--out", "out", "--workers", "many"], "--workers"),
        (["preprocess", "nowhere", "--out", "out", "--stage", "all"], "--stage"),
        (["preprocess", "nowhere", "--out", "out", "--decode.size-px", "100"], "multiple of 8"),
        (["preprocess", "--out", "out"], "no such manifest"),
        (["preprocess", "nowhere", "--out", "out", "--split", "test"], "--split"),
        (
            ["preprocess", "x", "--out", "out", "--kinetics.annotations", "gone.csv"],
            "gone.csv: no such list of annotations",
        ),
        (["preprocess", "x", "--out", "out", "--kinetics.replacements", "x"], "annotations"),
        (["validate", "nowhere"], "nowhere: no such dataset"),
    ],
)
def test_bad_usage_is_one_line_and_2(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    cause: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(arguments) == 2
    printed = capsys.readouterr()
    (line,) = printed.err.splitlines()
    assert line.startswith("huetrack: ")
    assert cause in line
    assert printed.out == ""
    assert list(tmp_path.iterdir()) == []


def test_the_printed_configuration_can_be_fed_back(
    tmp_path: Path, videos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["preprocess", str(videos), "--out", str(tmp_path / "o"), "--stage", "manifest"]
    arguments += [*QUICK, "--decode.fps-hz", "7.5", "--corpus.seed", "3", "--limit", "3"]
    assert run([*arguments, "--print-config"]) == 0
    text = capsys.readouterr().out
    config = yaml.safe_load(text)
    assert config["decode"]["fps_hz"] == 7.5
    assert config["limit"] == 3
    assert config["sources"] == [str(videos)]
    assert config["codebook"]["clusters"] == 16
    assert not (tmp_path / "o").exists()
    file = tmp_path / "config.yaml"
    file.write_text(text)
    assert run(["preprocess", "--config", str(file), "--print-config"]) == 0
    assert capsys.readouterr().out == text
    assert run(["preprocess", f"--config={file}", "--corpus.seed", "4", "--print-config"]) == 0
    assert yaml.safe_load(capsys.readouterr().out) == config | {
        "corpus": config["corpus"] | {"seed": 4}
    }
    assert run(["preprocess", "--config", str(file)]) == 0
    assert (tmp_path / "o" / "manifest.parquet").exists()
