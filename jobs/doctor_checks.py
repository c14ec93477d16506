"""What `huetrack doctor` looks at. A check yields findings; whatever it raises becomes one, too."""

import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path
from typing import Literal

import numpy as np
import psutil
from packaging.requirements import Requirement

import jobs
from jobs.cluster import AUTH_MODE, available_cpus
from jobs.job_cluster import JobCluster, cluster_token
from jobs.tracking import open_client
from jobs.tracking_uri import TrackingUri, configured_uri
from pipelines.decode import DecodeConfig, Decoder
from pipelines.decode_protocol import DecoderName
from pipelines.s3_path import S3Path

State = Literal["ok", "warn", "fail"]
_LITTLE_DISK_GB, _NO_DISK_GB = 20.0, 1.0
_WORKER_GB, _DRIVER_GB = 0.4, 0.4
"""Of preprocessing: docs/preprocessing.md."""
_OBJECT_STORE_SHARE = 0.3
"""Of the memory, that Ray wants in /dev/shm."""
_TIMESTAMPS_S = [0.0, 0.25, 0.5, 0.75]


@dataclass(frozen=True)
class Finding:
    """One line of the report."""

    what: str
    state: State
    found: str
    remedy: str = ""


def check_packages() -> Iterator[Finding]:
    """huetrack itself, Python, and every declared dependency against its range."""
    yield Finding("huetrack", "ok", f"{version('huetrack')} at {Path(jobs.__file__).parent.parent}")
    python = ".".join(map(str, sys.version_info[:3]))
    old = sys.version_info < (3, 11)
    yield Finding("Python", "fail" if old else "ok", python, "use 3.11 or later" if old else "")
    declared = [Requirement(text) for text in requires("huetrack") or ()]
    needed = [r for r in declared if r.marker is None or r.marker.evaluate({"extra": ""})]
    wrong = []
    for requirement in needed:
        try:
            found = version(requirement.name)
        except PackageNotFoundError:
            found = "not installed"
        if found == "not installed" or not requirement.specifier.contains(found, prereleases=True):
            wrong.append(f"{requirement.name} {found}, wanted {requirement.specifier or 'any'}")
    if wrong:
        remedy = "pip install --constraint constraints.txt . (in a clone), or make venv"
        yield Finding("packages", "fail", "; ".join(wrong), remedy)
    else:
        names = ", ".join(
            f"{name} {version(name)}" for name in ("ray", "torch", "mlflow", "pyarrow")
        )
        yield Finding("packages", "ok", f"{names}, and {len(needed) - 4} others")


def check_torch() -> Iterator[Finding]:
    """PyTorch with its torchvision, which come from one build or do not work together; GPUs."""
    import torch
    from torchvision.ops import nms

    boxes_xyxy_px = torch.tensor(
        [[0.0, 0.0, 10.0, 10.0], [0.0, 0.0, 10.0, 9.0], [20.0, 20.0, 30.0, 30.0]]
    )
    kept = nms(boxes_xyxy_px, torch.tensor([0.9, 0.8, 0.7]), 0.5).tolist()
    right = kept == [0, 2]
    versions = f"{torch.__version__} with torchvision {version('torchvision')}"
    yield Finding(
        "PyTorch", "ok" if right else "fail", versions, "" if right else "install both of one build"
    )
    if torch.cuda.is_available():
        for index in range(torch.cuda.device_count()):
            card = torch.cuda.get_device_properties(index)
            yield Finding("GPU", "ok", f"{card.name}, {card.total_memory / 2**30:.0f} GiB")
    elif torch.version.cuda is None:
        yield Finding(
            "GPU", "warn", "this PyTorch is built for CPUs", "for GPUs install its CUDA build"
        )
    elif Path("/proc/driver/nvidia").exists():
        remedy = f"update the driver for CUDA {torch.version.cuda} (nvidia-smi names its version)"
        yield Finding("GPU", "fail", "there is a driver that PyTorch cannot use", remedy)
    else:
        yield Finding(
            "GPU", "warn", "none here; training and propagation use CPUs", "nvidia-smi shows GPUs"
        )


def check_decoders() -> Iterator[Finding]:
    """Write a small video and read it with each decoder, in the process that can be killed; OpenCV."""
    import cv2

    from pipelines.video import write_h264

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "video.mp4"
        ramp_HW3 = np.repeat(np.arange(0, 256, 4, dtype=np.uint8)[None, :, None], 48, 0).repeat(
            3, 2
        )
        write_h264(path, [np.roll(ramp_HW3, 4 * i, axis=1) for i in range(8)], 8)
        for name in ("pyav", "decord"):
            yield _decoder_finding(path, name)
    lab = cv2.cvtColor(np.ones((1, 1, 3), np.float32), cv2.COLOR_RGB2LAB)[0, 0]
    right = np.allclose(lab, (100, 0, 0), atol=0.01)
    yield Finding(
        "OpenCV",
        "ok" if right else "fail",
        f"{cv2.__version__}, Lab of white is {lab.round(2).tolist()}",
    )


def _decoder_finding(path: Path, name: DecoderName) -> Finding:
    config = DecodeConfig(fps_hz=4.0, size_px=32, decoder=name, deadline_s=60.0)
    with Decoder(config) as decoder:
        times_s = [time_s for chunk in decoder.chunks(path) for time_s in chunk.timestamps_s]
    if np.allclose(times_s, _TIMESTAMPS_S, atol=1e-3):
        return Finding(f"decoder {name}", "ok", f"{len(times_s)} frames of a small H.264 video")
    package = "av" if name == "pyav" else "decord2"
    remedy = f"install its package again: pip install --force-reinstall {package}"
    return Finding(f"decoder {name}", "fail", f"frames at {times_s} s, not {_TIMESTAMPS_S}", remedy)


def check_ray(address: str | None) -> Iterator[Finding]:
    """Token authentication, and the cluster where one is named."""
    mode, token = os.environ[AUTH_MODE], cluster_token()
    file = Path.home() / ".ray" / "auth_token"
    if mode != "token":
        remedy = "set it to token: without one whoever reaches Ray's ports can run commands"
        yield Finding("Ray's token", "warn", f"RAY_AUTH_MODE is {mode}", remedy)
    elif token is None:
        yield Finding("Ray's token", "ok", "none yet; a local Ray makes one", "")
    elif file.is_file() and file.stat().st_mode & 0o077:
        yield Finding("Ray's token", "warn", f"others may read {file}", f"chmod 600 {file}")
    else:
        yield Finding("Ray's token", "ok", "is there, and only yours")
    if address is not None:
        cluster = JobCluster(address)
        facts = cluster.facts()
        cluster.refuse_other_versions(facts)
        found = f"{cluster}: Ray {facts.ray}, Python {facts.python}, {facts.nodes} nodes"
        yield Finding("cluster", "ok", found)


def check_mlflow(uri: TrackingUri | None) -> Iterator[Finding]:
    """Whether the store answers, and takes us."""
    uri = uri or configured_uri()
    if not uri:
        yield Finding("MLflow", "ok", "no server named; each run keeps a SQLite file in its folder")
        return
    if uri.is_sqlite:
        folder = Path(uri.secret.removeprefix("sqlite:///")).resolve().parent
        writable = os.access(folder, os.W_OK)
        remedy = "" if writable else f"make {folder}, or name another place"
        yield Finding("MLflow", "ok" if writable else "fail", str(uri), remedy)
        return
    try:
        experiments = open_client(uri).search_experiments(max_results=1)
    except Exception as error:
        text = str(error)
        if "Invalid Host" in text:
            remedy = "start the server with --allowed-hosts and the name that you call it by"
        elif "401" in text or "403" in text:
            remedy = "set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD"
        else:
            remedy = "check the address, and that the server runs and this machine reaches it"
        yield Finding("MLflow", "fail", f"{uri} does not answer as it should", remedy)
        return
    yield Finding("MLflow", "ok", f"{uri} answers ({'has' if experiments else 'no'} experiments)")


def check_s3(place: S3Path | None) -> Iterator[Finding]:
    """Credentials; with a place also whether it can be listed, which says what is wrong where it cannot."""
    import boto3

    from pipelines.s3 import first_object

    credentials = boto3.Session().get_credentials()
    endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL") or "AWS"
    if credentials is None and place is None:
        yield Finding("S3", "ok", "no credentials; only needed for s3:// addresses")
        return
    found = (
        f"credentials by {credentials.method}, at {endpoint}" if credentials else "no credentials"
    )
    if place is not None:
        first_object(place.bucket, place.key)
        found += f"; {place} can be listed"
    yield Finding("S3", "ok", found)


def check_machine(folder: Path) -> Iterator[Finding]:
    """Disk, shared memory, cores and memory."""
    for place in dict.fromkeys((folder.resolve(), Path(tempfile.gettempdir()))):
        free_gb = shutil.disk_usage(place).free / 1e9
        state: State = (
            "fail" if free_gb < _NO_DISK_GB else "warn" if free_gb < _LITTLE_DISK_GB else "ok"
        )
        remedy = (
            ""
            if state == "ok"
            else "make room, or work elsewhere; --plan tells what a corpus takes"
        )
        yield Finding("disk", state, f"{free_gb:.0f} GB free at {place}", remedy)
    memory_gb, cores = psutil.virtual_memory().total / 1e9, available_cpus()
    shared_gb = shutil.disk_usage("/dev/shm").total / 1e9
    if shared_gb < _OBJECT_STORE_SHARE * memory_gb:
        remedy = (
            "docker run --shm-size, or a Memory volume at /dev/shm; else Ray's objects lie on disk"
        )
        yield Finding("shared memory", "warn", f"{shared_gb:.1f} GB in /dev/shm", remedy)
    else:
        yield Finding("shared memory", "ok", f"{shared_gb:.1f} GB in /dev/shm")
    enough = memory_gb >= cores * _WORKER_GB + _DRIVER_GB
    remedy = (
        ""
        if enough
        else f"preprocess with --workers {max(1, int((memory_gb - _DRIVER_GB) / _WORKER_GB))}"
    )
    found = f"{cores} cores, {memory_gb:.0f} GB of memory"
    yield Finding("machine", "ok" if enough else "warn", found, remedy)
