"""Every command with `s3://` addresses, against a real S3 server in its own process."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import load

from jobs.cli import run
from model.colorizer import Colorizer, ColorizerConfig, save_colorizer
from pipelines.labels.davis import write_mask
from pipelines.run_folder import read_history
from pipelines.s3_path import S3Path
from pipelines.storage import read_json, upload_folder, write_bytes
from tests.conftest import S3_ACCESS_KEY, S3_SECRET_KEY, MakeVideo
from tests.s3_faults import Fault, FaultyProxy

pytestmark = pytest.mark.usefixtures("ray_session")
TINY = ["--model.width", "4", "--model.embedding-channels", "8", "--model.head", "linear"]
TINY += ["--batches.batch-size", "2", "--batches.resolution-px", "64"]


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory, make_video: MakeVideo) -> Path:
    """Two short videos and the masks of all their frames."""
    folder = tmp_path_factory.mktemp("archive")
    for seed, name in enumerate(["-a", "b c"]):
        make_video(folder / "videos" / f"{name}.mp4", frames=5, seed=seed)
        for frame in range(5):
            mask = np.zeros((48, 64), dtype=np.uint8)
            mask[8:24, 8 + frame : 24 + frame] = 1
            write_mask(folder / "truth" / "masks" / name / f"{frame:05d}.png", mask)
    return folder


def read_mask(path: S3Path) -> np.ndarray:
    return np.array(Image.open(io.BytesIO(path.read_bytes())))


def test_preprocess_validate_and_train_on_s3(
    bucket: S3Path,
    tmp_path: Path,
    make_video: MakeVideo,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for seed in range(3):
        make_video(tmp_path / "videos" / f"{seed}.mp4", frames=24, seed=seed)
    upload_folder(tmp_path / "videos", bucket / "videos")
    dataset, folder = f"{bucket}/set", bucket / "runs" / "first"
    size = ["--decode.size-px", "64", "--codebook.pixels", "1000", "--workers", "1"]
    assert run(["preprocess", f"{bucket}/videos/", "--out", dataset, *size]) == 0
    assert run(["validate", dataset]) == 0
    assert f"{dataset}: sound (3 videos, 9 clips" in capsys.readouterr().out

    training = ["train", dataset, "--run", str(folder), *TINY, "--fit.log-every", "1"]
    training += ["--fit.checkpoint-every", "2", "--fit.validate-every", "4"]
    assert run([*training, "--fit.steps", "4"]) == 0
    names = {path.name for path in folder.files()}
    assert {"config.yaml", "codebook.json", "model.safetensors", "checkpoint.pt"} <= names
    assert [r["step"] for r in read_history(folder) if r["kind"] == "train"] == [1, 2, 3, 4]
    assert load((folder / "model.safetensors").read_bytes())
    assert run([*training, "--fit.steps", "4"]) == 2
    assert "is not empty" in capsys.readouterr().err
    assert run([*training, "--fit.steps", "6", "--resume"]) == 0
    steps = [r["step"] for r in read_history(folder) if r["kind"] == "train"]
    assert steps == [1, 2, 3, 4, 5, 6]
    assert [path.name for path in tmp_path.iterdir()] == ["videos"]
    secrets = [path for path in bucket.files() if S3_SECRET_KEY.encode() in path.read_bytes()]
    assert secrets == []


def test_propagate_evaluate_and_report_on_s3(
    bucket: S3Path, archive: Path, tmp_path: Path, s3_proxy: FaultyProxy
) -> None:
    upload_folder(archive, bucket / "archive")
    videos, truth, out = f"{bucket}/archive/videos", f"{bucket}/archive/truth", bucket / "out"
    save_colorizer(Colorizer(ColorizerConfig(width=4)), tmp_path / "w.safetensors")
    write_bytes(bucket / "w.safetensors", (tmp_path / "w.safetensors").read_bytes())
    common = ["--model", f"{bucket}/w.safetensors+lab", "--workers", "1"]
    command = ["propagate", videos, "--labels", truth, "--out", str(out), *common]
    s3_proxy.faults = [Fault("error_500", "PUT", "b%20c.mp4", times=99)]
    assert run(command) == 1
    assert read_json(out / "summary.json")["videos_failed"] == 1
    s3_proxy.forget()
    assert run(command) == 0  # does the one that failed
    assert read_json(out / "summary.json")["videos_made"] == 1
    s3_proxy.forget()
    assert run(command) == 0
    assert read_json(out / "summary.json")["videos_made"] == 0
    assert not [path for method, path in s3_proxy.requests if method == "PUT" and "masks" in path]

    here = tmp_path / "out"
    local = ["--labels", str(archive / "truth"), "--out", str(here), *common]
    assert run(["propagate", str(archive / "videos"), *local]) == 0
    made = sorted((here / "masks").rglob("*.png"))
    assert len(made) == 10
    for path in made:
        inside = out.joinpath(*path.relative_to(here).parts)
        assert inside.read_bytes() == path.read_bytes()

    assert run(["evaluate", "masks", truth, str(out), "--json", f"{bucket}/scores.json"]) == 0
    assert run(["evaluate", "masks", truth, str(here), "--json", str(tmp_path / "s.json")]) == 0
    assert read_json(bucket / "scores.json") == read_json(tmp_path / "s.json")
    assert run(["report", str(out), "--truth", truth]) == 0
    gallery = (out / "report" / "gallery" / "videos.js").read_text()
    assert '"id":["-a","b c"]' in gallery and '"film":[1,1],"sheet":[1,1]' in gallery
    assert "2 videos" in (out / "report" / "index.html").read_text()
    page = (out / "report" / "summary.html").read_text()
    assert "-a" in page and "b c" in page
    again = read_mask(out / "masks" / "-a" / "00000.png")
    assert run([*command, "--overwrite", "--no-overlays"]) == 0
    assert (read_mask(out / "masks" / "-a" / "00000.png") == again).all()
    assert not (out / "overlays").exists()


def test_folders_of_pictures_on_s3(bucket: S3Path, archive: Path, tmp_path: Path) -> None:
    frames = np.random.default_rng(0).integers(0, 255, (3, 48, 64, 3)).astype(np.uint8)
    for index, frame in enumerate(frames):
        write_mask(tmp_path / "masks" / "v" / f"{index}.png", frame[..., 0] // 128)
        (tmp_path / "v" / "frames").mkdir(parents=True, exist_ok=True)
        Image.fromarray(frame).save(tmp_path / "v" / "frames" / f"{index}.png")
    upload_folder(tmp_path / "v", bucket / "a" / "v")
    upload_folder(tmp_path / "masks", bucket / "l" / "masks")
    command = ["propagate", f"{bucket}/a", "--labels", f"{bucket}/l", "--out", f"{bucket}/o"]
    assert run([*command, "--model", "identity", "--workers", "1"]) == 0
    names = [path.name for path in (bucket / "o" / "masks").files()]
    assert names == ["0.png", "1.png", "2.png"]


@pytest.mark.parametrize(
    ("arguments", "cause"),
    [
        (["preprocess", "s3://no-such-bucket/v", "--out", "OUT"], "there is no bucket no-such-b"),
        (["preprocess", "BUCKET/none", "--out", "OUT"], "none: no video has this address"),
        (
            ["preprocess", "videos", "--out", "s3://no-such-bucket/set"],
            "/set: there is no bucket",
        ),
        (["validate", "BUCKET/none"], "none: no such dataset"),
        (["train", "BUCKET/none", "--run", "BUCKET/run"], "none: no such dataset"),
        (["train", "gs://BUCKET/none", "--run", "r"], "gs://: not a place that is known"),
        (["report", "BUCKET/none"], "summary.json: no such file"),
        (["evaluate", "masks", "BUCKET/none", "BUCKET/x"], "none: no such folder"),
        (
            ["propagate", "BUCKET/n", "--labels", "BUCKET/l", "--out", "o", "--model", "lab"],
            "no such",
        ),
        (["demo", "--out", "BUCKET/demo"], "demo: must be a local folder"),
        (["validate", "s3://user:pass-word@host/x"], "s3://host: not an address s3://BUCKET/KEY"),
    ],
)
def test_bad_usage_is_one_line_and_2(
    bucket: S3Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    cause: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    given = [a.replace("BUCKET", str(bucket)).replace("gs://s3", "gs") for a in arguments]
    assert run([a.replace("OUT", f"{bucket}/out") for a in given]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("huetrack: ")
    assert cause in line
    assert not any(s in line for s in (S3_ACCESS_KEY, S3_SECRET_KEY, "pass-word"))
    assert list(tmp_path.iterdir()) == []


def test_credentials_that_are_missing_or_refused_are_one_line_and_2(
    bucket: S3Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    assert run(["validate", f"{bucket}/set"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert f"{bucket}/set" in line
    assert "no AWS credentials were found; set AWS_ACCESS_KEY_ID" in line
