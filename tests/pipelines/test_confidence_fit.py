"""Fitting a confidence: against scikit-learn's own pipeline, and on data whose probabilities are known."""

from dataclasses import replace

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

from model.confidence.signals import ObjectSignals
from model.errors import UserError
from pipelines.confidence_fit import (
    FEATURES,
    STRENGTH,
    features_of,
    fit_confidence,
    good_samples,
    held_out_probabilities,
    split_by_video,
)
from pipelines.confidence_samples import Sample, from_table, to_table

TWO = {"margin": "identity", "centroid_jump": "log"}


def drawn(videos: int = 12, frames: int = 60, seed: int = 0) -> tuple[list[Sample], np.ndarray]:
    """Samples whose P(J >= 0.5) is a known function of two signals, and those probabilities."""
    rng = np.random.default_rng(seed)
    samples, chances = [], []
    for video in range(videos):
        for frame in range(frames):
            margin, jump = rng.uniform(0, 1), np.exp(rng.normal(-3, 1))
            chance = 1 / (1 + np.exp(-(6 * margin - 3 - (np.log(jump + 1e-3) + 3))))
            signals = ObjectSignals(cells=10.0, margin=margin, centroid_jump=jump)
            good = rng.uniform() < chance
            samples.append(Sample(f"v{video}", frame, 1, 0.8 if good else 0.2, signals))
            chances.append(chance)
    return samples, np.array(chances)


def test_the_regression_is_scikit_learns() -> None:
    samples, _ = drawn()
    model = fit_confidence(samples, {}, TWO)
    values = np.array([(s.signals.margin, np.log(s.signals.centroid_jump + 1e-3)) for s in samples])
    good = [s.j >= 0.5 for s in samples]
    near = FunctionTransformer(np.clip, kw_args={"a_min": -3, "a_max": 3})
    expected = make_pipeline(StandardScaler(), near, LogisticRegression(C=STRENGTH))
    expected.fit(values, good)
    z = [model.z(s.signals) for s in samples]
    np.testing.assert_allclose(z, expected.decision_function(values), atol=1e-6)


def test_probabilities_are_calibrated_on_videos_that_were_left_out() -> None:
    samples, chances = drawn()
    p = held_out_probabilities(samples, TWO)
    assert np.abs(p - chances).mean() < 0.05
    good = good_samples(samples)
    for low in np.arange(0, 1, 0.25):
        inside = (p >= low) & (p < low + 0.25)
        assert abs(p[inside].mean() - good[inside].mean()) < 0.1


def test_no_video_is_fitted_on_and_tested() -> None:
    samples, _ = drawn(videos=5, frames=3)
    tested: list[int] = []
    for train, test in split_by_video(samples, 5):
        assert not {samples[i].video_id for i in train} & {samples[i].video_id for i in test}
        tested += test.tolist()
    assert sorted(tested) == list(range(len(samples)))


def test_objects_that_are_predicted_nowhere_are_counted() -> None:
    samples, _ = drawn()
    gone = [Sample("v0", 99, i, float(i == 0), ObjectSignals(cells=0.0)) for i in range(8)]
    assert fit_confidence(samples + gone, {}, TWO).absent == pytest.approx(2 / 10)


def test_signals_that_are_never_known_change_nothing() -> None:
    samples, _ = drawn()
    model = fit_confidence(samples, {}, FEATURES)
    weights = {feature.signal: feature.weight for feature in model.features}
    assert weights["largest_part"] == pytest.approx(0, abs=1e-6)
    assert weights["margin"] > 0 > weights["centroid_jump"]


def test_too_few_videos_with_failures_are_refused() -> None:
    samples, _ = drawn(videos=3)
    never = [s for s in samples if s.j >= 0.5 or s.video_id == "v0"]
    with pytest.raises(UserError, match=r"J is < 0.5 in frames of 1 videos"):
        fit_confidence(never, {}, TWO)


def test_signals_that_mislead_in_other_videos_are_refused() -> None:
    """Each video's margin falls for the good ones, where in all of them together it rises."""
    rng = np.random.default_rng(0)
    samples = []
    for video in range(8):
        for frame in range(50):
            good = rng.uniform() < (0.98 if video == 0 else 0.5)
            margin = rng.uniform() + (5 * video if good else -5 * video)
            signals = ObjectSignals(cells=9.0, margin=margin if video % 2 else -margin)
            samples.append(Sample(f"v{video}", frame, 1, 0.9 if good else 0.1, signals))
    with pytest.raises(UserError, match="do not tell where J is low"):
        fit_confidence(samples, {}, {"margin": "identity"})


def test_the_way_back_counts_where_it_is_known() -> None:
    samples, _ = drawn(videos=2, frames=10)
    assert features_of(samples) == FEATURES
    returned = [
        replace(s, signals=replace(s.signals, return_overlap=0.5 + 0.01 * i))
        for i, s in enumerate(samples)
    ]
    gone = Sample("v0", 99, 1, 0.0, ObjectSignals(cells=0.0))
    assert set(features_of([*returned, gone])) == {*FEATURES, "return_overlap"}


def test_samples_survive_a_table() -> None:
    samples, _ = drawn(videos=1, frames=2)
    again = from_table(to_table(samples))
    assert [s.video_id for s in again] == ["v0", "v0"]
    assert again[1].signals.margin == pytest.approx(samples[1].signals.margin, rel=1e-6)
    assert np.isnan(again[0].signals.entropy)
