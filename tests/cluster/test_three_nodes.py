"""The three jobs on three nodes, submitted from outside, against the same commands on one machine."""

import pytest
from mlflow import MlflowClient

from benchmarks.bed.bed import Bed
from benchmarks.bed.network import standing_in
from benchmarks.bed.workload import STAGES, WORKERS, Stage, Workload, made
from tests.conftest import REPOSITORY

# Two to five minutes, where the machine does little else.
pytestmark = [pytest.mark.minutes, pytest.mark.timeout(3600)]
WORK = Workload()
CLUSTER, ALONE = "cluster", "alone"


@pytest.fixture(scope="module")
def uploaded(bed: Bed) -> Bed:
    WORK.upload(bed)
    return bed


@pytest.fixture(scope="module")
def ended(uploaded: Bed) -> Bed:
    """All stages have run on the cluster, and then on one machine."""
    for stage in STAGES:
        there = uploaded.submit(*WORK.command(stage, CLUSTER), within_s=600)
        assert there.status == 0, there.output
        assert "failed, going on without" not in there.output  # MLflow took everything
    for stage in STAGES:
        # The same dataset and the same weights go in, so that a difference is the stage's own.
        here = uploaded.huetrack(*WORK.command(stage, ALONE, CLUSTER), within_s=600)
        assert here.status == 0, here.output
    return uploaded


@pytest.mark.parametrize("stage", STAGES)
def test_nodes_make_what_one_machine_makes(ended: Bed, stage: Stage) -> None:
    there, here = made(ended, stage, CLUSTER), made(ended, stage, ALONE)
    assert len(here) >= 4
    assert there == here


@pytest.mark.parametrize("stage", STAGES)
def test_work_was_on_two_nodes(ended: Bed, stage: Stage) -> None:
    assert len(ended.nodes_of_actors(WORKERS[stage], alive=False)) == 2


def test_mlflow_has_the_runs_and_the_tracker(ended: Bed) -> None:
    uri = ended.services.variables["MLFLOW_TRACKING_URI"]
    with standing_in(ended.network.hub):
        client = MlflowClient(uri)
        runs = client.search_runs([e.experiment_id for e in client.search_experiments()])
        assert [run.info.status for run in runs] == ["FINISHED"] * 6
        versions = client.search_model_versions("name = 'huetrack'")
        assert [version.status for version in versions] == ["READY", "READY"]
        trained = next(r for r in runs if r.data.params.get("fit.steps"))
        artifacts = {a.path for a in client.list_artifacts(trained.info.run_id)}
        assert {"config.yaml", "codebook.json", "model.safetensors"} <= artifacts
    with ended.s3() as s3:  # which the server keeps on S3
        assert s3.list_objects_v2(Bucket="mlflow")["KeyCount"] > 0


def test_nothing_secret_is_in_a_log_or_in_mlflow(ended: Bed) -> None:
    secrets = [ended.services.variables["AWS_SECRET_ACCESS_KEY"], ended.token]
    logs = [path for node in (ended.head, *ended.workers) for path in node.files("logs/*")]
    assert len(logs) > 20
    for path in [*logs, ended.services.mlflow.log]:
        content = path.read_bytes()
        assert not any(secret.encode() in content for secret in secrets), path
    uri = ended.services.variables["MLFLOW_TRACKING_URI"]
    with standing_in(ended.network.hub):
        client = MlflowClient(uri)
        runs = client.search_runs([e.experiment_id for e in client.search_experiments()])
    assert not any(secret in str(run.to_dictionary()) for run in runs for secret in secrets)


def test_sqlite_that_nodes_cannot_share_is_refused(ended: Bed) -> None:
    command = [*WORK.command("train", "refused", CLUSTER), "--tracking-uri", "sqlite:////tmp/x.db"]
    refused = ended.submit(*command)
    assert refused.status == 2
    (line,) = [line for line in refused.output.splitlines() if line.startswith("huetrack:")]
    assert "SQLite" in line
    assert str(REPOSITORY) not in line
