"""A small dataset, and options of trainings on it that take seconds."""

from collections.abc import Callable
from pathlib import Path

from jobs.probe_options import ProbeConfig
from jobs.tracking_uri import TrackingUri
from jobs.train_options import TrainOptions
from model.colorizer import ColorizerConfig
from model.fitter import FitConfig
from pipelines.clip_rows import BatchConfig
from pipelines.codebook import CodebookConfig
from pipelines.corpus import CorpusConfig
from pipelines.dataset_folder import PreprocessConfig
from pipelines.decode import DecodeConfig
from pipelines.preprocess import preprocess
from pipelines.shard_maker import ShardConfig
from tests.conftest import MakeVideo

Training = Callable[..., TrainOptions]
"""(run, steps=STEPS, **options) -> options of a training of a few seconds; two workers unless told,
which have two and three clips of each batch."""
STEPS, EVERY = 120, 10
"""Steps of a training, and steps between two checkpoints, each of which is validated."""


def small_train_dataset(folder: Path, make_video: MakeVideo) -> Path:
    """Ten videos of two seconds, two of them held out, at 64 px. Ray must be connected."""
    for seed in range(10):
        make_video(folder / "videos" / f"{seed}.mp4", frames=30, fps_hz=12, seed=seed)
    config = PreprocessConfig(
        corpus=CorpusConfig(val_share=0.2),
        decode=DecodeConfig(size_px=64),
        codebook=CodebookConfig(pixels=2000),
        shards=ShardConfig(videos_per_shard=4),
    )
    assert preprocess([str(folder / "videos")], folder / "dataset", config, workers=2) is not None
    return folder / "dataset"


def trainings_on(dataset: Path) -> Training:
    """They all log into one store of MLflow (making one takes seconds), beside the dataset."""

    def options(run: Path, steps: int = STEPS, **changes: object) -> TrainOptions:
        fit = {"steps": steps, "log_every": 1, "validate_every": EVERY, "checkpoint_every": EVERY}
        fit |= changes.pop("fit", {})
        settings = {
            "workers": 2,
            "tracking_uri": TrackingUri(f"sqlite:///{dataset.parent / 'mlflow.db'}"),
            "register": "",
            "model": ColorizerConfig(width=4, embedding_channels=8, head="linear"),
            "batches": BatchConfig(batch_size=5, resolution_px=64, shuffle_buffer=16),
            "probe": ProbeConfig(every=0),
        }
        return TrainOptions(dataset, run=run, fit=FitConfig(**fit), **(settings | changes))

    return options
