"""The stage that labels the videos of an archive, on whatever Ray is connected: who gets what, and when."""

from collections.abc import Iterator, Sequence

import ray

from pipelines.archive_plan import longest_first
from pipelines.footage import Footage
from pipelines.ray_rows import groups_as_rows
from pipelines.video_labeller import LabelJob, LabelledRow, VideoLabeller

_TASKS_A_WORKER = 64
"""At least, where there are as many videos: what one task takes is small against the whole run."""
_MOST_VIDEOS_A_TASK = 8
"""What watchers wait for until they see progress."""


def label_videos(
    job: LabelJob, fresh: Sequence[Footage], finished: Sequence[Footage]
) -> Iterator[LabelledRow]:
    """What became of each video, in no order; those that are `finished` are corrected. Ray must be
    connected.

    The longest videos go first. A video streams through one worker from its first to its last frame:
    nothing of it is handed on, so a long one takes no more memory than a short one.
    """
    if not fresh and not finished:
        return
    correct = {item.video_id for item in finished}
    groups = share_out(longest_first([*fresh, *finished]), job.workers)
    tasks = [
        [
            {
                "video_id": item.video_id,
                "path": str(item.path),
                "correct": item.video_id in correct,
            }
            for item in group
        ]
        for group in groups
    ]
    dataset = groups_as_rows(tasks, "videos", blocks=len(tasks), one_by_one=False).flat_map(
        VideoLabeller,
        fn_constructor_args=(job,),
        compute=ray.data.ActorPoolStrategy(
            size=min(job.workers, len(tasks)), max_tasks_in_flight_per_actor=1
        ),
        num_cpus=1,
        num_gpus=_gpus_per_worker(job.workers),
    )
    for record in dataset.iter_rows():
        yield LabelledRow(**record)


def share_out(videos: Sequence[tuple[Footage, int]], workers: int) -> list[list[Footage]]:
    """What a worker labels in a row, of videos with their numbers of frames, the longest first.

    A task costs Ray milliseconds of the driver. So short videos go together, the fewer the less is left
    ("guided self-scheduling", Polychronopoulos and Kuck 1987), and all workers end together.
    """
    left = sum(frames for _, frames in videos)
    tasks: list[list[Footage]] = []
    held = 0
    for footage, frames in videos:
        most = max(1, left // (_TASKS_A_WORKER * workers))
        if not tasks or held + frames > most or len(tasks[-1]) == _MOST_VIDEOS_A_TASK:
            left -= held
            tasks.append([])
            held = 0
        tasks[-1].append(footage)
        held += frames
    return tasks


def _gpus_per_worker(workers: int) -> float:
    gpus = float(ray.cluster_resources().get("GPU", 0))
    return min(1.0, gpus / workers)
