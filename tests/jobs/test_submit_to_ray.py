"""`huetrack submit` and `huetrack jobs` against a real Ray head with dashboard and token.

One head does for all of it; the jobs run in order, since each takes a core of the machine.
"""

import contextlib
import os
import pty
import re
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from threading import Event, Thread

import boto3
import pytest

from benchmarks.ray_head import RayHead, ray_head
from jobs.cli import run
from jobs.job_cluster import ClusterFacts, JobCluster
from jobs.metrics import ERRORS, FRAMES, VIDEOS
from model.errors import UserError
from pipelines.s3_path import S3Path
from pipelines.storage import read_json, write_json
from pipelines.validate import validate_dataset
from tests.conftest import REPOSITORY, S3_SECRET_KEY, MakeVideo
from tests.s3_faults import Fault, FaultyProxy

PLANTED = "planted-secret-0123456789"
QUICK = ["--decode.size-px", "64", "--codebook.pixels", "1000", "--workers", "1"]


@pytest.fixture(scope="module")
def head() -> Iterator[RayHead]:
    """With the token of this test session, which Ray's client keeps once it has read it."""
    with ray_head(token=os.environ["RAY_AUTH_TOKEN"]) as started:
        yield started


@pytest.fixture(autouse=True)
def address(head: RayHead, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_API_SERVER_ADDRESS", head.address)
    monkeypatch.setenv("RAY_ADDRESS", "192.0.2.1:6379")  # of another cluster: it has no say here


class Scraper:
    """Reads the metrics' port while a job runs, whose driver exports until it ends."""

    def __init__(self, url: str) -> None:
        self.values: dict[str, float] = {}
        self._url = url
        self._end = Event()
        self._thread = Thread(target=self._scrape, daemon=True)

    def __enter__(self) -> "Scraper":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join()

    def _scrape(self) -> None:
        while not self._end.wait(0.5):
            text = ""
            with (
                contextlib.suppress(OSError),  # a node that is busy answers another time
                urllib.request.urlopen(self._url, timeout=60) as answer,
            ):
                text = answer.read().decode()
            for name, labels, value in re.findall(
                r"^(ray_huetrack_\w+)\{(.*)\} (\S+)$", text, re.M
            ):
                kind = re.search(r'kind="(\w+)"', labels)
                assert 'output="set"' in labels and 'stage="shards"' in labels
                self.values[f"{name} {kind[1]}" if kind else name] = float(value)


def files_with(text: str, folder: Path) -> list[Path]:
    files = [path for path in folder.rglob("*") if path.is_file() and not path.is_symlink()]
    assert files
    return [path for path in files if text.encode() in path.read_bytes()]


def test_a_job_from_s3_with_its_figures_and_secrets_and_every_exit_status(
    head: RayHead,
    bucket: S3Path,
    tmp_path: Path,
    make_video: MakeVideo,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("PLANTED_SECRET", PLANTED)
    for name in ("a", "b"):
        video = make_video(tmp_path / f"{name}.mp4", frames=20, seed=ord(name))
        boto3.client("s3").upload_file(str(video), bucket.bucket, f"videos/{name}.mp4")
    boto3.client("s3").put_object(Bucket=bucket.bucket, Key="videos/c.mp4", Body=b"no video")
    out, store = tmp_path / "set", tmp_path / "mlflow.db"
    submit = ["submit", "--env", "AWS_*", "--env", "PLANTED_SECRET", "--tag", "team=a"]
    submit += ["--shared", str(tmp_path), "--"]
    command = ["preprocess", f"s3://{bucket.bucket}/videos", "--out", str(out), *QUICK]
    command += ["--tracking-uri", f"sqlite:///{store}", "--label-selector", "huetrack/group=decode"]
    with Scraper(head.metrics_address) as scraper:
        assert run([*submit, *command, "--max-error-rate", "0.5"]) == 0
    printed = capfd.readouterr()
    assert "shards: 1/1 3 videos" in printed.out
    assert "3 (1 failed)" in printed.out
    assert validate_dataset(out).problems == []
    frames = read_json(out / "summary.json")["frames"]
    assert scraper.values == {
        VIDEOS.exported: 3.0,
        FRAMES.exported: frames,
        f"{ERRORS.exported} unreadable": 1.0,
    }

    cluster = JobCluster(head.address)
    (job,) = cluster.jobs()
    assert job.metadata is not None
    assert job.metadata["team"] == "a"
    assert job.metadata["command"] == "preprocess"
    told = job.model_dump_json() + cluster.log(job.submission_id or "")
    for secret in (PLANTED, S3_SECRET_KEY, head.token):
        assert secret not in told + printed.out + printed.err
        assert (
            files_with(secret, head.folder) == []
        )  # logs, and the package as the node unpacked it
        assert files_with(secret, tmp_path) == []
    # What ran there is what travelled, not what is installed.
    unpacked = list(head.folder.rglob("working_dir_files/*/jobs/submit.py"))
    assert [path.read_text() for path in unpacked] == [(REPOSITORY / "jobs/submit.py").read_text()]

    damaged = tmp_path / "damaged"
    shutil.copytree(out, damaged)
    write_json(damaged / "summary.json", read_json(out / "summary.json") | {"clips": 7})
    assert run([*submit, "validate", str(damaged)]) == 1
    assert "summary.json: clips is 7" in capfd.readouterr().out
    assert run([*submit, "validate", str(tmp_path / "nothing")]) == 2
    assert "huetrack: " in capfd.readouterr().out
    assert run(["jobs", "list"]) == 0
    listed = capfd.readouterr().out
    states = re.findall(r"huetrack-(\w+)-\S+ +│ (\w+) +│ (\d)", listed)
    assert states == [
        ("validate", "FAILED", "2"),
        ("validate", "FAILED", "1"),
        ("preprocess", "SUCCEEDED", "0"),
    ]


def test_what_does_not_fit_the_cluster_is_refused(
    head: RayHead, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    cluster = JobCluster(head.address)
    facts = cluster.facts()
    assert facts.nodes == 1
    cluster.refuse_other_versions(facts)
    for other, named in (
        (ClusterFacts("2.59.0", facts.python, 1), r"ray==2\.59\.0"),
        (ClusterFacts(facts.ray, "3.9.1", 1), r"Python 3\.9"),
    ):
        with pytest.raises(UserError, match=named):
            cluster.refuse_other_versions(other)
    validate = ["--", "validate", "s3://bucket/set"]
    assert run(["submit", "--env", "RAY_AUTH_TOKEN", *validate]) == 2
    assert run(["submit", "--job-id", "a/b c", *validate]) == 2
    assert run(["submit", "--tag", f"t={head.token}", *validate]) == 2
    assert run(["jobs", "follow", "none"]) == 2
    assert run(["jobs", "stop", "none"]) == 2
    monkeypatch.setenv("RAY_AUTH_TOKEN", "wrong")
    assert run(["submit", *validate]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 6
    for line, named in zip(
        lines,
        ("Ray's own", "a/b c", "RAY_AUTH_TOKEN", "no job none", "no job none", "not accept"),
        strict=True,
    ):
        assert named in line
        assert head.token not in line


def test_jobs_outlive_who_submitted_them_and_can_be_stopped(
    bucket: S3Path,
    s3_proxy: FaultyProxy,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("HUETRACK_S3_TIMEOUT_S", "300")
    s3_proxy.faults = [Fault("delay", "GET", bucket.bucket, times=1000, seconds=300)]
    settings = ["--env", "AWS_*", "--env", "HUETRACK_S3_TIMEOUT_S"]
    waits_for_s3 = ["--", "validate", f"s3://{bucket.bucket}/set"]
    assert run(["submit", "--no-wait", "--job-id", "first", *settings, *waits_for_s3]) == 0
    assert "huetrack jobs follow first" in capfd.readouterr().out
    assert run(["submit", "--no-wait", "--job-id", "first", *settings, *waits_for_s3]) == 2
    assert "first" in capfd.readouterr().err

    huetrack = [sys.executable, "-m", "jobs.cli"]
    follower = subprocess.Popen(
        [*huetrack, "jobs", "follow", "first"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=REPOSITORY,
    )
    assert follower.stdout is not None
    assert "Running entrypoint" in "".join(iter_until(follower, "Running entrypoint"))
    follower.send_signal(signal.SIGINT)
    _, told = follower.communicate(timeout=200)
    assert follower.returncode == 130
    assert "job first goes on" in told
    while not s3_proxy.requests:  # until then Python is still starting there
        time.sleep(0.1)
    assert run(["jobs", "list"]) == 0
    assert re.search(r"first +│ RUNNING", capfd.readouterr().out)
    assert run(["jobs", "stop", "first"]) == 0
    assert "first: STOPPED" in capfd.readouterr().out
    assert run(["jobs", "follow", "first"]) == 130
    assert "run the same command again to go on" in capfd.readouterr().out

    s3_proxy.requests.clear()
    process, terminal = pty.fork()
    if process == 0:
        os.chdir(REPOSITORY)
        words = ["submit", "--job-id", "second", *settings, *waits_for_s3]
        os.execv(sys.executable, [*huetrack, *words])
    while not s3_proxy.requests:
        time.sleep(0.1)
    os.write(terminal, b"\x03")
    seen = read_until(terminal, b"[d]etach")
    os.write(terminal, b"s\n")
    seen += read_until(terminal, b"job second was stopped")
    assert os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) == 130
    os.close(terminal)
    assert b"Running entrypoint" in seen


def iter_until(process: "subprocess.Popen[str]", text: str) -> Iterator[str]:
    assert process.stdout is not None
    for line in process.stdout:
        yield line
        if text in line:
            return


def read_until(terminal: int, text: bytes) -> bytes:
    seen = b""
    while text not in seen:
        seen += os.read(terminal, 4096)
    return seen
