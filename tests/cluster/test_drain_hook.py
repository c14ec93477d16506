"""The hook that Kubernetes runs when a machine goes, on a node of the cluster."""

import os
import subprocess
import time
from pathlib import Path

import pytest
import yaml
from ray._raylet import GcsClient
from ray.autoscaler.v2.sdk import get_cluster_resource_state
from ray.core.generated.autoscaler_pb2 import NodeState, NodeStatus

from benchmarks.bed.bed import Bed
from benchmarks.bed.network import standing_in
from benchmarks.bed.nodes import GCS_PORT
from tests.conftest import REPOSITORY

CLUSTER_FILE = REPOSITORY / "infra" / "kuberay" / "cluster.yaml"
LEAVING = (NodeStatus.DRAINING, NodeStatus.DEAD)


def hook() -> list[str]:
    """The command of infra/kuberay/cluster.yaml, without its pause."""
    (cluster,) = (
        d for d in yaml.safe_load_all(CLUSTER_FILE.read_text()) if d["kind"] == "RayCluster"
    )
    containers = [
        container
        for group in cluster["spec"]["workerGroupSpecs"]
        for container in group["template"]["spec"]["containers"]
    ]
    (words,) = (
        c["lifecycle"]["preStop"]["exec"]["command"] for c in containers if "lifecycle" in c
    )
    drain, pause, _ = words[-1].partition("; sleep")
    assert pause
    return [*words[:-1], drain]


@pytest.mark.minutes
@pytest.mark.timeout(300)
def test_the_hook_drains_its_own_node_and_no_other(bed: Bed) -> None:
    node = bed.workers[0]
    gcs = f"{bed.head.machine.address}:{GCS_PORT}"
    raylet = next(p for p in node.processes() if b"/raylet\0" in of_process(p, "cmdline"))
    content = of_process(raylet, "environ").split(b"\0")
    variables = dict(os.fsdecode(part).split("=", 1) for part in content if b"=" in part)
    addresses = {n.node_id: n.node_ip_address for n in states(bed) if n.status != NodeStatus.DEAD}
    try:
        drained = subprocess.run(
            ["nsenter", "--target", str(raylet), "--net", "--pid", "--mount", "--uts", *hook()],
            env={**variables, "RAY_ADDRESS": gcs},  # as KubeRay sets it in a worker's container
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert drained.returncode == 0, drained.stderr
        # One that nothing runs on is gone at once.
        leaving: set[str] = set()
        deadline_s = time.monotonic() + 60
        while not leaving and time.monotonic() < deadline_s:
            leaving = {n.node_id for n in states(bed) if n.status in LEAVING} & addresses.keys()
            time.sleep(0.2)
        assert [addresses[node_id] for node_id in leaving] == [node.machine.address]
    finally:
        node.server.kill()  # its supervisor starts another one
        bed.wait_for_nodes(1 + len(bed.workers))


def states(bed: Bed) -> list[NodeState]:
    gcs = f"{bed.head.machine.address}:{GCS_PORT}"
    with standing_in(bed.network.hub):
        return list(get_cluster_resource_state(GcsClient(address=gcs)).node_states)


def of_process(process: int, name: str) -> bytes:
    return Path(f"/proc/{process}/{name}").read_bytes()
