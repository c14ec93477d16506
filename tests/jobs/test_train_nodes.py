"""A machine of the cluster that is given notice and goes: a checkpoint first, then on elsewhere."""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest
import ray
from ray._raylet import GcsClient
from ray.core.generated import autoscaler_pb2
from ray.util.placement_group import placement_group, remove_placement_group

from jobs.tracking_uri import TrackingUri
from jobs.train import train
from model.errors import UserError
from pipelines.run_folder import read_history
from tests.jobs.conftest import Training

LONGEST_S = 100.0
STEPS = 400
NOTICE_S = 1.0
RECORD = "checkpoint_manager_snapshot.json"


@dataclass
class Machine:
    """A second node of the Ray of these tests."""

    process: subprocess.Popen[bytes]
    node_id: str
    gcs_address: str

    def give_notice(self) -> None:
        reason = autoscaler_pb2.DrainNodeReason.Value("DRAIN_NODE_REASON_PREEMPTION")
        deadline_ms = int((time.time() + NOTICE_S) * 1000)
        accepted, message = GcsClient(address=self.gcs_address).drain_node(
            self.node_id, reason, "the spot price rose", deadline_ms
        )
        assert accepted, message

    def take_away(self) -> None:
        processes = psutil.Process(self.process.pid).children(recursive=True)
        self.process.terminate()  # as a machine that shuts down
        _, alive = psutil.wait_procs(processes, timeout=3)
        for process in alive:
            process.kill()
        self.process.wait()


@pytest.fixture(scope="module")
def machine(ray_session: None) -> Iterator[Machine]:
    """With one CPU."""
    address = ray.get_runtime_context().gcs_address
    before = {node["NodeID"] for node in ray.nodes() if node["Alive"]}
    command = [Path(sys.executable).with_name("ray"), "start", "--address", address, "--num-cpus"]
    command += ["1", "--min-worker-port", "0", "--max-worker-port", "0", "--block"]
    command += ["--object-store-memory", "80000000"]
    process = subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=dict(os.environ)
    )

    def new_nodes() -> set[str]:
        return {node["NodeID"] for node in ray.nodes() if node["Alive"]} - before

    wait_until(lambda: bool(new_nodes()))
    started = Machine(process, new_nodes().pop(), address)
    yield started
    if process.poll() is None:
        started.take_away()
    wait_until(lambda: not new_nodes())


def wait_until(condition: Callable[[], bool]) -> None:
    deadline_s = time.monotonic() + LONGEST_S
    while not condition():
        assert time.monotonic() < deadline_s, "waited too long"
        time.sleep(0.01)


def losses(run: Path) -> dict[int, float]:
    return {r["step"]: r["loss"] for r in read_history(run) if r["kind"] == "train"}


def test_several_machines_cannot_share_a_sqlite_file_and_no_folder_is_made(
    training: Training, machine: Machine, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match="2 nodes of this Ray cluster cannot share a SQLite file"):
        train(training(tmp_path / "run"))
    assert not (tmp_path / "run").exists()


def test_a_machine_that_is_given_notice_leaves_a_checkpoint_and_training_goes_on_elsewhere(
    training: Training, machine: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The only checkpoint before the end is that of the notice; the steps after it come out the same."""
    monkeypatch.setenv("RAY_TRAIN_PREEMPTION_POLL_INTERVAL_S", "0.05")
    run = tmp_path / "run"
    options = training(
        run,
        STEPS,
        workers=1,
        max_failures=0,
        fit={"checkpoint_every": STEPS, "validate_every": STEPS},
        tracking_uri=TrackingUri("http://127.0.0.1:9"),  # machines cannot share SQLite
    )
    here = int(ray.cluster_resources()["CPU"]) - 1
    elsewhere = placement_group([{"CPU": 1}] * here, strategy="STRICT_PACK")
    assert elsewhere.wait(LONGEST_S)  # so that there is room on the machine that leaves only
    seen: dict[str, object] = {}

    def leave() -> None:
        wait_until(lambda: len(losses(run)) >= 5)
        seen["notice"] = max(losses(run))
        machine.give_notice()
        gone_s = time.monotonic() + NOTICE_S
        wait_until((run / RECORD).exists)
        (seen["saved"],) = (int(p.name.partition("_")[2]) for p in run.glob("checkpoint_*/"))
        remove_placement_group(elsewhere)
        wait_until(lambda: time.monotonic() > gone_s)
        seen["before"] = losses(run)
        machine.take_away()

    leaver = threading.Thread(target=leave)
    leaver.start()
    try:
        train(options)
    finally:
        leaver.join()
        remove_placement_group(elsewhere)
    before, after = seen["before"], losses(run)
    assert seen["notice"] <= seen["saved"] < max(before) < STEPS
    assert list(after) == list(range(1, STEPS + 1))
    assert {step: after[step] for step in before} == before
