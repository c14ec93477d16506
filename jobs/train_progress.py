"""Shows how a training gets on, from the history that its workers write."""

import threading

from jobs.console import ProgressDisplay
from pipelines.run_folder import read_history
from pipelines.storage import Location


class HistoryFollower:
    """Shows the newest records of `history.jsonl` while the workers write it."""

    def __init__(self, run: Location, steps: int, workers: int, display: ProgressDisplay) -> None:
        """`workers` are as many as there are when none is lost."""
        self._run = run
        self._steps = steps
        self._workers = workers
        self._display = display
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._follow, daemon=True)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _follow(self) -> None:
        furthest = 0
        while not self._stop.wait(1.0):
            records = read_history(self._run)
            trained = [r for r in records if r["kind"] == "train"]
            if not trained:
                continue
            newest = trained[-1]
            remark = f"loss {newest['loss']:.3f}, {newest['images_per_s']:.0f} images/s"
            if newest.get("workers", self._workers) < self._workers:
                remark += f", {newest['workers']} of {self._workers} workers"
            validated = [r for r in records if r["kind"] == "validation"]
            if validated:
                remark += f", held-out accuracy {validated[-1]['accuracy']:.3f}"
                remark += f" (copying {validated[-1]['copy_accuracy']:.3f})"
            step = int(newest["step"])
            furthest = max(furthest, step)
            if step < furthest:
                remark += f", started again and repeating steps up to {furthest}"
            self._display("train", step, self._steps, remark)
