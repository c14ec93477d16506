"""One run at a time, on a folder and on S3."""

import os
import platform
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from model.errors import UserError
from pipelines.folder_lock import LOCK_FILE, only_run
from pipelines.s3_path import S3Path
from tests.conftest import REPOSITORY

HOLDER = """
import sys, time
from pipelines.folder_lock import only_run
from pipelines.storage import location
with only_run(location(sys.argv[1]), beat_s=0.2):
    print("held", flush=True)
    time.sleep(600)
"""


def holder(out: object) -> "subprocess.Popen[str]":
    """Another process that holds the lock."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(out)],
        stdout=subprocess.PIPE,
        text=True,
        cwd=REPOSITORY,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


@pytest.mark.parametrize("place", ["folder", "s3"])
def test_a_held_dataset_is_refused_until_its_holder_is_gone(
    tmp_path: Path, request: pytest.FixtureRequest, place: str
) -> None:
    root = tmp_path if place == "folder" else request.getfixturevalue("bucket")
    out = root / "dataset"
    process = holder(out)
    try:
        who = rf"process \({process.pid} on {re.escape(platform.node())}\)"
        refusal = f"dataset: another {who} is making this dataset$"
        # Long enough for a sign of life of a slow holder.
        with pytest.raises(UserError, match=refusal), only_run(out, beat_s=2):
            pass
        os.kill(process.pid, signal.SIGKILL)
    finally:
        process.kill()
        process.wait()
    with only_run(out, beat_s=0.2):
        pass
    with only_run(out, beat_s=0.2):
        pass


def test_the_object_of_a_run_that_ended_is_gone(bucket: S3Path) -> None:
    out = bucket / "dataset"
    with only_run(out, beat_s=0.1):
        first = (out / LOCK_FILE).read_bytes()
        deadline_s = time.monotonic() + 60
        while (out / LOCK_FILE).read_bytes() == first:
            assert time.monotonic() < deadline_s, "no sign of life"
            time.sleep(0.05)
    assert not (out / LOCK_FILE).exists()
