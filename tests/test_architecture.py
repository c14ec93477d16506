"""What holds for the whole tree: the direction of imports, module size, pins, no registry hosts."""

import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement

REPOSITORY = Path(__file__).resolve().parent.parent
PACKAGES = ("model", "pipelines", "jobs")
FOREIGN_TO_MODEL = ("ray", "mlflow", "decord", "pyarrow")
MAX_LINES = 300

# In pieces, so that this file does not name them itself.
REGISTRY_HOSTS = tuple(
    ".".join(parts)
    for parts in (
        ("pypi", "org"),
        ("pythonhosted", "org"),
        ("download", "pytorch", "org"),
        ("conda", "anaconda", "org"),
        ("registry", "npmjs", "org"),
    )
)


def run_lint_imports(root: Path) -> subprocess.CompletedProcess[str]:
    """Check the contracts of the project's pyproject.toml against the packages under `root`."""
    return subprocess.run(
        [
            sys.executable,
            "-c",
            "from importlinter.cli import lint_imports_command; lint_imports_command()",
            "--no-cache",
            "--config",
            str(REPOSITORY / "pyproject.toml"),
        ],
        cwd=root,
        capture_output=True,
        text=True,
        check=False,
    )


def project_files() -> list[Path]:
    """Files that belong to the project: tracked ones, and new ones that git does not ignore."""
    if shutil.which("git") is None or not (REPOSITORY / ".git").exists():
        pytest.skip("not a git checkout, so the project's files cannot be told from others")
    listing = subprocess.run(
        [
            "git",
            "-c",
            "safe.directory=*",
            "ls-files",
            "-z",
            "--cached",
            "--others",
            "--exclude-standard",
        ],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=True,
    )
    paths = [REPOSITORY / name for name in listing.stdout.split("\0") if name]
    return [path for path in paths if path.is_file()]


def test_imports_run_one_way() -> None:
    result = run_lint_imports(REPOSITORY)
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.parametrize(
    ("importer", "statement"),
    [
        ("model", "import pipelines"),
        ("model", "from jobs import leaf"),
        ("pipelines", "import jobs.leaf"),
        ("model", "import pyarrow.parquet"),
        ("model", "def lazily() -> None:\n    import ray"),
    ],
)
def test_the_contracts_catch_an_import_the_wrong_way(
    tmp_path: Path, importer: str, statement: str
) -> None:
    for package in PACKAGES:
        folder = tmp_path / package
        folder.mkdir()
        (folder / "__init__.py").touch()
        (folder / "leaf.py").touch()
    assert run_lint_imports(tmp_path).returncode == 0
    (tmp_path / importer / "leaf.py").write_text(statement + "\n")
    result = run_lint_imports(tmp_path)
    assert result.returncode != 0
    assert "BROKEN" in result.stdout


def test_model_loads_nothing_of_the_cluster_side() -> None:
    script = f"""
import importlib, pkgutil, sys
import model
names = [found.name for found in pkgutil.walk_packages(model.__path__, "model.")]
for name in names:
    importlib.import_module(name)
print(len(names), sorted(set({FOREIGN_TO_MODEL!r}) & set(sys.modules)))
"""
    result = subprocess.run(
        [sys.executable, "-c", script], cwd=REPOSITORY, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
    count, loaded = result.stdout.split(maxsplit=1)
    assert int(count) > 0
    assert loaded.strip() == "[]"


@pytest.mark.parametrize(
    ("module", "slow"),
    [
        (
            "pipelines.video_labeller",
            {"torchvision", "timm", "sympy", "matplotlib", "mlflow", "sklearn"},
        ),
        ("jobs.train_command", {"ray", "mlflow", "matplotlib", "torchvision", "sklearn", "pandas"}),
        ("jobs.propagate_command", {"ray", "mlflow", "matplotlib", "torchvision", "pandas"}),
    ],
)
def test_what_takes_longest_to_import_is_not_loaded(module: str, slow: set[str]) -> None:
    """torchvision (with the compiler of PyTorch behind it) and matplotlib cost seconds of every process that
    labels videos, and Ray of `huetrack train --help` and of submitting a training or a propagation."""
    script = f"""
import sys
import {module}
print(sorted({slow!r} & {{name.partition(".")[0] for name in sys.modules}}))
"""
    result = subprocess.run(
        [sys.executable, "-c", script], cwd=REPOSITORY, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout.strip() == "[]"


def test_modules_fit_in_the_head() -> None:
    modules = [
        path
        for package in (*PACKAGES, "benchmarks")
        for path in REPOSITORY.glob(f"{package}/**/*.py")
    ]
    assert modules
    lines = {path: len(path.read_text(encoding="utf-8").splitlines()) for path in modules}
    too_long = {str(p.relative_to(REPOSITORY)): n for p, n in lines.items() if n > MAX_LINES}
    assert too_long == {}


def test_torchvision_matches_torch() -> None:
    """A torchvision built for another torch fails here: its operators are not registered."""
    import torch
    from torchvision.ops import nms

    boxes_xyxy_px = torch.tensor([[0.0, 0.0, 10.0, 10.0], [0.0, 0.0, 10.0, 9.0], [20, 20, 30, 30]])
    kept = nms(boxes_xyxy_px, torch.tensor([0.9, 0.8, 0.7]), iou_threshold=0.5)
    assert kept.tolist() == [0, 2]


def test_constraints_pin_every_declared_dependency_within_its_range() -> None:
    lines = (REPOSITORY / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = [line for line in lines if line and not line.startswith("#")]
    malformed = [pin for pin in pins if not re.fullmatch(r"[a-z0-9.-]+==[A-Za-z0-9.!+]+", pin)]
    assert malformed == []
    versions = dict(pin.split("==") for pin in pins)

    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    declared = [*project["dependencies"], *project["optional-dependencies"]["dev"]]
    for requirement in map(Requirement, declared):
        pinned = versions.get(requirement.name.lower())
        assert pinned is not None, f"{requirement.name} is not in constraints.txt"
        assert requirement.specifier.contains(pinned), f"{requirement} does not allow {pinned}"


def test_no_file_names_a_package_registry() -> None:
    """Where packages come from (a mirror, say) is set on the machine, not in the project."""
    pattern = re.compile(b"|".join(re.escape(host.encode()) for host in REGISTRY_HOSTS))
    files = project_files()
    assert Path(__file__).resolve() in files
    naming = [str(p.relative_to(REPOSITORY)) for p in files if pattern.search(p.read_bytes())]
    assert naming == []
