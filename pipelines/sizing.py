"""What a corpus will take: a sample of its videos is preprocessed for real, and scaled up.

The sample goes through `pipelines.preprocess` in a temporary folder, one video a shard, with all the
workers of this machine busy as they will be later. So its seconds hold everything that a worker does
to a video, and the contention of the cores. Listing the sources, the codebook and starting Ray are
left out.
"""

import tempfile
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from model.errors import UserError
from pipelines.corpus import hashed_share
from pipelines.dataset_folder import PreprocessConfig
from pipelines.decode import peak_rss_bytes
from pipelines.manifest import Video, save_manifest
from pipelines.preprocess import preprocess
from pipelines.progress import Progress
from pipelines.shards import Marker, committed_shards

CONFIDENCE = 0.9
"""Share of the probability that lies between `low` and `high` of an estimate."""
_RESAMPLES = 4000
_PARQUET_FRAME_BYTES = 12  # magic bytes at both ends and the length of the footer
_WARM_UP = "warm-up:"


@dataclass(frozen=True)
class VideoCost:
    """What one video of the sample took."""

    video_id: str
    seconds: float
    """Of one worker."""
    frames: int
    bytes: int
    """Of the shard, without its footer."""
    error: str = ""
    """Kind of the error, or empty."""


@dataclass(frozen=True)
class Sample:
    """The measured videos and what is common to them."""

    costs: tuple[VideoCost, ...]
    footer_bytes: int
    """Of a shard, whatever it holds."""
    worker_rss_bytes: int
    """Largest resident set of a worker and its decoder."""
    driver_rss_bytes: int


@dataclass(frozen=True)
class Estimate:
    """A figure and the interval that holds it with probability `CONFIDENCE`."""

    expected: float
    low: float
    high: float

    def scaled(self, factor: float) -> "Estimate":
        return Estimate(self.expected * factor, self.low * factor, self.high * factor)


@dataclass(frozen=True)
class SizingPlan:
    """The whole corpus on so many cores."""

    videos: int
    source_bytes: int
    sampled_videos: int
    cores: int
    hours: Estimate
    """Wall clock of making the shards."""
    dataset_bytes: Estimate
    frames: Estimate
    frames_per_s_a_core: Estimate
    failed_share: Estimate
    errors: dict[str, int]
    """Failed videos of the sample by kind."""
    worker_memory_bytes: int
    memory_bytes: int
    """All workers at their peak, and the driver."""


def measure_sample(
    videos: Sequence[Video],
    config: PreprocessConfig,
    *,
    count: int,
    workers: int,
    progress: Progress = lambda *_: None,
) -> Sample:
    """Preprocess `count` videos, spread over the corpus by a seeded hash. Ray must be connected.

    Everything is written to a temporary folder (`TMPDIR`, which the nodes of a cluster must share)
    and removed. Raises `UserError` when the sample holds no video that can be decoded.
    """
    seed = config.corpus.seed
    chosen = sorted(videos, key=lambda v: hashed_share(seed, "plan", v.video_id))[:count]
    chosen = [replace(video, split="train") for video in chosen]
    # The first video of a worker also pays for starting its decoder, so that one does not count.
    warm_up = [replace(v, video_id=f"{_WARM_UP}{v.video_id}") for v in chosen[:workers]]
    alone = replace(config, shards=replace(config.shards, videos_per_shard=1))
    with tempfile.TemporaryDirectory(prefix="huetrack-plan-") as name:
        folder = Path(name)
        save_manifest([*warm_up, *chosen], folder / "manifest.parquet")
        try:
            preprocess(
                [],
                folder,
                alone,
                workers=workers,
                progress=lambda stage, *rest: progress(f"sample: {stage}", *rest),
            )
        except UserError as error:
            raise UserError(str(error).removeprefix(f"{folder / 'errors.parquet'}: ")) from error
        shards = committed_shards(folder)
        markers = list(shards.values())
        footers = [pq.read_metadata(shard).serialized_size for shard in shards]
        costs = [
            _cost(shard, marker, footer)
            for (shard, marker), footer in zip(shards.items(), footers, strict=True)
        ]
    return Sample(
        costs=tuple(cost for cost in costs if not cost.video_id.startswith(_WARM_UP)),
        footer_bytes=int(np.median(footers)) + _PARQUET_FRAME_BYTES,
        worker_rss_bytes=max(marker.peak_rss_mb for marker in markers) << 20,
        driver_rss_bytes=peak_rss_bytes("self"),
    )


def _cost(shard: Path, marker: Marker, footer_bytes: int) -> VideoCost:
    if marker.error_rows:
        error = marker.error_rows[0]
        return VideoCost(error.video_id, marker.seconds, 0, 0, error.kind)
    video_id = pq.read_table(shard, columns=["video_id"])["video_id"][0].as_py()
    size = marker.bytes - footer_bytes - _PARQUET_FRAME_BYTES
    return VideoCost(video_id, marker.seconds, marker.frames, size)


def plan_corpus(
    videos: Sequence[Video], sample: Sample, *, cores: int, videos_per_shard: int, seed: int = 0
) -> SizingPlan:
    """Scale a sample up to the corpus.

    Intervals are bootstrapped over the videos of the sample and narrowed by the share of the corpus
    that the sample is; that of failures is Wilson's.
    """
    from scipy.stats import (
        binomtest,
    )  # takes as long to import as the rest of `huetrack preprocess`

    total, measured = len(videos), len(sample.costs)
    shards = -(-total // videos_per_shard)
    seconds, frames, size = (
        np.array([getattr(cost, name) for cost in sample.costs], dtype=np.float64)
        for name in ("seconds", "frames", "bytes")
    )
    unseen = np.sqrt(1 - measured / total)
    chosen = np.random.default_rng(seed).integers(0, measured, (_RESAMPLES, measured))

    def estimate(figure: Callable[[np.ndarray], np.ndarray]) -> Estimate:
        """`figure` maps indices [..., n] of sampled videos to numbers [...]."""
        expected = float(figure(np.arange(measured)))
        tail = 50 * (1 - CONFIDENCE)
        bounds = np.percentile(figure(chosen), [tail, 100 - tail])
        low, high = (expected + unseen * (float(bound) - expected) for bound in bounds)
        return Estimate(expected, low, high)

    errors = Counter(cost.error for cost in sample.costs if cost.error)
    failed = binomtest(errors.total(), measured)
    interval = failed.proportion_ci(CONFIDENCE, method="wilson")
    return SizingPlan(
        videos=total,
        source_bytes=sum(video.bytes for video in videos),
        sampled_videos=measured,
        cores=cores,
        # A shard is one task, so more cores than shards are of no use.
        hours=estimate(lambda i: seconds[i].mean(axis=-1)).scaled(
            total / min(cores, shards) / 3600
        ),
        dataset_bytes=estimate(
            lambda i: size[i].mean(axis=-1) * total + shards * sample.footer_bytes
        ),
        frames=estimate(lambda i: frames[i].mean(axis=-1)).scaled(total),
        frames_per_s_a_core=estimate(
            lambda i: frames[i].sum(axis=-1) / np.maximum(seconds[i].sum(axis=-1), 1e-9)
        ),
        failed_share=Estimate(float(failed.statistic), float(interval.low), float(interval.high)),
        errors=dict(sorted(errors.items())),
        worker_memory_bytes=sample.worker_rss_bytes,
        memory_bytes=cores * sample.worker_rss_bytes + sample.driver_rss_bytes,
    )
