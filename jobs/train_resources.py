"""CPUs and GPUs for the workers: counted and waited for before training starts, never for ever."""

import os
from collections.abc import Iterable, Mapping

import ray
import torch
from ray.util.placement_group import placement_group, remove_placement_group

from jobs.cluster import available_cpus
from jobs.placement import label_selector
from jobs.train_options import TrainOptions
from model.errors import UserError


def worker_resources(options: TrainOptions) -> dict[str, float]:
    """What one worker takes of the cluster. Call it inside `connected_ray`."""
    if options.device == "cpu":
        return {"CPU": 1.0}
    # The driver's machine may have no GPU where the workers' have some; their PyTorch is the same.
    gpus = ray.cluster_resources().get("GPU", 0.0) if torch.version.cuda else 0.0
    if options.device == "gpu" or gpus:
        return {"CPU": 1.0, "GPU": 1.0}
    return {"CPU": 1.0}


def wait_for_resources(options: TrainOptions, worker: dict[str, float]) -> None:
    """Return when the least number of workers can start.

    Raises `UserError` that names what is wanted and what is there: at once for a Ray on this machine
    alone, which will not grow, else after `resources_timeout_s`. Asking makes a cluster that scales by
    itself start machines.
    """
    least = options.least_workers
    if not os.environ.get("RAY_ADDRESS"):
        # A Ray of our own has as many logical CPUs as are asked for, so cores are counted here.
        here = {"CPU": float(available_cpus()), "GPU": ray.cluster_resources().get("GPU", 0.0)}
        if any(count * least > here[name] for name, count in worker.items()):
            raise _missing(options, worker, f"this machine has {_counted(here, worker)}")
    selector = label_selector(options.label_selector)
    group = placement_group(
        [worker] * least, bundle_label_selector=[selector] * least if selector else None
    )
    try:
        if group.wait(options.resources_timeout_s):
            return
    finally:
        remove_placement_group(group)
    there, free = ray.cluster_resources(), ray.available_resources()
    raise _missing(
        options,
        worker,
        f"after {options.resources_timeout_s:.0f} s the cluster has {_counted(there, worker)}, of "
        f"which {_counted(free, worker)} are free",
    )


def _missing(options: TrainOptions, worker: dict[str, float], there: str) -> UserError:
    least = options.least_workers
    flag = "--workers" if options.min_workers is None else "--min-workers"
    wanted = _counted({name: least * count for name, count in worker.items()}, worker)
    return UserError(f"{flag} {least} needs {wanted}; {there}")


def _counted(resources: Mapping[str, float], names: Iterable[str]) -> str:
    """`{"CPU": 4, "GPU": 1, ...}` -> `4 CPUs and 1 GPU`."""
    counts = {name: resources.get(name, 0.0) for name in names}
    return " and ".join(f"{n:g} {name}{'' if n == 1 else 's'}" for name, n in counts.items())
