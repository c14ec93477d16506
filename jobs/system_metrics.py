"""What the machines of a training are busy with, in its MLflow run."""

import contextlib
from collections.abc import Iterator

from jobs.tracking import TrackedRun, Tracker


@contextlib.contextmanager
def system_metrics(run: TrackedRun, node: str = "") -> Iterator[None]:
    """While in the body, log CPU, memory, disk and network of this machine every ten seconds.

    They are called `system/...`, or `system/NODE/...` of a node with a name. GPUs are there where
    `pynvml` is. MLflow's monitor does it in a thread, and stops for good when its server does not answer.
    """
    with contextlib.ExitStack() as stack:

        def start(_: object) -> None:
            from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor

            monitor = SystemMetricsMonitor(
                run.run_id, resume_logging=True, node_id=node or None, tracking_uri=run.uri.secret
            )
            monitor.start()
            stack.callback(monitor.finish)

        Tracker(run).attempt(start)
        yield


@contextlib.contextmanager
def worker_system_metrics(run: TrackedRun) -> Iterator[None]:
    """`system_metrics` in a Ray Train worker: once on every machine, numbered where there are several."""
    import ray.train

    context = ray.train.get_context()
    with contextlib.ExitStack() as stack:
        if context.get_local_rank() == 0:
            several = context.get_world_size() > context.get_local_world_size()
            node = f"node-{context.get_node_rank()}" if several else ""
            stack.enter_context(system_metrics(run, node))
        yield
