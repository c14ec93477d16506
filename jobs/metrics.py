"""Our own figures for Prometheus, beside Ray's: every node exports them at its metrics port.

Ray puts `ray_` in front of a name and `_total` behind a counter's. The dashboard in infra/monitoring/ shows
these and no others of ours. What is counted is what this process has done, from zero, as Prometheus expects.
"""

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from ray.util import metrics

from pipelines.progress import Remark, Throughput

if TYPE_CHECKING:
    from model.fit import TrainRecord  # which loads PyTorch


@dataclass(frozen=True)
class Figure:
    """A figure and its labels; `output` is the name of the folder that a run makes."""

    name: str
    kind: Literal["counter", "gauge"]
    description: str
    labels: tuple[str, ...] = ("stage", "output")

    @property
    def exported(self) -> str:
        """Its name in Prometheus."""
        return f"ray_{self.name}" + ("_total" if self.kind == "counter" else "")


VIDEOS = Figure("huetrack_videos", "counter", "Videos gone through, the failed ones included.")
FRAMES = Figure("huetrack_frames", "counter", "Frames made: sampled ones, or labelled ones.")
ERRORS = Figure(
    "huetrack_errors", "counter", "Videos that failed, by kind.", ("stage", "output", "kind")
)
PROPAGATION_FPS = Figure(
    "huetrack_propagation_fps", "gauge", "Frames labelled a second by this run so far.", ("output",)
)
TRAINER_WAIT = Figure(
    "huetrack_trainer_wait_share",
    "gauge",
    "Share of the time spent waiting for batches.",
    ("output",),
)
TRAIN_IMAGES = Figure(
    "huetrack_train_images_per_s", "gauge", "Frames trained on a second.", ("output",)
)
TRAIN_STEP = Figure("huetrack_train_step", "gauge", "Steps trained.", ("output",))
FIGURES = (VIDEOS, FRAMES, ERRORS, PROPAGATION_FPS, TRAINER_WAIT, TRAIN_IMAGES, TRAIN_STEP)


class WorkFigures:
    """Counts the work of a stage; call it like `pipelines.progress.Progress`, inside a connected Ray."""

    def __init__(self, output: str) -> None:
        self._output = {"output": output}
        self._videos, self._frames = _counter(VIDEOS), _counter(FRAMES)
        self._errors = _counter(ERRORS)
        self._fps = _gauge(PROPAGATION_FPS)
        self._before: dict[str, Throughput] = {}

    def __call__(self, stage: str, done: int, total: int, remark: Remark = "") -> None:
        if not isinstance(remark, Throughput):
            return
        before = self._before.get(stage, Throughput())
        self._before[stage] = remark
        labels = {"stage": stage, **self._output}
        for counter, more in (
            (self._videos, remark.videos - before.videos),
            (self._frames, remark.frames - before.frames),
        ):
            if more > 0:
                counter.inc(more, labels)
        for kind, more in (Counter(remark.kinds) - Counter(before.kinds)).items():
            self._errors.inc(more, {**labels, "kind": kind})
        if stage == "propagate":
            self._fps.set(remark.frames_per_s, self._output)


class TrainingFigures:
    """Shows how a training gets on. Make one in one worker."""

    def __init__(self, output: str) -> None:
        self._output = {"output": output}
        self._wait, self._images = _gauge(TRAINER_WAIT), _gauge(TRAIN_IMAGES)
        self._step = _gauge(TRAIN_STEP)

    def __call__(self, record: "TrainRecord") -> None:
        self._wait.set(record.data_wait_share, self._output)
        self._images.set(record.images_per_s, self._output)
        self._step.set(record.step, self._output)


def _counter(figure: Figure) -> metrics.Counter:
    return metrics.Counter(figure.name, figure.description, tag_keys=figure.labels)


def _gauge(figure: Figure) -> metrics.Gauge:
    return metrics.Gauge(figure.name, figure.description, tag_keys=figure.labels)
