"""A small dataset, and a training on it that nothing happened to."""

from pathlib import Path

import pytest

from jobs.train import train
from tests.conftest import MakeVideo
from tests.trainings import Training, small_train_dataset, trainings_on


@pytest.fixture(scope="session")
def train_dataset(
    ray_session: None, tmp_path_factory: pytest.TempPathFactory, make_video: MakeVideo
) -> Path:
    return small_train_dataset(tmp_path_factory.mktemp("training"), make_video)


@pytest.fixture(scope="session")
def training(train_dataset: Path) -> Training:
    return trainings_on(train_dataset)


@pytest.fixture(scope="session")
def undisturbed(training: Training, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run of a training of `STEPS` steps with two workers."""
    run = tmp_path_factory.mktemp("undisturbed") / "run"
    train(training(run))
    return run
