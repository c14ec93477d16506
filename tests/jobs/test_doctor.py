"""`huetrack doctor`: what it finds, and what it says to do."""

import json
from pathlib import Path
from typing import Any

import pytest

from jobs import doctor, doctor_checks
from jobs.cli import run
from jobs.tracking_uri import TrackingUri
from pipelines.s3_path import S3Path


def findings(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, dict[str, str]]:
    """By what they are about; of several about one thing the last."""
    run(["doctor", "--json", *arguments])
    return {each["what"]: each for each in json.loads(capsys.readouterr().out)}


def test_this_machine_can_run_huetrack(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, bucket: S3Path
) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    assert run(["doctor"]) == 0
    text = capsys.readouterr().out
    for what in ("huetrack", "Python", "PyTorch", "GPU", "decoder pyav", "decoder decord", "disk"):
        assert what in text
    found = findings(capsys, "--s3", f"s3://{bucket.bucket}/videos")
    assert [each for each in found.values() if each["state"] == "fail"] == []
    assert all(each["remedy"] for each in found.values() if each["state"] != "ok")
    assert "can be listed" in found["S3"]["found"]
    assert "4 frames" in found["decoder decord"]["found"]


def test_what_is_wrong_fails_with_a_remedy(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    bucket: S3Path,
) -> None:
    nobody = "http://user:pass-word@127.0.0.1:9"
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setattr(doctor_checks, "requires", lambda name: ["torch<2", "not-there", "numpy"])

    def breaks_down() -> Any:
        raise ImportError("libsomething.so.6: cannot open shared object file")
        yield

    monkeypatch.setattr(doctor, "check_torch", breaks_down)
    monkeypatch.setattr(doctor, "check_decoders", lambda: iter(()))
    arguments = [
        "--address",
        nobody,
        "--tracking-uri",
        nobody,
        "--s3",
        f"s3://{bucket.bucket}-no/x",
    ]
    assert run(["doctor", *arguments]) == 1
    assert "pass-word" not in capsys.readouterr().out
    found = findings(capsys, *arguments)
    assert (
        "torch 2" in found["packages"]["found"]
        and "not-there not installed" in found["packages"]["found"]
    )
    assert "numpy" not in found["packages"]["found"]
    assert "ImportError: libsomething" in found["PyTorch"]["found"]
    assert "no answer" in found["Ray"]["found"]
    assert "does not answer" in found["MLflow"]["found"]
    assert "there is no bucket" in found["S3"]["found"]
    for what in ("packages", "PyTorch", "Ray", "MLflow", "S3"):
        assert found[what]["state"] == "fail" and found[what]["remedy"]
    (nowhere,) = doctor_checks.check_mlflow(TrackingUri(f"sqlite:///{tmp_path}/none/m.db"))
    assert nowhere.state == "fail"
    (somewhere,) = doctor_checks.check_mlflow(TrackingUri(f"sqlite:///{tmp_path}/m.db"))
    assert somewhere.state == "ok"
    assert run(["doctor", "--s3", str(tmp_path)]) == 2


def test_a_token_that_others_can_read_is_a_warning(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("RAY_AUTH_TOKEN", raising=False)
    token = tmp_path / ".ray" / "auth_token"
    (nothing,) = doctor_checks.check_ray(None)
    assert nothing.state == "ok"
    token.parent.mkdir()
    token.write_text("secret")
    token.chmod(0o644)
    (open_to_all,) = doctor_checks.check_ray(None)
    assert (open_to_all.state, open_to_all.remedy) == ("warn", f"chmod 600 {token}")
    token.chmod(0o600)
    (closed,) = doctor_checks.check_ray(None)
    assert closed.state == "ok"
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    (off,) = doctor_checks.check_ray(None)
    assert off.state == "warn"
