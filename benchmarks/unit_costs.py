"""CPU seconds of one video, of one task and of one shard: what `benchmarks.scaling` computes with.

`python -m benchmarks.unit_costs VIDEOS [--json FILE]`. Every video of a folder is made into a shard of its
own by a worker that is called directly; the CPU time of worker and decoder is fitted (least squares, none
below zero) as so much a video, a sampled frame and a decoded megapixel. Then empty work (the dummy decoder)
is preprocessed in four sizes, and the CPU time of the driver during the stage of shards is fitted as so much
a task, a shard and a second of wall clock. CPU time says little of waiting, so that other work on the machine
changes it little.
"""

import argparse
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import av
import numpy as np
import psutil
from scipy.optimize import nnls

from benchmarks.figures import show
from benchmarks.machinery import make_corpus
from jobs.cluster import available_cpus, connected_ray
from pipelines import shard_stage
from pipelines.codebook import fit_codebook
from pipelines.corpus import CorpusConfig, build_corpus
from pipelines.dataset_folder import PreprocessConfig
from pipelines.decode import DecodeConfig
from pipelines.manifest import Video, save_manifest
from pipelines.preprocess import preprocess
from pipelines.shard_maker import ShardConfig, ShardMaker, plan_shards
from pipelines.shards import marker_from_json

_SIZES = ((400, 1), (3000, 1), (12_000, 16), (24_000, 4))
"""Videos, and videos a shard: many shards a task and few, in short runs and long."""


def cpu_s(*, children: bool) -> float:
    process = psutil.Process()
    times = [process.cpu_times()]
    if children:
        times += [child.cpu_times() for child in process.children(recursive=True)]
    return float(sum(t.user + t.system for t in times))


def video_costs(videos: Sequence[Video], config: PreprocessConfig) -> dict[str, float]:
    """Which colours the codebook holds changes no time, so it is one of random colours."""
    rows: list[list[float]] = []
    seconds: list[float] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        save_manifest(videos, folder / "manifest.parquet")
        clips = folder / "clips"
        clips.mkdir()
        colours = np.random.default_rng(0).normal(0, 20, (2000, 2))
        codebook = fit_codebook({"": colours}, config.codebook.clusters, seed=0)
        where = (folder / "manifest.parquet", clips, "")
        maker = ShardMaker(config.decode, config.shards, codebook, *where)
        for plan in plan_shards(videos, 1):
            before = cpu_s(children=True)
            (made,) = maker({"plans": [asdict(plan)]})
            took = cpu_s(children=True) - before
            marker = marker_from_json(made["marker"])
            if marker.frames:
                rows.append([1.0, marker.frames, decoded_megapixels(Path(videos[plan.index].uri))])
                seconds.append(took)
    design, measured = np.array(rows), np.array(seconds)
    fitted, _ = nnls(design, measured)
    left = measured - design @ fitted
    return {
        "videos": len(rows),
        "core_s_a_video": fitted[0],
        "core_s_a_sampled_frame": fitted[1],
        "core_s_a_megapixel": fitted[2],
        "explained": 1 - float(np.var(left) / np.var(measured)),
        "spread": float(measured.std() / measured.mean()),
        "spread_beyond_the_fit": float(left.std() / measured.mean()),
    }


def decoded_megapixels(path: Path) -> float:
    """Of all frames."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        frames = stream.frames or (container.duration or 0) / 1e6 * float(stream.average_rate or 0)
        return float(frames * stream.codec_context.width * stream.codec_context.height / 1e6)


def driver_costs() -> dict[str, float]:
    rows: list[list[float]] = []
    seconds: list[float] = []
    for videos, a_shard in _SIZES:
        with tempfile.TemporaryDirectory() as name, watched_stage() as seen:
            make_corpus(Path(name) / "videos", videos)
            config = PreprocessConfig(
                decode=DecodeConfig(decoder="dummy", size_px=64),
                shards=ShardConfig(videos_per_shard=a_shard),
            )
            workers = available_cpus()
            with connected_ray(workers):
                out = Path(name) / "out"
                preprocess([str(Path(name) / "videos")], out, config, workers=workers)
        rows.append([seen["tasks"], seen["shards"], seen["wall_s"]])
        seconds.append(seen["cpu_s"])
    fitted, _ = nnls(np.array(rows), np.array(seconds))
    names = ("driver_s_a_task", "driver_s_a_shard", "driver_s_a_second")
    return dict(zip(names, fitted.tolist(), strict=True)) | {"driver_runs": len(rows)}


@contextmanager
def watched_stage() -> Iterator[dict[str, float]]:
    """What the stage of shards took of the driver, once it has run."""
    seen: dict[str, float] = {}
    stage = shard_stage._committed

    def committed(pending: Any, maker: Any, workers: int) -> Iterator[str]:
        seen["tasks"] = len(shard_stage.share_out(pending, workers))
        seen["shards"] = len(pending)
        began_s, before = time.monotonic(), cpu_s(children=False)
        yield from stage(pending, maker, workers)
        seen["wall_s"] = time.monotonic() - began_s
        seen["cpu_s"] = cpu_s(children=False) - before

    shard_stage._committed = committed
    try:
        yield seen
    finally:
        shard_stage._committed = stage


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("videos", type=Path, help="folder of real videos")
    parser.add_argument("--every", type=int, default=1, help="of the videos take each so-manyeth")
    parser.add_argument("--json", type=Path, help="file for the figures")
    options = parser.parse_args()
    found = build_corpus([str(options.videos)], CorpusConfig()).videos
    config = PreprocessConfig(shards=ShardConfig(videos_per_shard=1))
    costs = video_costs(list(found)[:: options.every], config)
    show("unit costs", costs | driver_costs(), options.json)


if __name__ == "__main__":
    main()
