"""A machine of the cluster that is given notice and goes: a checkpoint first, then on elsewhere."""

import threading
import time
from pathlib import Path

import pytest
import ray
from ray.util.placement_group import placement_group, remove_placement_group

from jobs.tracking_uri import TrackingUri
from jobs.train import train
from pipelines.run_folder import read_history
from tests.conftest import MakeVideo
from tests.machines import LONGEST_S, NOTICE_S, another_machine, wait_until
from tests.trainings import small_train_dataset, trainings_on

STEPS = 1000
RECORD = "checkpoint_manager_snapshot.json"


def losses(run: Path) -> dict[int, float]:
    return {r["step"]: r["loss"] for r in read_history(run) if r["kind"] == "train"}


@pytest.mark.minutes
@pytest.mark.timeout(1800)
def test_a_machine_that_is_given_notice_leaves_a_checkpoint_and_training_goes_on_elsewhere(
    ray_session: None, make_video: MakeVideo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The only checkpoint before the end is that of the notice; the steps after it come out the same."""
    monkeypatch.setenv("RAY_TRAIN_PREEMPTION_POLL_INTERVAL_S", "0.05")
    run = tmp_path / "run"
    options = trainings_on(small_train_dataset(tmp_path, make_video))(
        run,
        STEPS,
        workers=1,
        max_failures=0,
        fit={"checkpoint_every": STEPS, "validate_every": STEPS},
        tracking_uri=TrackingUri("http://127.0.0.1:9"),  # machines cannot share SQLite
    )
    with another_machine() as machine:
        here = int(ray.cluster_resources()["CPU"]) - 1
        elsewhere = placement_group([{"CPU": 1}] * here, strategy="STRICT_PACK")
        assert elsewhere.wait(LONGEST_S)  # so that there is room on the machine that leaves only
        seen: dict[str, object] = {}

        def leave() -> None:
            try:
                wait_until(lambda: len(losses(run)) >= 5)
                seen["notice"] = max(losses(run))
                machine.give_notice()
                gone_s = time.monotonic() + NOTICE_S
                wait_until((run / RECORD).exists)
                (seen["saved"],) = (
                    int(p.name.partition("_")[2]) for p in run.glob("checkpoint_*/")
                )
            finally:  # or training would wait for ever
                remove_placement_group(elsewhere)
            wait_until(lambda: time.monotonic() > gone_s)
            seen["before"] = losses(run)
            machine.shut_down()

        leaver = threading.Thread(target=leave)
        leaver.start()
        try:
            train(options)
        finally:
            leaver.join()
        before, after = seen["before"], losses(run)
        assert seen["notice"] <= seen["saved"] <= max(before) < STEPS
        assert list(after) == list(range(1, STEPS + 1))
        assert {step: after[step] for step in before} == before
