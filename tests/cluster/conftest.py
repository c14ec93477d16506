"""A cluster of three nodes, each a network namespace with an address of its own."""

import os
from collections.abc import Iterator

import pytest

from benchmarks.bed.bed import Bed, cluster_bed
from benchmarks.bed.network import why_not
from benchmarks.bed.nodes import NodeSettings
from benchmarks.bed.services import why_no_postgresql

ON_A_BUSY_MACHINE = {
    # Ray Data gives work to a worker as soon as it is there, and the first one may have done all of so
    # small a corpus before the second one has loaded its modules.
    "RAY_DATA_DEFAULT_WAIT_FOR_MIN_ACTORS_S": "240",
    # Workers give way to all other processes.
    "RAY_worker_niceness": "0",
}


@pytest.fixture(scope="session")
def bed() -> Iterator[Bed]:
    """A head and two more nodes with one core each, S3, and MLflow over PostgreSQL.

    One core, so that PyTorch sums with one thread everywhere, and in the same order.
    """
    reason = why_not() or why_no_postgresql()
    if reason:
        pytest.skip(reason)
    token = os.environ["RAY_AUTH_TOKEN"]
    cores = sorted(os.sched_getaffinity(0))
    head, first, second = (
        NodeSettings(cpus=1, cores=(core,), variables=ON_A_BUSY_MACHINE) for core in (cores * 3)[:3]
    )
    with cluster_bed([first, second], head=head, token=token) as started:
        yield started
