"""One run at a time, on a folder and on S3."""

import os
import platform
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from model.errors import UserError
from pipelines.folder_lock import LOCK_FILE, only_run
from pipelines.s3 import put
from pipelines.s3_path import S3Path
from tests.conftest import REPOSITORY
from tests.s3_faults import Fault, FaultyProxy

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


@pytest.mark.parametrize("times", [1, 3])
def test_a_lost_answer_to_a_sign_of_life_leaves_the_lock_with_its_holder(
    bucket: S3Path, s3_proxy: FaultyProxy, times: int
) -> None:
    """S3 has taken what nobody heard of: of one try, or of all that a request has."""
    out = bucket / "dataset"
    with only_run(out, beat_s=0.2):
        fault = Fault("lose_answer", "PUT", LOCK_FILE, times)
        s3_proxy.faults = [fault]
        wait_for(lambda: fault.times == 0)
        for _ in range(2):
            changes(out / LOCK_FILE)
        refusal = rf"another process \({os.getpid()} on "
        with pytest.raises(UserError, match=refusal), only_run(out, beat_s=0.2):
            pass
    assert not (out / LOCK_FILE).exists()


def test_a_lost_answer_to_the_first_write_makes_nobody_wait(
    bucket: S3Path, s3_proxy: FaultyProxy
) -> None:
    out = bucket / "dataset"
    s3_proxy.faults = [Fault("lose_answer", "PUT", LOCK_FILE, 1)]
    started_s = time.monotonic()
    with only_run(out, beat_s=20.0):
        assert time.monotonic() - started_s < 20


def test_a_lost_answer_to_a_takeover_refuses_nobody(bucket: S3Path, s3_proxy: FaultyProxy) -> None:
    out = bucket / "dataset"
    put(bucket.bucket, "dataset/.lock", b"1 on a machine that is gone\n")
    # The first write is refused; the second one takes over.
    s3_proxy.faults = [
        Fault("delay", "PUT", LOCK_FILE, 1),
        Fault("lose_answer", "PUT", LOCK_FILE, 1),
    ]
    with only_run(out, beat_s=0.1):
        changes(out / LOCK_FILE)


def test_a_run_whose_lock_another_one_has_taken_ends(bucket: S3Path) -> None:
    out, others = bucket / "dataset", b"7 on elsewhere\n"
    taken = r"process \(7 on elsewhere\) is making this run; it took over when"
    started_s = time.monotonic()
    with pytest.raises(UserError, match=taken), only_run(out, beat_s=0.2, makes="run"):
        put(bucket.bucket, "dataset/.lock", others)
        time.sleep(60)
    assert time.monotonic() - started_s < 30
    assert (out / LOCK_FILE).read_bytes() == others


def test_a_run_that_ignores_interrupts_ends_as_well(bucket: S3Path) -> None:
    """As those do that a shell started in the background."""
    ignoring = (
        "import signal; from pipelines import folder_lock; folder_lock._ENDS_WITHIN_S = 0.5\n"
    )
    ignoring += "signal.signal(signal.SIGINT, signal.SIG_IGN)\n"
    process = subprocess.Popen(
        [sys.executable, "-c", ignoring + HOLDER, str(bucket / "dataset")],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=REPOSITORY,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    put(bucket.bucket, "dataset/.lock", b"7 on elsewhere\n")
    _, told = process.communicate(timeout=30)
    assert process.returncode == 2
    (line,) = told.splitlines()
    assert line.startswith("huetrack: s3://") and "another process (7 on elsewhere)" in line


def changes(lock: S3Path) -> None:
    """Return when the lock's holder has given a sign of life."""
    before = lock.read_bytes()
    wait_for(lambda: lock.read_bytes() != before)


def wait_for(condition: Callable[[], bool]) -> None:
    deadline_s = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline_s
        time.sleep(0.05)
