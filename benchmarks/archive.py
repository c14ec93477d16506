"""`huetrack propagate` over an archive against the bare engine, the ideal schedule and the video's length.

`python -m benchmarks.archive [--parts speed schedule memory plan] [--json FILE]`. On rendered videos:

- speed: frames/s of one worker, with masks, predictions, confidences and overlays, against
  `Propagator.step` on the same decoded frames in this process, a thread each. `untrained`, protocol `crw`.
  The whole command counts Ray's start and the loading of the network; the worker's share does not.
- schedule: two videos of 10,000 frames among 200 short ones on all cores, `identity` on tiny frames. The
  ideal is the longer of: the seconds that workers were at videos, shared by all of them; the longest video.
  Then the same archive again, finished.
- memory: peak memory of a process that labels a video of 100 or 10,000 tiny frames (`lab`, confidences
  and overlays), forwards and both ways from its last frame.
- plan: 5,000 videos: what the driver does before the first one is labelled.
"""

import argparse
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.figures import show

PARTS = ("speed", "schedule", "memory", "plan")
SPEED_FRAMES, SPEED_VIDEOS = 60, 4
LONG_FRAMES, LONG_VIDEOS = 10_000, 2
SHORT_FRAMES, SHORT_VIDEOS = 100, 200
PLANNED_VIDEOS = 5_000


def film(path: Path, frames: int, size_hw: tuple[int, int] = (32, 48)) -> None:
    """A colourful plane that moves, and the mask of its first and last frame."""
    import numpy as np

    from pipelines.labels.davis import write_mask
    from pipelines.video import H264Writer

    path.parent.mkdir(parents=True, exist_ok=True)
    coarse_HW3 = np.random.default_rng(0).integers(0, 256, (4, 6, 3), dtype=np.uint8)
    plane_HW3 = np.kron(coarse_HW3, np.ones((size_hw[0] // 4, size_hw[1] // 6, 1), np.uint8))
    with H264Writer(path, 24) as writer:
        for index in range(frames):
            writer.write(np.roll(plane_HW3, index % size_hw[1], axis=1))
    mask_HW = np.zeros(size_hw, np.uint8)
    mask_HW[8:24, 8:24] = 1
    masks = path.parent.parent / "masks"
    write_mask(masks / path.stem / "00000.png", mask_HW)
    write_mask(path.parent.parent / "last" / path.stem / f"{frames - 1:05d}.png", mask_HW)


def linked(first: Path, count: int) -> None:
    """The same video and mask under other names."""
    for index in range(1, count):
        name = f"{first.stem}-{index:05d}"
        os.link(first, first.with_name(f"{name}.mp4"))
        folder = first.parent.parent / "masks" / name
        folder.mkdir()
        os.link(folder.with_name(first.stem) / "00000.png", folder / "00000.png")


def job_of(place: Path, model: str, workers: int, **settings: Any) -> Any:
    from model.confidence.scorer import load_confidence_model
    from model.propagation.protocols import get_protocol
    from pipelines.archive_plan import LabelSource
    from pipelines.labelled_video import Wanted
    from pipelines.models import parse_model
    from pipelines.video_labeller import LabelJob

    direction = settings.get("direction", "forwards")
    labels = place / ("masks" if direction == "forwards" else "last")
    return LabelJob(
        parse_model(model, untrained_width=64, seed=0),
        get_protocol("crw", settings.get("set", ())),
        LabelSource(labels, direction=direction),
        None,
        Wanted(place / "out", "auto", settings.get("overlays", True)),
        confidence=load_confidence_model() if settings.get("confidence", True) else None,
        return_check=settings.get("return_check", False),
        workers=workers,
    )


def speed(place: Path) -> dict[str, Any]:
    import torch

    from model.propagation.engine import Propagator
    from model.propagation.protocols import get_protocol
    from pipelines.footage import find_footage
    from pipelines.labels.davis import read_mask
    from pipelines.models import build_encoder, parse_model
    from pipelines.synthetic import SceneConfig, write_annotated

    scene = SceneConfig(duration_s=SPEED_FRAMES / 24)
    write_annotated(place, SPEED_VIDEOS, seed=0, scene=scene)
    torch.set_num_threads(1)
    protocol = get_protocol("crw")
    spec = parse_model("untrained", untrained_width=64, seed=0)
    tracker = Propagator(build_encoder(spec, protocol, "cpu"), protocol)
    footage = find_footage(place / "videos")
    bare_s = 0.0
    for item in footage:
        frames = [frame for _, frame in item.frames()]
        mask = read_mask(place / "masks" / item.video_id / "00000.png")
        started_s = time.monotonic()
        tracker.start(frames[0], mask)
        for frame in frames[1:]:
            tracker.step(frame)
        bare_s += time.monotonic() - started_s
    count = SPEED_FRAMES * SPEED_VIDEOS
    figures = {"engine_frames_per_s": count / bare_s}
    for name, flags in (
        ("all", []),
        ("no_confidence", ["--no-confidence"]),
        ("no_confidence_no_overlays", ["--no-confidence", "--no-overlays"]),
    ):
        out = place / name
        command = [sys.executable, "-m", "jobs.cli", "propagate", str(place / "videos")]
        command += ["--labels", str(place / "masks"), "--out", str(out), "--workers", "1"]
        started_s = time.monotonic()
        done = subprocess.run(
            [*command, "--model", "untrained", *flags],
            check=True,
            capture_output=True,
            text=True,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
        )
        assert "240 frames" in done.stdout, done.stdout
        figures[f"command_{name}_frames_per_s"] = count / (time.monotonic() - started_s)
        figures[f"command_{name}_to_engine"] = (
            figures[f"command_{name}_frames_per_s"] / figures["engine_frames_per_s"]
        )
        busy_s = worker_seconds(place, flags)
        figures[f"worker_{name}_to_engine"] = bare_s / busy_s
    return figures


def worker_seconds(place: Path, flags: list[str]) -> float:
    """What the same videos take in the code of a worker, without Ray."""
    from pipelines.archive_plan import longest_first
    from pipelines.footage import find_footage
    from pipelines.propagation_folder import prepare_propagation
    from pipelines.video_labeller import VideoLabeller

    job = job_of(
        place,
        "untrained",
        os.cpu_count() or 1,  # so that it takes a thread
        overlays="--no-overlays" not in flags,
        confidence="--no-confidence" not in flags,
    )
    shutil.rmtree(place / "out", ignore_errors=True)
    prepare_propagation(place / "out", {}, overwrite=False)
    worker = VideoLabeller(job)
    videos = [
        {"video_id": item.video_id, "path": str(item.path), "correct": False}
        for item, _ in longest_first(find_footage(place / "videos"))
    ]
    return sum(row["seconds"] for row in worker({"videos": videos}))


def schedule(place: Path) -> dict[str, Any]:
    from jobs.cluster import available_cpus, connected_ray
    from model.propagation.protocols import get_protocol
    from pipelines.archive import ArchiveConfig, propagate_archive
    from pipelines.archive_plan import LabelSource, plan
    from pipelines.archive_stage import label_videos
    from pipelines.models import parse_model
    from pipelines.propagation_folder import prepare_propagation

    film(place / "videos" / "long.mp4", LONG_FRAMES)
    film(place / "videos" / "short.mp4", SHORT_FRAMES)
    linked(place / "videos" / "long.mp4", LONG_VIDEOS)
    linked(place / "videos" / "short.mp4", SHORT_VIDEOS)
    workers = available_cpus()
    spec = parse_model("identity", untrained_width=64, seed=0)
    config = ArchiveConfig(spec, get_protocol("crw"), overlays=True)
    with connected_ray(workers):
        videos = plan(place / "videos", LabelSource(place / "masks")).videos
        prepare_propagation(place / "out", config.content(), overwrite=False)
        started_s = time.monotonic()
        rows = list(label_videos(job_of(place, "identity", workers), videos, []))
        took_s = time.monotonic() - started_s
        failed = [row.message for row in rows if row.kind]
        assert not failed, failed[0]
        started_s = time.monotonic()
        again = propagate_archive(
            place / "videos", place / "masks", place / "out", config, workers=workers
        )
        again_s = time.monotonic() - started_s
        assert again.videos_made == 0
    ideal_s = max(sum(row.seconds for row in rows) / workers, max(row.seconds for row in rows))
    return {
        "workers": workers,
        "frames": sum(row.frames for row in rows),
        "seconds": took_s,
        "ideal_s": ideal_s,
        "to_ideal": took_s / ideal_s,
        "rerun_s": again_s,
        "rerun_to_first": again_s / took_s,
    }


def memory(place: Path) -> dict[str, Any]:
    figures: dict[str, Any] = {}
    for direction in ("forwards", "both"):
        for frames in (SHORT_FRAMES, LONG_FRAMES):
            command = [sys.executable, "-m", "benchmarks.archive", "--child", direction]
            done = subprocess.run(
                [*command, str(frames), str(place / f"{direction}-{frames}")],
                stdout=subprocess.PIPE,
                text=True,
                check=True,
            )
            figures[f"peak_mb_{direction}_{frames}"] = float(done.stdout)
        figures[f"{direction}_growth"] = (
            figures[f"peak_mb_{direction}_{LONG_FRAMES}"]
            / figures[f"peak_mb_{direction}_{SHORT_FRAMES}"]
        )
    return figures


def memory_of(direction: str, frames: int, place: Path) -> None:
    """Print the peak memory in MB of labelling such a video in this process."""
    from pipelines.propagation_folder import prepare_propagation
    from pipelines.video_labeller import VideoLabeller

    # Made elsewhere: encoding takes memory of its own.
    made = [
        "-c",
        f"from benchmarks.archive import *; film(Path({str(place)!r}) / 'v' / 'a.mp4', {frames})",
    ]
    subprocess.run([sys.executable, *made], check=True)
    job = job_of(place, "lab", 1, direction=direction, set=["recent_frames=2"])
    prepare_propagation(place / "out", {}, overwrite=False)
    video = {"video_id": "a", "path": str(place / "v" / "a.mp4"), "correct": False}
    (row,) = VideoLabeller(job)({"videos": [video]})
    assert row["frames"] == frames, row
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)


def plan_5000(place: Path) -> dict[str, Any]:
    import cloudpickle

    from pipelines.archive_plan import LabelSource, longest_first, plan
    from pipelines.archive_stage import share_out

    film(place / "videos" / "a.mp4", 12)
    linked(place / "videos" / "a.mp4", PLANNED_VIDEOS)
    started_s = time.monotonic()
    videos = plan(place / "videos", LabelSource(place / "masks")).videos
    paired_s = time.monotonic() - started_s
    started_s = time.monotonic()
    ordered = longest_first(videos)
    headers_s = time.monotonic() - started_s
    started_s = time.monotonic()
    labels = LabelSource(place / "masks").open()
    opened_s = time.monotonic() - started_s
    assert len(labels.videos()) == len(videos) == PLANNED_VIDEOS
    job = job_of(place, "identity", 2)
    return {
        "videos": len(videos),
        "pairing_s": paired_s,
        "headers_s": headers_s,
        "labels_opened_by_a_worker_s": opened_s,
        "tasks_of_two_workers": len(share_out(ordered, 2)),
        "bytes_sent_to_a_worker": len(cloudpickle.dumps(job)),
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--json", type=Path, help="file for the figures")
    parser.add_argument("--child", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child is not None:
        memory_of(options.child[0], int(options.child[1]), Path(options.child[2]))
        return
    calls = {"speed": speed, "schedule": schedule, "memory": memory, "plan": plan_5000}
    figures: dict[str, Any] = {}
    for part in options.parts:
        with tempfile.TemporaryDirectory() as name:
            figures |= {f"{part}_{key}": value for key, value in calls[part](Path(name)).items()}
            show(f"archive, {part}", figures, options.json)


if __name__ == "__main__":
    main()
