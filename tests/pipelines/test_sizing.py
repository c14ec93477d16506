"""What a corpus is expected to take, against closed forms and against a real run."""

import json
import tempfile
from pathlib import Path

import numpy as np
import pytest

from model.errors import UserError
from pipelines.corpus import build_corpus
from pipelines.dataset_folder import PreprocessConfig
from pipelines.manifest import Video, load_manifest
from pipelines.sizing import Sample, VideoCost, measure_sample, plan_corpus


def corpus(count: int) -> list[Video]:
    return [Video(f"v{i}", f"/v{i}.mp4", 1000, "", None, "train") for i in range(count)]


def sample_of(costs: list[VideoCost]) -> Sample:
    return Sample(tuple(costs), footer_bytes=3000, worker_rss_bytes=300, driver_rss_bytes=50)


def test_equal_videos_scale_to_exact_figures() -> None:
    sample = sample_of([VideoCost(f"v{i}", 0.36, 60, 700_000) for i in range(20)])
    plan = plan_corpus(corpus(100_000), sample, cores=10, videos_per_shard=16)
    assert plan.hours.expected == pytest.approx(1.0)
    assert plan.frames.expected == pytest.approx(6e6)
    assert plan.dataset_bytes.expected == pytest.approx(7e10 + 6250 * 3000)
    assert plan.frames_per_s_a_core.expected == pytest.approx(60 / 0.36)
    for estimate in (plan.hours, plan.frames, plan.dataset_bytes, plan.frames_per_s_a_core):
        assert estimate.low == pytest.approx(estimate.expected) == estimate.high
    assert plan.memory_bytes == 10 * 300 + 50
    assert plan.source_bytes == 100_000_000
    assert plan.failed_share.expected == 0.0
    # Wilson's interval for none of 20: z^2 / (20 + z^2), z = 1.645.
    assert plan.failed_share.high == pytest.approx(1.645**2 / (20 + 1.645**2), rel=1e-3)


def test_cores_beyond_the_number_of_shards_bring_nothing() -> None:
    sample = sample_of([VideoCost("v0", 9.0, 60, 1000), VideoCost("v1", 9.0, 60, 1000)])
    hours = [
        plan_corpus(corpus(40), sample, cores=cores, videos_per_shard=10).hours.expected
        for cores in (1, 2, 4, 64)
    ]
    assert hours == pytest.approx([0.1, 0.05, 0.025, 0.025])


def test_the_interval_is_that_of_a_mean_and_closes_as_the_sample_grows_to_the_corpus() -> None:
    random = np.random.default_rng(1)
    costs = [VideoCost(f"v{i}", s, 60, 1000) for i, s in enumerate(random.gamma(4, 0.1, 50))]
    seconds = np.array([cost.seconds for cost in costs])
    error_s = seconds.std() / np.sqrt(50)
    for total in (100_000, 200, 50):
        hours = plan_corpus(corpus(total), sample_of(costs), cores=1, videos_per_shard=1).hours
        half_s = (hours.high - hours.low) / 2 / total * 3600
        # 90 % of a normal distribution lie within 1.645 standard errors.
        expected_s = 1.645 * error_s * np.sqrt(1 - 50 / total)
        assert half_s == pytest.approx(expected_s, rel=0.1, abs=1e-12)
        assert hours.low <= hours.expected <= hours.high


def test_failed_videos_cost_time_and_bring_no_bytes() -> None:
    costs = [VideoCost(f"v{i}", 1.0, 60, 1000) for i in range(15)]
    costs += [VideoCost(f"v{i}", 1.0, 0, 0, "timeout") for i in range(15, 20)]
    plan = plan_corpus(corpus(2000), sample_of(costs), cores=1, videos_per_shard=16)
    assert plan.frames.expected == pytest.approx(0.75 * 2000 * 60)
    assert plan.hours.expected == pytest.approx(2000 / 3600)
    assert plan.failed_share.expected == 0.25
    assert plan.failed_share.low < 0.25 < plan.failed_share.high
    assert plan.errors == {"timeout": 5}


@pytest.mark.usefixtures("ray_session")
def test_a_measured_corpus_is_predicted_as_it_is(
    small_corpus: Path,
    small_config: PreprocessConfig,
    small_dataset: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    videos = build_corpus([str(small_corpus)], small_config.corpus).videos
    sample = measure_sample(videos, small_config, count=len(videos), workers=2)
    assert list(tmp_path.iterdir()) == []
    assert sorted(c.video_id for c in sample.costs) == sorted(v.video_id for v in videos)
    assert all(cost.seconds > 0 for cost in sample.costs)

    plan = plan_corpus(videos, sample, cores=1, videos_per_shard=3)
    real = json.loads((small_dataset / "summary.json").read_text())
    assert plan.frames.expected == pytest.approx(real["frames"])
    assert plan.errors == real["errors"]
    # One video a shard compresses a little worse, has more pages, and its codebook is not quite the
    # same; the JPEG frames, most of the bytes, are identical.
    assert plan.dataset_bytes.expected == pytest.approx(real["bytes"], rel=0.05)
    assert 50e6 < plan.worker_memory_bytes < 2e9


@pytest.mark.usefixtures("ray_session")
def test_a_sample_that_cannot_be_decoded_says_why(
    tmp_path: Path, small_config: PreprocessConfig
) -> None:
    (tmp_path / "bad.mp4").write_bytes(b"no video" * 20)
    videos = build_corpus([str(tmp_path)], small_config.corpus).videos
    with pytest.raises(UserError, match=r"^none of the .*bad.mp4 \(unreadable") as caught:
        measure_sample(videos, small_config, count=5, workers=1)
    assert "huetrack-plan" not in str(caught.value)


def test_the_sample_is_spread_by_hash_and_the_same_every_time(
    small_dataset: Path, small_config: PreprocessConfig
) -> None:
    videos = load_manifest(small_dataset / "manifest.parquet")
    samples = [measure_sample(v, small_config, count=4, workers=1) for v in (videos, videos[::-1])]
    first, second = ({(c.video_id, c.frames, c.error) for c in s.costs} for s in samples)
    assert first == second
    assert len(first) == 4
