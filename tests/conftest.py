"""Fixtures shared by all tests."""

import os
import re
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path

import boto3
import cv2
import numpy as np
import pytest
from hypothesis import settings

from jobs.cluster import connected_ray  # sets Ray's environment before anything imports Ray
from pipelines.s3_path import S3Path
from pipelines.video import write_h264
from tests.s3_faults import FaultyProxy

S3_ACCESS_KEY, S3_SECRET_KEY = "test-access-key", "test-secret-key"
REPOSITORY = Path(__file__).resolve().parent.parent

# How long an example takes says more about what else the machine does than about the code.
settings.register_profile("huetrack", deadline=None)
settings.load_profile("huetrack")

# Otherwise Ray writes a token into the home folder when it finds none there, and two processes that
# start their first Ray at once write two.
os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))

# Ray Train takes one report a worker at each look at them; at its 2 s every checkpoint of a tiny training
# would wait that long.
os.environ.setdefault("RAY_TRAIN_HEALTH_CHECK_INTERVAL_S", "0.2")

# Our own limit suits a server that may be away; one of these tests' own may be slow on a busy machine.
os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "60")

# Ray's workers give way to all other processes, so beside a busy one they get next to nothing.
os.environ.setdefault("RAY_worker_niceness", "0")

# A shell's background jobs ignore Ctrl-C, and so would every command that is started and interrupted here.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

MakeVideo = Callable[..., Path]
"""(path, frames=24, fps_hz=12, seed=0, size_hw=(48, 64)) -> path."""


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of real clips and annotated sequences: `HUETRACK_DATA`, by default `../shared/data`."""
    folder = Path(os.environ.get("HUETRACK_DATA", REPOSITORY.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"real clips are not at {folder} (set HUETRACK_DATA)")
    return folder


@pytest.fixture(scope="session")
def s3_proxy() -> Iterator[FaultyProxy]:
    """Where this process, and Ray's workers, look for S3. There is no server behind it yet."""
    proxy = FaultyProxy()
    settings = {
        "AWS_ENDPOINT_URL": proxy.url,
        "AWS_ACCESS_KEY_ID": S3_ACCESS_KEY,
        "AWS_SECRET_ACCESS_KEY": S3_SECRET_KEY,
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_MAX_ATTEMPTS": "3",
        "HUETRACK_S3_TIMEOUT_S": "30",
    }
    with pytest.MonkeyPatch.context() as environment:
        for name in [name for name in os.environ if name.startswith("AWS_")]:
            environment.delenv(name)
        for name, value in settings.items():
            environment.setenv(name, value)
        yield proxy
    proxy.close()


@pytest.fixture(scope="session")
def s3_server(s3_proxy: FaultyProxy, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """An S3 server (moto) in its own process behind the proxy."""
    log = tmp_path_factory.mktemp("s3") / "server.log"
    with log.open("wb") as output:
        server = subprocess.Popen(
            [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", "0"],
            stdout=output,
            stderr=output,
        )
    try:
        deadline_s = time.monotonic() + 200
        while not (listens := re.search(r"http://127\.0\.0\.1:(\d+)", log.read_text())):
            assert server.poll() is None and time.monotonic() < deadline_s, log.read_text()
            time.sleep(0.1)
        s3_proxy.server_port = int(listens[1])
        yield
    finally:
        server.kill()
        server.wait()


@pytest.fixture
def bucket(s3_server: None, s3_proxy: FaultyProxy) -> Iterator[S3Path]:
    """A new, empty bucket; afterwards the proxy forgets its faults."""
    name = f"bucket-{secrets.token_hex(4)}"
    boto3.client("s3").create_bucket(Bucket=name)
    s3_proxy.forget()
    yield S3Path(name, "")
    s3_proxy.forget()


@pytest.fixture(scope="session")
def ray_session(s3_proxy: FaultyProxy) -> Iterator[None]:
    """One local Ray for all tests; commands called inside it use it as well."""
    with connected_ray(2):
        yield


@pytest.fixture(scope="session")
def make_video() -> MakeVideo:
    """Writes an H.264 video of a colourful plane that moves; the seed chooses its colours."""

    def make(
        path: Path,
        frames: int = 24,
        fps_hz: float | Fraction = 12,
        seed: int = 0,
        size_hw: tuple[int, int] = (48, 64),
    ) -> Path:
        height, width = size_hw
        coarse = np.random.default_rng(seed).integers(0, 256, (10, 10, 3)).astype(np.uint8)
        plane = cv2.resize(coarse, (width + 64, height + 32), interpolation=cv2.INTER_CUBIC)
        offsets = [(i % 32, 2 * (i % 32)) for i in range(frames)]
        path.parent.mkdir(parents=True, exist_ok=True)
        write_h264(path, [plane[y : y + height, x : x + width] for y, x in offsets], fps_hz)
        return path

    return make


@pytest.fixture(autouse=True, scope="session")
def one_thread() -> None:
    """Small tensors: threads cost more than they bring, above all on a busy machine."""
    import torch

    torch.set_num_threads(1)
