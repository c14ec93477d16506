"""A training on several machines."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from jobs.train import train
from model.errors import UserError
from tests.machines import Machine, another_machine
from tests.trainings import Training


@pytest.fixture
def machine(ray_session: None) -> Iterator[Machine]:
    with another_machine() as started:
        yield started


def test_several_machines_cannot_share_a_sqlite_file_and_no_folder_is_made(
    training: Training, machine: Machine, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match="2 nodes of this Ray cluster cannot share a SQLite file"):
        train(training(tmp_path / "run"))
    assert not (tmp_path / "run").exists()
