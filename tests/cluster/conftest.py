"""A cluster of three nodes, each a network namespace with an address of its own."""

import os
from collections.abc import Iterator

import pytest

from benchmarks.bed.bed import Bed, cluster_bed
from benchmarks.bed.network import why_not
from benchmarks.bed.nodes import NodeSettings
from benchmarks.bed.services import why_no_postgresql


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
    head, first, second = (NodeSettings(cpus=1, cores=(core,)) for core in (cores * 3)[:3])
    with cluster_bed([first, second], head=head, token=token) as started:
        yield started
