"""What travels with a job: huetrack's own code, as a zip that is the same for the same files.

Only what an installed huetrack holds goes in (modules and the files they read), with pyproject.toml,
constraints.txt and configs/ where they lie beside it, and the file that --config names. So notebooks, data,
keys and `.env` files stay here even where nobody excluded them.
"""

import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from pathspec import GitIgnoreSpec

from model.errors import UserError

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("model", "pipelines", "jobs")
_MODULE_FILES = (".py", ".html", ".css", ".js", ".json")
CONSTRAINTS = "constraints.txt"
_FILES = ("pyproject.toml", CONSTRAINTS)
_IGNORE_FILES = (".gitignore", ".rayignore")
_SAME_TIME = (1980, 1, 1, 0, 0, 0)
_NAMED = 3


@dataclass(frozen=True)
class Package:
    """A zip for Ray's `working_dir`."""

    path: Path
    bytes: int
    files: tuple[str, ...]


def package_files(root: Path, excludes: Sequence[str]) -> Iterator[Path]:
    """Files that travel, in order: neither ignored by .gitignore or .rayignore nor excluded, no links.

    `excludes` are patterns as in .gitignore.
    """
    patterns = [
        line
        for name in _IGNORE_FILES
        if (root / name).is_file()
        for line in (root / name).read_text(encoding="utf-8").splitlines()
    ]
    left_out = GitIgnoreSpec.from_lines([*patterns, "__pycache__/", *excludes])
    found = [path for name in PACKAGES for path in (root / name).rglob("*")]
    found = [path for path in found if path.suffix in _MODULE_FILES]
    found += [*(root / "configs").glob("*.yaml"), *(root / name for name in _FILES)]
    for path in sorted(found):
        ignored = left_out.match_file(path.relative_to(root).as_posix())
        if path.is_file() and not path.is_symlink() and not ignored:
            yield path


def make_package(
    path: Path,
    *,
    extra: Mapping[str, bytes],
    excludes: Sequence[str] = (),
    limit_mb: float,
    secrets: Mapping[str, str] | None = None,
    root: Path = ROOT,
) -> Package:
    """Write the zip; `extra` are more files by name.

    Raises `UserError` above the limit with the largest files, and for a file that holds one of the
    `secrets` (values by name).
    """
    release = version("huetrack")
    # So that the copy knows its version even where huetrack is not installed.
    told = f"Metadata-Version: 2.1\nName: huetrack\nVersion: {release}\n".encode()
    contents = {
        f.relative_to(root).as_posix(): f.read_bytes() for f in package_files(root, excludes)
    }
    contents |= {f"huetrack-{release}.dist-info/METADATA": told, **extra}
    for name, content in contents.items():
        for variable, value in (secrets or {}).items():
            if value.encode() in content:
                raise UserError(
                    f"{name}: holds the value of {variable}, and would be stored on the cluster; take it out"
                )
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in sorted(contents.items()):
            archive.writestr(zipfile.ZipInfo(name, _SAME_TIME), content, zipfile.ZIP_DEFLATED)
    size = path.stat().st_size
    if size > limit_mb * 1e6:
        largest = sorted(contents, key=lambda name: -len(contents[name]))[:_NAMED]
        named = ", ".join(f"{name} ({len(contents[name]) / 1e6:.1f} MB)" for name in largest)
        raise UserError(
            f"what would travel with the job takes {size / 1e6:.1f} MB, more than --package-limit-mb "
            f"{limit_mb:g}: {named}; leave files out with --exclude PATTERN"
        )
    return Package(path, size, tuple(sorted(contents)))
