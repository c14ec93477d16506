"""The three jobs on a small corpus of rendered videos, as commands that run on a bed or beside it.

Which prefix of the bucket a result has says which run it is of; everything else is the same.
"""

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

from benchmarks.bed.bed import BUCKET, Bed
from pipelines.scene_layout import SceneConfig
from pipelines.synthetic import write_annotated, write_corpus

Stage = Literal["preprocess", "train", "propagate"]
STAGES: tuple[Stage, ...] = ("preprocess", "train", "propagate")
_MARKER = re.compile(r"clips/shard-\d+\.json")
"""It says how long the shard took, beside the digest of its content."""
WORKERS: dict[Stage, str] = {
    "preprocess": "ShardMaker",
    "train": "RayTrainWorker",
    "propagate": "VideoLabeller",
}
"""What the classes of a stage's actors are called."""
VIDEOS, HELD_OUT = "videos", "held-out"


@dataclass(frozen=True)
class Workload:
    """How much there is to do."""

    videos: int = 8
    videos_per_shard: int = 2
    annotated: int = 3
    steps: int = 12
    checkpoint_every: int = 6
    size_px: int = 64
    duration_s: float = 1.4
    workers: int = 2

    @property
    def scene(self) -> SceneConfig:
        """Of each video."""
        return SceneConfig(height_px=96, width_px=128, duration_s=self.duration_s)

    def upload(self, bed: Bed) -> None:
        """Render the videos and put them on S3."""
        write_corpus(bed.folder / VIDEOS, self.videos, seed=0, scene=self.scene)
        write_annotated(bed.folder / HELD_OUT, self.annotated, seed=0, scene=self.scene)
        for folder in (VIDEOS, HELD_OUT):
            bed.upload(bed.folder / folder, folder)

    def command(self, stage: Stage, prefix: str, source: str | None = None) -> list[str]:
        """The command of a stage; `source` (by default `prefix`) is where earlier stages wrote to."""
        earlier = f"s3://{BUCKET}/{source or prefix}"
        out = f"s3://{BUCKET}/{prefix}"
        words: dict[Stage, list[object]] = {
            "preprocess": [
                *("preprocess", f"s3://{BUCKET}/{VIDEOS}", "--out", f"{out}/dataset"),
                *("--workers", self.workers, "--shards.videos-per-shard", self.videos_per_shard),
                *("--decode.size-px", self.size_px, "--codebook.pixels", 2000),
                *("--corpus.val-share", 0.25),
            ],
            "train": [
                *("train", f"{earlier}/dataset", "--run", f"{out}/run"),
                *("--workers", self.workers),
                *("--model.width", 4, "--model.embedding-channels", 8, "--model.head", "linear"),
                *("--batches.batch-size", 4, "--batches.resolution-px", 64, "--probe.every", 0),
                *("--fit.steps", self.steps, "--fit.log-every", 1),
                *("--fit.checkpoint-every", self.checkpoint_every),
                *("--fit.validate-every", self.checkpoint_every, "--resources-timeout-s", 120),
                "--resume",
            ],
            "propagate": [
                *("propagate", f"s3://{BUCKET}/{HELD_OUT}/videos"),
                *("--labels", f"s3://{BUCKET}/{HELD_OUT}", "--model", f"{earlier}/run+lab"),
                *("--out", f"{out}/out", "--workers", self.workers, "--protocol", "crw"),
            ],
        }
        return [str(word) for word in [*words[stage], "--experiment", f"{prefix}-{stage}"]]


def made(bed: Bed, stage: Stage, prefix: str) -> dict[str, Any]:
    """What a stage has made: digests by file, and losses. Not what tells of the run (times, places)."""
    if stage == "train":
        weights = bed.objects(f"{prefix}/run")
        found: dict[str, Any] = {
            name: weights[name]
            for name in ("model.safetensors", "best.safetensors", "codebook.json")
            if name in weights
        }
        return found | {"losses": losses(bed, prefix)}
    folder = "dataset" if stage == "preprocess" else "out"
    return {
        name: digest
        for name, digest in bed.objects(f"{prefix}/{folder}").items()
        if name != "summary.json" and not _MARKER.fullmatch(name)
    }


def losses(bed: Bed, prefix: str) -> dict[int, float]:
    """Step -> loss, the last time that it was taken."""
    return {
        record["step"]: record["loss"]
        for record in history(bed, prefix)
        if record["kind"] == "train"
    }


def history(bed: Bed, prefix: str) -> list[dict[str, Any]]:
    """The records that a training has written so far."""
    with bed.s3() as client, _nothing_yet(client):
        body = client.get_object(Bucket=BUCKET, Key=f"{prefix}/run/history.jsonl")["Body"].read()
        return [json.loads(line) for line in body.decode().splitlines()]
    return []


@contextmanager
def _nothing_yet(client: Any) -> Iterator[None]:
    try:
        yield
    except client.exceptions.NoSuchKey:
        return
