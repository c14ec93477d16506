"""What `huetrack submit` sends: the package, and variables that are sealed."""

import json
import os
import zipfile
from pathlib import Path
from typing import Any

import pytest

from jobs.cluster import SEALED
from jobs.job_environment import chosen_variables, seal, unseal
from jobs.submit import runtime_env
from jobs.submit_package import PACKAGES, ROOT, make_package
from model.errors import UserError


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
