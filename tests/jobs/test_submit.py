"""What `huetrack submit` does before anything is sent: the package, the refusals, what is sealed."""

import asyncio
import io
import json
import os
import zipfile
from collections.abc import AsyncIterator, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from types import SimpleNamespace
from typing import Any

import pytest
from ray.job_submission import JobDetails
from rich.console import Console

from jobs import job_log
from jobs.cli import run
from jobs.cluster import SEALED
from jobs.console import ProgressDisplay
from jobs.job_cluster import ClusterFacts, Unreachable
from jobs.job_environment import chosen_variables, seal, unseal
from jobs.submit import runtime_env
from jobs.submit_checks import (
    RemoteCommand,
    refuse_places_out_of_sight,
    refuse_secrets,
    refuse_tracking_that_cannot_work,
    remote_command,
    secret_values,
)
from jobs.submit_package import PACKAGES, ROOT, make_package
from model.errors import UserError

SERVER = "http://127.0.0.1:9"
PREPROCESS = ["preprocess", "s3://bucket/v", "--out", "s3://bucket/set"]
PROPAGATE = ["propagate", "s3://bucket/v", "--labels", "s3://bucket/l", "--out", "s3://bucket/o"]
TRAIN = ["train", "s3://bucket/set", "--run", "s3://bucket/run"]


def refused(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """The one line with which a submission is refused."""
    assert run(["submit", "--address", SERVER, *arguments]) == 2
    printed = capsys.readouterr()
    (line,) = printed.err.splitlines()
    assert printed.out == ""
    return line


def test_the_package_is_the_code_and_nothing_that_lies_beside_it(tmp_path: Path) -> None:
    root, planted = tmp_path / "clone", "planted-secret-value"
    for name in ("model/a.py", "jobs/b.py", "pipelines/report/page.html", "configs/c.yaml"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(name)
    for name in ("pyproject.toml", "constraints.txt", "jobs/local.py", "jobs/draft.py"):
        (root / name).write_text(name)
    for name in (
        ".env",
        "jobs/.env",
        "jobs/key.pem",
        "notes.ipynb",
        "data.bin",
        "configs/key.json",
    ):
        (root / name).write_text(planted)
    outside = tmp_path / "outside.py"
    outside.write_text(planted)
    (root / "jobs" / "link.py").symlink_to(outside)
    (root / ".gitignore").write_text("local.py\n")

    def package(name: str, **changes: Any) -> Path:
        settings = {"extra": {"job-config.yaml": b"x: 1"}, "excludes": ["draft*"], "limit_mb": 1}
        return make_package(tmp_path / name, root=root, **(settings | changes)).path

    first, again = package("1.zip"), package("2.zip")
    assert first.read_bytes() == again.read_bytes()
    with zipfile.ZipFile(first) as archive:
        names = set(archive.namelist())
        assert not any(planted.encode() in archive.read(name) for name in names)
    assert {name for name in names if "dist-info" not in name} == {
        "model/a.py",
        "jobs/b.py",
        "pipelines/report/page.html",
        "configs/c.yaml",
        "pyproject.toml",
        "constraints.txt",
        "job-config.yaml",
    }
    (root / "model" / "large.py").write_bytes(os.urandom(1_500_000))
    with pytest.raises(UserError, match=r"1\.5 MB, more than .* 1: model/large\.py .*--exclude"):
        package("3.zip")
    package("4.zip", excludes=["large.py"])
    (root / "configs" / "c.yaml").write_text(f"password: {planted}")
    with pytest.raises(UserError, match=r"configs/c\.yaml: holds the value of MY_KEY") as caught:
        package("5.zip", limit_mb=9, secrets={"MY_KEY": planted})
    assert planted not in str(caught.value)


def test_this_huetrack_is_small_enough(tmp_path: Path) -> None:
    package = make_package(tmp_path / "p.zip", extra={}, limit_mb=2)
    assert {"jobs/cli.py", "model/trunk.py", "pipelines/shards.py"} <= set(package.files)
    assert not any(name.startswith(("tests", "docs", "benchmarks")) for name in package.files)
    files = [path for name in PACKAGES for path in (ROOT / name).rglob("*") if path.is_file()]
    needed = {path.relative_to(ROOT).as_posix() for path in files if path.suffix != ".pyc"}
    assert needed <= set(package.files)


@pytest.mark.parametrize(
    ("command", "named"),
    [
        ([], "nothing to run"),
        (["submit", "--", "train"], "submit: runs here"),
        (["trane"], "trane: no such command"),
        (["validate", "--help"], "validate --help: there is nothing in it to run"),
        (["train", "s3://bucket/set", "--run", "s3://bucket/run", "--steps", "3"], "--steps"),
        (["preprocess", "videos", "--out", "s3://bucket/set"], "preprocess, sources videos"),
        (
            ["preprocess", "s3://bucket/v", "--out", "/data/set"],
            "out /data/set: the cluster does not",
        ),
        (["preprocess", "s3://bucket/v", "--out", "/nfs/../set"], "out /nfs/../set"),
        ([*TRAIN, "--probe.sequences", "/x"], "train, probe.sequences /x"),
        (
            [*PROPAGATE, "--model", "runs/first+lab"],
            "propagate, model runs/first",
        ),
        (
            [*PREPROCESS, "--kinetics.annotations", "lists"],
            "kinetics.annotations lists",
        ),
        (["report", "s3://bucket/o", "--compare", "other"], "report, compare other"),
    ],
)
def test_commands_that_cannot_work_there_are_refused(
    capsys: pytest.CaptureFixture[str], command: list[str], named: str
) -> None:
    assert named in refused(["--shared", "/nfs", "--", *command], capsys)


@pytest.mark.parametrize(
    "model", ["timm:vit_small_patch14_dinov2.lvd142m", "torchvision:resnet18+lab", "flow", "lab"]
)
def test_places_that_the_cluster_sees_are_allowed(model: str) -> None:
    command = ["propagate", "/nfs/videos", "--labels", "s3://bucket/l", "--out", "/nfs/o"]
    refuse_places_out_of_sight(remote_command([*command, "--model", model]), [Path("/nfs")])
    refuse_places_out_of_sight(
        remote_command(["preprocess", "/nfs/a/*.mp4", "s3://bucket/x", "--out", "/nfs/set"]),
        [Path("/other"), Path("/nfs")],
    )


def test_a_command_without_options_can_run_there() -> None:
    assert remote_command(["doctor"]).arguments == ("doctor",)


def test_the_file_of_settings_travels(tmp_path: Path) -> None:
    config = tmp_path / "mine.yaml"
    config.write_text("workers: 3\n")
    for flag in (["--config", str(config)], [f"--config={config}"]):
        command = remote_command(["huetrack", *TRAIN, *flag])
        assert str(config) not in " ".join(command.arguments)
        assert command.files() == {"job-config.yaml": b"workers: 3\n"}
        (options,) = command.parsed.options
        assert options.workers == 3
    config.write_text("run: /here\n")
    command = remote_command(["train", "s3://bucket/set", "--config", str(config)])
    with pytest.raises(UserError, match="run /here"):
        refuse_places_out_of_sight(command, [])


@pytest.mark.parametrize(
    ("uri", "passed", "nodes", "message"),
    [
        ("sqlite:////nfs/m.db", "", 2, "2 nodes cannot share a SQLite file"),
        ("", "sqlite:////nfs/m.db", 3, "3 nodes cannot share"),
        ("sqlite:////home/me/m.db", "", 1, "does not see this file"),
        ("sqlite:////nfs/m.db", "", 1, ""),
        ("http://u:pass-word@host:5000", "", 1, "http://host:5000: its password would be stored"),
        ("http://host:5000", "http://u:pass-word@host", 9, ""),
    ],
)
def test_tracking_that_cannot_work_is_refused(
    uri: str, passed: str, nodes: int, message: str
) -> None:
    command = remote_command([*TRAIN, *(["--tracking-uri", uri] if uri else [])])
    variables = {"MLFLOW_TRACKING_URI": passed} if passed else {}

    def check(command: RemoteCommand) -> None:
        facts = ClusterFacts("2.60.0", "3.11.7", nodes)
        refuse_tracking_that_cannot_work(command, variables, facts, [Path("/nfs")])

    if not message:
        check(command)
        return
    with pytest.raises(UserError, match=message) as caught:
        check(command)
    assert "pass-word" not in str(caught.value)


def test_secrets_in_the_command_or_a_tag_are_refused_and_not_shown() -> None:
    hidden = secret_values(
        {"AWS_SECRET_ACCESS_KEY": "s3cret-value", "AWS_DEFAULT_REGION": "us-east-1"}, "the-token"
    )
    assert hidden == {"AWS_SECRET_ACCESS_KEY": "s3cret-value", "RAY_AUTH_TOKEN": "the-token"}
    refuse_secrets(["train", "us-east-1"], hidden)
    with pytest.raises(UserError, match="AWS_SECRET_ACCESS_KEY") as caught:
        refuse_secrets(["train", "--register", "xs3cret-valuex"], hidden)
    assert "s3cret-value" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "value", "hidden"),
    [
        ("DB_PASS", "hunter", "hunter"),
        ("PGPASS", "hunter22", "hunter22"),
        ("SMTP_PWD", "hunter22", "hunter22"),
        ("WEBHOOK", "https://hooks.example/T0/B1", "https://hooks.example/T0/B1"),
        ("DATABASE_URL", "postgresql://me:hunter22@db/x", "hunter22"),
        ("DATABASE_URL", "postgresql://me@host:hun/ter@db/x", "hun/ter"),
        ("MLFLOW_TRACKING_URI", "http://me:hunter22@mlflow:5000", "hunter22"),
        ("AWS_ENDPOINT_URL", "https://some-token@minio:9000", "some-token"),
        ("AWS_SESSION_TOKEN", "hunter22", "hunter22"),
        ("UNSUSPICIOUS", "hunter22", "hunter22"),
        ("SIGNING_KEY", "horsebattery", "horsebattery"),
    ],
)
def test_what_may_be_a_secret_is_refused_in_the_command(name: str, value: str, hidden: str) -> None:
    secrets = secret_values({name: value}, None)
    assert secrets == {name: hidden}
    for text in (value, f"--register=x-{hidden}"):
        with pytest.raises(UserError, match=name) as caught:
            refuse_secrets(["train", text], secrets)
        assert hidden not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("AWS_DEFAULT_REGION", "eu-central-1"),
        ("AWS_REGION", "us-east-1"),
        ("AWS_PROFILE", "research-videos"),
        ("AWS_ENDPOINT_URL", "https://minio.example:9000"),
        ("AWS_ENDPOINT_URL_S3", "https://minio.example:9000"),
        ("AWS_WEB_IDENTITY_TOKEN_FILE", "/var/run/secrets/token"),
        ("AWS_CA_BUNDLE", "/etc/ssl/certs/ours.pem"),
        ("MLFLOW_TRACKING_URI", "http://mlflow:5000"),
        ("MLFLOW_TRACKING_USERNAME", "huetrack"),
        ("MLFLOW_EXPERIMENT_NAME", "first-runs"),
        ("https_proxy", "http://proxy.example:3128"),
        ("HUETRACK_S3_TIMEOUT_S", "00000120"),
        ("PYTORCH_CUDA_ALLOC_CONF", "expandable_segments:True"),
        ("STAGE", "nightly"),
        ("DEPLOYMENT", "production"),
    ],
)
def test_what_is_no_secret_may_stand_in_the_command(name: str, value: str) -> None:
    refuse_secrets(["train", f"--experiment={value}"], secret_values({name: value}, None))


def test_variables_travel_sealed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("MY_KEY", "planted-secret")
    monkeypatch.setenv("MY_OTHER", "x")
    variables = chosen_variables(["MY_*"])
    assert variables == {"MY_KEY": "planted-secret", "MY_OTHER": "x"}
    for names, message in ((["NOT_SET"], "is not set here"), (["RAY_AUTH_*"], "Ray's own")):
        with pytest.raises(UserError, match=message):
            chosen_variables(names)
    environment = runtime_env(tmp_path / "p.zip", variables, "token", "none")
    assert "planted-secret" not in json.dumps(environment)
    with pytest.raises(UserError, match="--env needs token authentication"):
        runtime_env(tmp_path / "p.zip", variables, None, "none")
    assert "pip" not in environment
    packages = runtime_env(tmp_path / "p.zip", {}, None, "pip")["pip"]["packages"]
    assert "/constraints.txt # " in packages[0]
    assert any(name.startswith("torch") for name in packages)
    assert not any(name.startswith(("ray", "pytest")) for name in packages)

    monkeypatch.setenv(SEALED, seal(variables, "token"))
    monkeypatch.delenv("MY_KEY")
    monkeypatch.setenv("RAY_AUTH_TOKEN", "another")
    with pytest.raises(UserError, match="another Ray token"):
        unseal()
    monkeypatch.setenv("RAY_AUTH_TOKEN", "token")
    unseal()
    assert os.environ["MY_KEY"] == "planted-secret"
    monkeypatch.delenv(SEALED)
    unseal()


@pytest.mark.parametrize(
    ("status", "code", "expected"),
    [
        ("SUCCEEDED", 0, 0),
        ("FAILED", 1, 1),
        ("FAILED", 2, 2),
        ("FAILED", -9, 137),
        ("FAILED", None, 3),
        ("STOPPED", None, 130),
    ],
)
def test_exit_statuses(status: str, code: int | None, expected: int) -> None:
    assert job_log.exit_status(details(status, code)) == expected


def test_a_killed_command_is_told_of(capsys: pytest.CaptureFixture[str]) -> None:
    assert job_log.report_end("first", details("FAILED", -9)) == 137
    assert "job first was killed by signal 9; submit the same" in capsys.readouterr().err


def details(status: str, code: int | None = None) -> JobDetails:
    return JobDetails(type="SUBMISSION", status=status, entrypoint="x", driver_exit_code=code)


class DroppingCluster:
    """A job whose log comes in connections that break, and whose head is away now and then."""

    def __init__(self, connections: list[list[str]], away: int) -> None:
        self.client = self
        self._connections = connections
        self._away = away
        self.asked = 0

    async def tail_job_logs(self, job_id: str) -> AsyncIterator[str]:
        for piece in self._connections.pop(0):
            yield piece
        if self._connections:
            raise RuntimeError("WebSocket connection closed unexpectedly")

    def job(self, job_id: str) -> JobDetails:
        self.asked += 1
        if self.asked <= self._away:
            raise Unreachable("head: no answer")
        return details("RUNNING" if self._connections else "SUCCEEDED", 0)

    def log(self, job_id: str) -> str:
        return "one\ntwo\nthree\nthe end"


def test_a_connection_that_breaks_loses_and_repeats_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(job_log, "AGAIN_S", 0.0)
    cluster: Any = DroppingCluster(
        [["one\ntw"], [], ["one\n", "two\nthr"], ["one\ntwo\nthree\n"]], 1
    )
    shown = io.StringIO()
    console = Console(file=shown)
    view = job_log.LogView(ProgressDisplay(console), console)
    asyncio.run(job_log._follow(cluster, "job", view))
    view.close()
    assert shown.getvalue() == "one\ntwo\nthree\nthe end\n"
    monkeypatch.setattr(job_log, "LOST_AFTER_S", -1.0)
    lost: Any = DroppingCluster([["one\n"], []], 9)
    assert job_log.follow_to_the_end(lost, "job") == 3


def test_progress_in_a_log_is_shown_as_bars_on_a_terminal() -> None:
    told: list[Any] = []
    terminal = Console(file=io.StringIO(), force_terminal=True)
    view = job_log.LogView(lambda *progress: told.append(progress), terminal)  # type: ignore[arg-type]
    view.add("shards: 1/4 16 videos, 2 errors, eta 0:00:34\nshards: 4/4")
    view.add(" 64 videos\nsome: other line\n")
    assert told == [("shards", 1, 4, "16 videos, 2 errors"), ("shards", 4, 4, "64 videos")]
    assert "some: other line" in terminal.file.getvalue()  # type: ignore[attr-defined]


@pytest.fixture
def open_server() -> Iterator[SimpleNamespace]:
    """A dashboard that asks nobody for a token; `content` is what it answers."""
    answer = SimpleNamespace(content=b'{"ray_version": "2.60.0"}', url="")

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(answer.content)

        def log_message(self, *arguments: object) -> None:
            """Nothing is printed."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    Thread(target=server.serve_forever, daemon=True).start()
    answer.url = f"http://127.0.0.1:{server.server_port}"
    yield answer
    server.shutdown()
    server.server_close()


def test_addresses_that_are_no_guarded_ray_are_refused(
    open_server: SimpleNamespace,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def listing(*address: str) -> str:
        assert run(["jobs", "list", *address]) == 2
        (line,) = capsys.readouterr().err.splitlines()
        return line

    monkeypatch.delenv("RAY_API_SERVER_ADDRESS", raising=False)
    assert "which cluster?" in listing()
    assert "must be that of the dashboard" in listing("--address", "ray://head:10001")
    line = listing("--address", "http://user:pass-word@127.0.0.1:9")
    assert "http://127.0.0.1:9: no answer" in line and "pass-word" not in line
    assert "asks for no token" in listing("--address", open_server.url)
    open_server.content = b"<html>"
    assert "not the dashboard" in listing("--address", open_server.url)
    monkeypatch.delenv("RAY_AUTH_TOKEN")
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(tmp_path / "none"))
    assert "no token" in listing("--address", open_server.url)
