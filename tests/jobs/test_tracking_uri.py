"""Addresses of MLflow stores: their default, and that nobody sees the password in them."""

import pickle
from pathlib import Path

import pytest
import yaml

from jobs.cli import run
from jobs.options import to_yaml
from jobs.tracking_uri import TrackingUri, default_uri, refuse_shared_sqlite, without_credentials
from jobs.train_options import TrainOptions
from model.errors import UserError
from pipelines.s3_path import S3Path


@pytest.mark.parametrize("uri", ["http://tracking:5000", "sqlite:////elsewhere/mlflow.db"])
def test_the_environment_names_the_store(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, uri: str
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    assert default_uri(tmp_path) == TrackingUri(uri)


def test_without_one_it_is_a_file_in_a_local_run_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.chdir(tmp_path)
    assert default_uri(Path("run")) == TrackingUri(f"sqlite:///{tmp_path}/run/mlflow.db")
    assert not default_uri(S3Path("bucket", "run"))


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("http://user:pass-word@host:5000/x", "http://host:5000/x"),
        ("https://user:p@ss/w:rd@host", "https://host"),
        ("https://token@host", "https://host"),
        ("postgresql+psycopg://user:secret@db/mlflow", "postgresql+psycopg://db/mlflow"),
        ("sqlite:////home/me@work/mlflow.db", "sqlite:////home/me@work/mlflow.db"),
        ("http://host:5000", "http://host:5000"),
        (
            "request to http://u:secret@h/api failed, see https://u:secret@h/help or a@b",
            "request to http://h/api failed, see https://h/help or a@b",
        ),
    ],
)
def test_credentials_are_not_shown(text: str, shown: str) -> None:
    assert without_credentials(text) == shown
    uri = TrackingUri(text)
    assert (str(uri), f"{uri}", repr(uri)) == (shown, shown, f"TrackingUri({shown})")
    assert pickle.loads(pickle.dumps(uri)).secret == text  # as Ray sends it to the workers


def test_options_store_and_print_no_password(capsys: pytest.CaptureFixture[str]) -> None:
    secret = "http://user:pass-word@host:5000"
    options = TrainOptions(Path("set"), run=Path("run"), tracking_uri=TrackingUri(secret))
    assert yaml.safe_load(to_yaml(options))["tracking_uri"] == "http://host:5000"
    for command in (["train", "set", "--run", "run"], ["preprocess", "videos", "--out", "set"]):
        assert run([*command, "--tracking-uri", secret, "--print-config"]) == 0
        printed = capsys.readouterr()
        assert yaml.safe_load(printed.out)["tracking_uri"] == "http://host:5000"
        assert "pass-word" not in printed.out + printed.err


def test_several_nodes_do_not_share_a_sqlite_file(monkeypatch: pytest.MonkeyPatch) -> None:
    file, server = TrackingUri("sqlite:////runs/mlflow.db"), TrackingUri("http://host:5000")
    nodes = [{"Alive": True}, {"Alive": False}]
    monkeypatch.setattr("ray.nodes", lambda: nodes)
    refuse_shared_sqlite(file)
    nodes.append({"Alive": True})
    refuse_shared_sqlite(server)
    refuse_shared_sqlite(TrackingUri(""))
    with pytest.raises(UserError, match=r"mlflow\.db: the 2 nodes .* --tracking-uri"):
        refuse_shared_sqlite(file)
