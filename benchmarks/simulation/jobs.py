"""The three jobs on a simulated cluster: how long, how much, what is asked of the object store."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import ceil

import numpy as np

from benchmarks.simulation.pool import Cluster, Outcome, Task, work_through
from benchmarks.simulation.rates import (
    ArchiveRates,
    Corpus,
    ObjectStore,
    PreprocessRates,
    TrainRates,
)
from pipelines.archive_stage import share_out as share_out_videos
from pipelines.shard_maker import ShardPlan
from pipelines.shard_stage import share_out as share_out_shards

_KEYS_A_PAGE = 1000


@dataclass(frozen=True)
class StageCost:
    """One stage of a job."""

    name: str
    outcome: Outcome
    gets: float = 0.0
    puts: float = 0.0
    read_bytes: float = 0.0
    written_bytes: float = 0.0

    @property
    def busiest(self) -> str:
        """What would have to grow first."""
        busy = self.outcome.busy
        return max(busy, key=lambda name: busy[name])


def preprocessing(
    corpus: Corpus,
    cluster: Cluster,
    store: ObjectStore,
    rates: PreprocessRates = PreprocessRates(),  # noqa: B008  # frozen
    seed: int = 0,
) -> list[StageCost]:
    """Listing, codebook and shards, from object store to object store."""
    pages = ceil(corpus.videos / _KEYS_A_PAGE)
    listing_s = pages * store.list_s_a_page + corpus.videos * rates.listing_s_a_video
    sampled = min(rates.codebook_videos, corpus.videos)
    fetch_s = _fetch_s(corpus, store)
    colours = [
        Task(
            fetch_s + rates.codebook_core_s_a_video,
            {"GET": rates.gets_a_video},
            corpus.bytes_a_video,
        )
    ]
    codebook = work_through(
        colours * sampled,
        cluster,
        limits_per_s=_limits(store),
        dispatch_s=rates.driver_s_a_task,
        seed=seed,
    )
    shards = ceil(corpus.videos / rates.videos_per_shard)
    tasks = [
        len(plans) for plans in share_out_shards([ShardPlan(0, 0, 0, None)] * shards, cluster.cores)
    ]
    made = work_through(
        _shard_tasks(tasks, corpus, store, rates, seed),
        cluster,
        limits_per_s=_limits(store),
        dispatch_s=rates.driver_s_a_task + rates.driver_s_a_shard * shards / len(tasks),
        seed=seed,
    )
    frames = corpus.videos * sampled_frames(corpus, rates)
    read = corpus.videos * corpus.bytes_a_video
    return [
        StageCost("listing", _alone(listing_s), gets=0.0, puts=float(pages)),
        StageCost(
            "codebook",
            _followed_by(codebook, rates.codebook_fit_s),
            gets=sampled * rates.gets_a_video,
            read_bytes=sampled * corpus.bytes_a_video,
        ),
        StageCost(
            "shards",
            made,
            gets=corpus.videos * rates.gets_a_video + shards * rates.gets_a_shard,
            puts=shards * rates.puts_a_shard,
            read_bytes=read,
            written_bytes=frames * rates.bytes_a_frame,
        ),
    ]


def sampled_frames(corpus: Corpus, rates: PreprocessRates) -> float:
    """Of a video."""
    return corpus.duration_s * rates.sampled_fps_hz


def core_s_a_video(corpus: Corpus, rates: PreprocessRates) -> float:
    """Decoding and all that follows."""
    return (
        rates.core_s_a_video
        + rates.core_s_a_sampled_frame * sampled_frames(corpus, rates)
        + rates.core_s_a_megapixel * corpus.frames * corpus.megapixels
    )


def training(
    rates: TrainRates,
    *,
    gpus: int,
    nodes: int,
    interruptions_per_node_hour: float = 0.0,
    seed: int = 0,
) -> StageCost:
    """All workers step together, so the loss of any node takes all of them back to the last checkpoint."""
    step_s = rates.batch_clips * rates.clip_frames / (rates.images_per_s_a_gpu * gpus)
    checkpoints = ceil(rates.steps / rates.checkpoint_every)
    together = Cluster(
        nodes=1,
        cores_per_node=1,
        interruptions_per_node_hour=nodes * interruptions_per_node_hour,
        replacement_s=rates.restart_s,
    )
    outcome = work_through(
        [Task(step_s * rates.checkpoint_every)] * checkpoints, together, seed=seed
    )
    return StageCost(
        "train", outcome, puts=2.0 * checkpoints, written_bytes=checkpoints * rates.checkpoint_bytes
    )


def labelling(
    corpus: Corpus,
    cluster: Cluster,
    store: ObjectStore,
    rates: ArchiveRates = ArchiveRates(),  # noqa: B008  # frozen
    seed: int = 0,
) -> list[StageCost]:
    """An archive labelled: headers read, then videos, each one worker's from its first to its last frame."""
    videos = [(None, round(corpus.frames))] * corpus.videos
    counts = np.array([len(task) for task in share_out_videos(videos, cluster.cores)])
    core_s = _spread(counts, corpus.frames * rates.core_s_a_frame, rates.spread, seed)
    fetch_s = _fetch_s(corpus, store)
    puts_a_video = rates.puts_a_video + rates.puts_a_frame * corpus.frames
    tasks = [
        Task(
            float(seconds + count * fetch_s),
            {"GET": count * rates.gets_a_video, "PUT": count * puts_a_video},
            count * corpus.bytes_a_video,
            parts=count,
        )
        for count, seconds in sorted(zip(counts.tolist(), core_s, strict=True), key=lambda t: -t[1])
    ]
    outcome = work_through(
        tasks,
        cluster,
        limits_per_s=_limits(store),
        dispatch_s=rates.driver_s_a_task,
        seed=seed,
    )
    a_frame = (
        rates.mask_bytes_a_frame + rates.overlay_bytes_a_frame + rates.prediction_bytes_a_frame
    )
    headers = corpus.videos * rates.header_gets
    return [
        StageCost(
            "headers", _alone(headers * store.first_byte_s / rates.headers_at_once), gets=headers
        ),
        StageCost(
            "propagate",
            outcome,
            gets=corpus.videos * rates.gets_a_video,
            puts=corpus.videos * puts_a_video,
            read_bytes=corpus.videos * corpus.bytes_a_video,
            written_bytes=corpus.videos * corpus.frames * a_frame,
        ),
    ]


def _shard_tasks(
    shards_in: Sequence[int],
    corpus: Corpus,
    store: ObjectStore,
    rates: PreprocessRates,
    seed: int,
) -> list[Task]:
    """Of so many shards each; the last one is filled up, which nobody will notice."""
    shards = np.array(shards_in)
    videos = shards * rates.videos_per_shard
    core_s = _spread(videos, core_s_a_video(corpus, rates), rates.spread, seed)
    fetch_s = _fetch_s(corpus, store)
    stored = sampled_frames(corpus, rates) * rates.bytes_a_frame
    return [
        Task(
            seconds + many * fetch_s,
            {
                "GET": many * rates.gets_a_video + few * rates.gets_a_shard,
                "PUT": few * rates.puts_a_shard,
            },
            many * (corpus.bytes_a_video + stored),
            parts=few,
        )
        for few, many, seconds in zip(
            shards.tolist(), videos.tolist(), core_s.tolist(), strict=True
        )
    ]


def _spread(counts: np.ndarray, mean: float, spread: float, seed: int) -> np.ndarray:
    """Sums of so many gamma variates each, of this mean and of this standard deviation over the mean."""
    shape = 1 / spread**2
    return np.random.default_rng(seed).gamma(counts * shape, mean / shape)


def _fetch_s(corpus: Corpus, store: ObjectStore) -> float:
    """A worker does nothing else meanwhile."""
    return store.first_byte_s + corpus.bytes_a_video / store.stream_bytes_per_s


def _limits(store: ObjectStore) -> Mapping[str, float]:
    return {
        "GET": store.gets_per_s * store.prefixes,
        "PUT": store.puts_per_s * store.prefixes,
    }


def _alone(seconds: float) -> Outcome:
    """The driver alone."""
    return Outcome(seconds, 0.0, 0.0, 0.0, 0, {"driver": 1.0})


def _followed_by(outcome: Outcome, seconds: float) -> Outcome:
    total_s = outcome.seconds + seconds
    busy = {name: share * outcome.seconds / total_s for name, share in outcome.busy.items()}
    busy["driver"] += seconds / total_s
    return Outcome(
        total_s,
        outcome.core_s,
        outcome.repeated_core_s,
        outcome.longest_repeat_s,
        outcome.interruptions,
        busy,
    )
