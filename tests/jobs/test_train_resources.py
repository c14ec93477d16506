"""More workers than there is room for: an error that names what is missing, in time."""

import os
from pathlib import Path

import pytest
import ray

from jobs.train_options import TrainOptions
from jobs.train_resources import wait_for_resources, worker_resources
from model.errors import UserError

pytestmark = pytest.mark.usefixtures("ray_session")
CPU, GPU = {"CPU": 1.0}, {"CPU": 1.0, "GPU": 1.0}


def options(**changes: object) -> TrainOptions:
    return TrainOptions(Path("dataset"), run=Path("run"), **changes)


def test_a_machine_of_its_own_has_only_its_cores() -> None:
    cores = len(os.sched_getaffinity(0))
    with pytest.raises(UserError, match=f"needs 9999 CPUs; this machine has {cores} CPU"):
        wait_for_resources(options(workers=9999), CPU)


def test_gpus_that_are_not_there() -> None:
    with pytest.raises(UserError, match=r"needs 1 CPU and 1 GPU; this machine has \d+ CPUs? and 0"):
        wait_for_resources(options(device="gpu"), worker_resources(options(device="gpu")))


@pytest.mark.parametrize(
    ("changes", "named"),
    [({"workers": 90}, "--workers 90"), ({"workers": 90, "min_workers": 80}, "--min-workers 80")],
)
def test_a_cluster_is_waited_for_and_not_for_ever(
    monkeypatch: pytest.MonkeyPatch, changes: dict[str, int], named: str
) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "a cluster")  # of which this Ray is one node
    asked = options(resources_timeout_s=0.5, **changes)
    with pytest.raises(UserError) as told:
        wait_for_resources(asked, CPU)
    there = f"{ray.cluster_resources()['CPU']:g} CPUs"
    wanted = named.split()[1]
    assert str(told.value).startswith(
        f"{named} needs {wanted} CPUs; after 0 s the cluster has {there}"
    )


def test_fewer_workers_do_where_that_is_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "a cluster")
    wait_for_resources(options(workers=90, min_workers=1, resources_timeout_s=200), CPU)
    assert not ray.util.placement_group_table() or all(
        group["state"] == "REMOVED" for group in ray.util.placement_group_table().values()
    )


@pytest.mark.parametrize(("device", "gpus", "cuda", "wanted"), [
    ("auto", 0, "13.0", CPU),
    ("auto", 8, "13.0", GPU),
    ("auto", 8, None, CPU),
    ("cpu", 8, "13.0", CPU),
    ("gpu", 0, "13.0", GPU),
])  # fmt: skip
def test_workers_take_gpus_where_there_are_some(
    monkeypatch: pytest.MonkeyPatch, device: str, gpus: int, cuda: str | None, wanted: object
) -> None:
    """The driver's own machine need not have one."""
    monkeypatch.setattr(ray, "cluster_resources", lambda: {"CPU": 4.0, "GPU": float(gpus)})
    monkeypatch.setattr("torch.version.cuda", cuda)
    assert worker_resources(options(device=device)) == wanted
