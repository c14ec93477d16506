"""Who labels which videos, and in which order."""

from pathlib import Path

from pipelines.archive_stage import share_out
from pipelines.footage import Footage


def test_long_videos_go_first_and_short_ones_together():
    videos = [(Footage(str(i), Path(str(i)), 0), frames) for i, frames in enumerate([900, 500])]
    videos += [(Footage(str(i), Path(str(i)), 0), 10) for i in range(2, 202)]
    tasks = share_out(videos, workers=1)
    assert [item.video_id for task in tasks for item in task] == [str(i) for i in range(202)]
    assert [len(task) for task in tasks[:2]] == [1, 1]
    assert max(map(len, tasks)) == 3  # 2,000 frames in 64 tasks are 31
    assert len(tasks[-1]) == 1
    many = [(Footage(str(i), Path(str(i)), 0), 10) for i in range(5000)]
    sizes = [len(task) for task in share_out(many, workers=2)]
    assert sum(sizes) == 5000 and max(sizes) == 8 and sizes[-1] == 1
