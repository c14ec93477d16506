"""How shards are shared out among workers. Making them is tested in `test_preprocess`."""

from itertools import chain, pairwise

import pytest

from pipelines.shard_maker import ShardPlan
from pipelines.shard_stage import share_out


def plans(files: int, archives: tuple[int, ...] = ()) -> list[ShardPlan]:
    places = [None] * files
    members = [f"/{name}.tar" for name, shards in enumerate(archives) for _ in range(shards)]
    return [ShardPlan(i, i, i + 1, archive) for i, archive in enumerate([*places, *members])]


@pytest.mark.parametrize(("files", "workers"), [(0, 1), (1, 2), (100, 1), (5_000, 2), (5_000, 16)])
def test_every_shard_is_made_once_and_at_the_end_one_at_a_time(files: int, workers: int) -> None:
    tasks = share_out(plans(files, (3, 40)), workers)
    assert list(chain.from_iterable(tasks)) == plans(files, (3, 40))
    assert [len(task) for task in tasks[-2:]] == [3, 40]
    lengths = [len(task) for task in tasks[:-2]]
    assert all(a >= b >= 1 for a, b in pairwise(lengths))
    assert max(lengths, default=0) <= 8
    assert lengths[-workers:] == [1] * min(files, workers)


def test_a_task_is_a_small_part_of_what_is_left() -> None:
    """So that a worker whose last task began late keeps the others waiting for a moment only."""
    left = 5_000
    for task in share_out(plans(left), 3):
        assert len(task) == 1 or len(task) * 3 * 50 <= left
        left -= len(task)


def test_a_large_corpus_takes_few_tasks_and_a_small_one_a_task_a_shard() -> None:
    assert len(share_out(plans(18_750), 2)) < 3_000
    assert [len(task) for task in share_out(plans(120), 1)] == [1] * 120
