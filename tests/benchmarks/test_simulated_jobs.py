"""The simulated jobs and the comparison with real runs, against arithmetic."""

import json
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from benchmarks import scaling
from benchmarks.simulation.jobs import core_s_a_video, labelling, preprocessing, training
from benchmarks.simulation.measured import MeasuredRun, add_run, compare, load_runs, run_of
from benchmarks.simulation.pool import Cluster
from benchmarks.simulation.rates import (
    ArchiveRates,
    Corpus,
    ObjectStore,
    PreprocessRates,
    TrainRates,
)
from pipelines.shards import Marker, write_marker
from tests.conftest import REPOSITORY

CORPUS = Corpus(videos=16_000, duration_s=10.0, fps_hz=25.0, megapixels=0.5, bytes_a_video=2e6)
AT_ONCE = ObjectStore(first_byte_s=0.0, stream_bytes_per_s=float("inf"))


def test_a_video_takes_what_its_frames_and_pixels_take() -> None:
    rates = PreprocessRates(core_s_a_video=1.0, core_s_a_sampled_frame=0.1, core_s_a_megapixel=0.01)
    assert core_s_a_video(CORPUS, rates) == pytest.approx(1.0 + 60 * 0.1 + 125 * 0.01)


@pytest.mark.parametrize("cores", [1, 8])
def test_few_cores_share_the_work_of_all_videos(cores: int) -> None:
    rates = PreprocessRates(spread=1e-6, driver_s_a_task=0.0, driver_s_a_shard=0.0)
    listing, _, shards = preprocessing(CORPUS, Cluster(1, cores), AT_ONCE, rates)
    all_s = CORPUS.videos * core_s_a_video(CORPUS, rates)
    assert shards.outcome.core_s == pytest.approx(all_s, rel=1e-3)
    assert shards.outcome.seconds == pytest.approx(all_s / cores, rel=0.01)
    assert listing.outcome.seconds == pytest.approx(16 * AT_ONCE.list_s_a_page + 16_000 * 20e-6)
    assert shards.gets == 16_000 + 1000 * rates.gets_a_shard
    assert shards.puts == 1000 * rates.puts_a_shard
    assert shards.written_bytes == pytest.approx(16_000 * 60 * rates.bytes_a_frame)


def test_with_many_cores_the_slowest_thing_that_all_share_decides() -> None:
    store = replace(AT_ONCE, gets_per_s=200.0)
    *_, shards = preprocessing(CORPUS, Cluster(8, 32), store)
    assert shards.busiest == "GET"
    assert shards.outcome.seconds >= shards.gets / 200.0
    assert shards.outcome.seconds == pytest.approx(shards.gets / 200.0, rel=0.02)
    slow = PreprocessRates(driver_s_a_task=0.0, driver_s_a_shard=0.1)
    *_, shards = preprocessing(CORPUS, Cluster(8, 32), AT_ONCE, slow)
    assert shards.busiest == "driver"
    assert shards.outcome.seconds == pytest.approx(1000 * 0.1, rel=0.05)


def test_an_interruption_repeats_a_shard_a_core_at_most() -> None:
    rates = PreprocessRates(spread=1e-6)
    cluster = Cluster(4, 4, interruptions_per_node_hour=60.0, replacement_s=10.0)
    *_, shards = preprocessing(CORPUS, cluster, AT_ONCE, rates)
    assert shards.outcome.interruptions > 5
    assert shards.outcome.longest_repeat_s <= 16 * core_s_a_video(CORPUS, rates) * 1.001


def test_a_file_of_labels_for_every_frame_is_what_an_archive_asks_most_of_the_store() -> None:
    _, a_frame = labelling(CORPUS, Cluster(64, 16), AT_ONCE)
    assert a_frame.busiest == "PUT"
    assert a_frame.outcome.seconds == pytest.approx(a_frame.puts / 3500, rel=0.02)
    assert a_frame.puts == 16_000 * (250 + ArchiveRates().puts_a_video)
    _, a_video = labelling(
        CORPUS, Cluster(64, 16), AT_ONCE, replace(ArchiveRates(), puts_a_frame=0.0)
    )
    assert a_video.busiest == "cores"


def test_training_takes_what_its_images_take_and_a_lost_node_the_steps_since_a_checkpoint() -> None:
    rates = TrainRates(steps=10_000, images_per_s_a_gpu=1000.0, checkpoint_every=500)
    undisturbed_s = 10_000 * 32 * 4 / 8000
    assert training(rates, gpus=8, nodes=8).outcome.seconds == pytest.approx(undisturbed_s)
    disturbed = training(rates, gpus=8, nodes=8, interruptions_per_node_hour=20.0).outcome
    assert disturbed.interruptions > 0
    assert disturbed.longest_repeat_s <= 500 * 32 * 4 / 8000
    assert disturbed.seconds == pytest.approx(
        undisturbed_s + disturbed.repeated_core_s + disturbed.interruptions * rates.restart_s
    )


def run(name: str, cores: int, stage_s: float) -> MeasuredRun:
    return MeasuredRun(name, 1, cores, stage_s, shard_s=(2.0, 3.0, 5.0, 4.0))


def test_runs_are_computed_from_the_smallest_one() -> None:
    """Its shards take 14 s and it started for 3; of two cores one makes 2 + 5, the other 3 + 4."""
    no_driver = PreprocessRates(driver_s_a_task=0.0)
    slower = replace(run("two", 2, 12.0), shard_s=(4.0, 6.0, 10.0, 8.0))
    two, one = compare([slower, run("one", 1, 17.0)], no_driver)
    assert one.reference and not two.reference
    assert one.from_own_s == one.from_reference_s == pytest.approx(17.0)
    assert two.from_reference_s == pytest.approx(3.0 + 7.0)
    assert two.from_own_s == pytest.approx(3.0 + 14.0)


def test_a_dataset_tells_of_its_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "clips").mkdir()
    for index, seconds in enumerate((2.0, 3.0, 5.0, 4.0)):
        shard = tmp_path / "clips" / f"shard-{index:05d}.parquet"
        shard.write_bytes(b"12345")
        write_marker(Marker(shard.name, 1, 5, 60, 1, seconds, {}, [], "f", 1), shard)
    summary = {"shards": 4, "shards_made": 4, "frames": 240, "frames_per_s": 20.0}
    (tmp_path / "summary.json").write_text(json.dumps(summary))
    assert run_of(tmp_path, "one", 1, 1) == run("one", 1, 12.0)
    file = tmp_path / "runs.json"
    add = ["add", str(tmp_path), "--name", "one", "--cores-per-node", "1", "--to", str(file)]
    scaling.main(add)
    add_run(run("two", 2, 9.0), file)
    scaling.main(add)  # in place of the first
    assert [r.name for r in load_runs(file)] == ["two", "one"]
    scaling.main(["check", str(file)])
    printed = capsys.readouterr().out
    assert "one (reference)" in printed and "| two" in printed
    (tmp_path / "summary.json").write_text(json.dumps(summary | {"shards_made": 3}))
    with pytest.raises(SystemExit, match="was not made in one run"):
        run_of(tmp_path, "one", 1, 1)
    assert asdict(load_runs(file)[0])["stage_s"] == 9.0


def test_the_committed_runs_are_those_of_the_guide(capsys: pytest.CaptureFixture[str]) -> None:
    """The table of docs/scaling.md, from benchmarks/simulation/runs.json."""
    scaling.main(["check", str(REPOSITORY / "benchmarks" / "simulation" / "runs.json")])
    guide = (REPOSITORY / "docs" / "scaling.md").read_text()

    def cells(text: str) -> list[list[str]]:
        rows = [[cell.strip() for cell in row.strip("|").split("|")] for row in text.splitlines()]
        return [row for row in rows if row[0].startswith(("one node of", "two nodes of"))]

    printed = cells(capsys.readouterr().out)
    assert len(printed) == 4
    assert printed == cells(guide)
