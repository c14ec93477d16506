"""Fixtures shared by all tests."""

import os
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of real clips and annotated sequences: `HUETRACK_DATA`, by default `../shared/data`."""
    folder = Path(os.environ.get("HUETRACK_DATA", REPOSITORY.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"real clips are not at {folder} (set HUETRACK_DATA)")
    return folder
