"""What `huetrack submit` refuses before anything is sent, and what it lets through."""

from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from types import SimpleNamespace

import pytest

from jobs.cli import run
from jobs.job_cluster import ClusterFacts
from jobs.submit_checks import (
    RemoteCommand,
    refuse_places_out_of_sight,
    refuse_secrets,
    refuse_tracking_that_cannot_work,
    remote_command,
    secret_values,
)
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
