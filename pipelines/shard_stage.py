"""The stage of preprocessing that makes what shards are missing, on whatever Ray is connected."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass

import ray

from pipelines.codebook import Codebook
from pipelines.decode import DecodeConfig
from pipelines.fetch import grouped_for_reading
from pipelines.progress import Meter, Progress
from pipelines.ray_rows import groups_as_rows
from pipelines.s3 import StorageError
from pipelines.shard_maker import ShardConfig, ShardMaker, ShardPlan
from pipelines.shards import Marker, marker_from_json, marker_path, read_markers
from pipelines.storage import Location, remove_files

MakerArguments = tuple[DecodeConfig, ShardConfig, Codebook, Location, Location, str]
"""Of `ShardMaker`: settings, codebook, the manifest's file, the folder of the shards, and the fingerprint
of them all."""

_TASKS_A_WORKER = 64
"""At least, where there are as many shards: what one task takes is small against the whole run."""
_LONGEST_TASK = 8
"""In shards: what watchers wait for until they see progress, and what is made again when a worker dies."""


@dataclass(frozen=True)
class Shards:
    """The shards of a dataset, all of them committed."""

    markers: list[Marker]
    made: list[Marker]
    """Those that were made now."""
    seconds: float
    """That making them took."""


def make_shards(
    plans: Sequence[ShardPlan],
    maker: MakerArguments,
    *,
    workers: int,
    retry_errors: bool,
    progress: Progress,
) -> Shards:
    """Make the shards that have no valid marker, and with `retry_errors` those with failed videos.

    Raises `StorageError` when a shard cannot be stored; what is committed stays.
    """
    started_s = time.monotonic()
    *_, clips, wanted = maker
    clips.mkdir(parents=True, exist_ok=True)
    found = read_markers(clips)
    valid = {
        name: marker
        for name, marker in found.items()
        if marker.fingerprint == wanted and not (retry_errors and marker.error_rows)
    }
    # A worker takes a shard with a marker for one that was made in this run.
    remove_files([marker_path(clips / name) for name in sorted(found.keys() - valid.keys())])
    markers = {plan.name: valid.get(plan.name) for plan in plans}
    pending = [plan for plan in plans if markers[plan.name] is None]
    made: list[Marker] = []
    meter = Meter()
    progress("shards", len(plans) - len(pending), len(plans), meter.now())
    if pending:
        for marker in _committed(pending, maker, workers):
            markers[marker.shard] = marker
            made.append(marker)
            work = meter.add(
                videos=marker.videos,
                errors=[row.kind for row in marker.error_rows],
                frames=marker.frames,
                bytes=marker.bytes,
            )
            progress("shards", len(plans) - len(pending) + len(made), len(plans), work)
    missing = [name for name, marker in markers.items() if marker is None]
    if missing:
        raise RuntimeError(f"{len(missing)} shards are missing, the first is {missing[0]}; rerun")
    every = [marker for marker in markers.values() if marker is not None]
    return Shards(every, made, time.monotonic() - started_s)


def _committed(
    pending: Sequence[ShardPlan], maker: MakerArguments, workers: int
) -> Iterator[Marker]:
    """Of the shards as they are committed, in no order. They come with the rows: the driver asks the store
    for nothing while many workers make shards."""
    groups = share_out(pending, workers)
    dataset = groups_as_rows(
        [[asdict(plan) for plan in group] for group in groups],
        "plans",
        blocks=len(groups),
        one_by_one=any(plan.archive is not None for plan in pending),
    ).flat_map(
        ShardMaker,
        fn_constructor_args=maker,
        compute=ray.data.ActorPoolStrategy(
            size=min(workers, len(groups)), max_tasks_in_flight_per_actor=2
        ),
        num_cpus=1,
    )
    for row in dataset.iter_rows():
        if row["failed"]:
            raise StorageError(f"{row['failed']}; a rerun goes on from here")
        yield marker_from_json(row["marker"])


def share_out(pending: Sequence[ShardPlan], workers: int) -> list[list[ShardPlan]]:
    """What a worker makes in a row: all shards of an archive, and of files a few when there are many.

    A task costs Ray milliseconds of the driver and kilobytes, and a worker that waits for its next one up to
    a tenth of a second. The fewer shards are left, the shorter the tasks ("guided self-scheduling",
    Polychronopoulos and Kuck 1987), so that all workers end together.
    """
    files = [plan for plan in pending if plan.archive is None]
    tasks, start = [], 0
    while start < len(files):
        length = min(max(1, (len(files) - start) // (_TASKS_A_WORKER * workers)), _LONGEST_TASK)
        tasks.append(files[start : start + length])
        start += length
    members = [plan for plan in pending if plan.archive is not None]
    return tasks + grouped_for_reading(members, lambda plan: plan.archive)
