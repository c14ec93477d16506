"""Sampling by timestamp, against the rule spelt out one target at a time."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.sampling import TOLERANCE_S, StreamSampler, sample_indices

RATES_HZ = [10, 12.5, 15, 24000 / 1001, 24, 25, 30000 / 1001, 30, 50, 60]


def by_the_rule(timestamps_s: np.ndarray, fps_hz: float) -> list[int]:
    """First frame not before each target (less the tolerance), each frame once."""
    relative_s = timestamps_s - timestamps_s[0]
    kept: list[int] = []
    for target in range(int(relative_s[-1] * fps_hz) + 3):
        late_enough = np.flatnonzero(relative_s >= target / fps_hz - TOLERANCE_S)
        if len(late_enough) and late_enough[0] not in kept:
            kept.append(int(late_enough[0]))
    return kept


def streamed(timestamps_s: np.ndarray, fps_hz: float) -> list[int]:
    sampler = StreamSampler(fps_hz)
    return [i for i, time_s in enumerate(timestamps_s.tolist()) if sampler.keep(time_s)]


@st.composite
def variable_times(draw: st.DrawFn) -> np.ndarray:
    """Times in whole milliseconds, as Matroska stores them, with pauses and equal neighbours."""
    steps_ms = draw(st.lists(st.integers(0, 120) | st.integers(0, 3000), max_size=80))
    start_ms = draw(st.integers(0, 100_000))
    return np.cumsum([start_ms, *steps_ms]) / 1000


@settings(max_examples=150, deadline=None)
@given(
    rate_hz=st.sampled_from(RATES_HZ),
    count=st.integers(1, 400),
    start_s=st.floats(-5, 1e4),
    digits=st.sampled_from([3, 6, 12]),
    fps_hz=st.sampled_from([1.0, 6.0, 8.0, 10.0, 12.5]),
)
def test_constant_rates(
    rate_hz: float, count: int, start_s: float, digits: int, fps_hz: float
) -> None:
    times_s = np.round(np.arange(count) / rate_hz, digits) + start_s
    kept = sample_indices(times_s, fps_hz)
    assert kept[0] == 0
    assert (np.diff(kept) > 0).all()
    assert kept.tolist() == by_the_rule(times_s, fps_hz)
    assert kept.tolist() == streamed(times_s, fps_hz)


@settings(max_examples=150, deadline=None)
@given(times_s=variable_times(), fps_hz=st.sampled_from([1.0, 6.0, 10.0, 12.5, 30.0]))
def test_variable_rates(times_s: np.ndarray, fps_hz: float) -> None:
    kept = sample_indices(times_s, fps_hz)
    assert (np.diff(kept) > 0).all()
    assert kept.tolist() == by_the_rule(times_s, fps_hz)
    assert kept.tolist() == streamed(times_s, fps_hz)


@pytest.mark.parametrize("fps_hz", [2.0, 4.0, 6.0, 10.0, 12.5, 20.0])
def test_a_frame_exactly_at_the_edge_of_the_tolerance(fps_hz: float) -> None:
    """Streaming and looking up must round alike."""
    edges_s = np.arange(1, 60) / fps_hz - TOLERANCE_S
    times_s = np.sort(np.concatenate([[0.0], np.round(edges_s, 3), np.arange(1, 60) / fps_hz]))
    assert sample_indices(times_s, fps_hz).tolist() == streamed(times_s, fps_hz)
    assert sample_indices(times_s, fps_hz).tolist() == by_the_rule(times_s, fps_hz)
    ends_early_s = times_s[:-1]  # the last frame is the edge itself
    assert sample_indices(ends_early_s, fps_hz).tolist() == streamed(ends_early_s, fps_hz)


def test_ten_seconds_at_25_hz_give_60_frames_not_62() -> None:
    kept = sample_indices(np.arange(250) / 25, 6)
    assert len(kept) == 60
    assert kept[:7].tolist() == [0, 5, 9, 13, 17, 21, 25]


def test_a_source_slower_than_asked_for_is_kept_whole() -> None:
    assert sample_indices(np.arange(10) / 2, 6).tolist() == list(range(10))


def test_a_frame_rounded_to_just_before_its_target_still_meets_it() -> None:
    times_s = np.array([0.0, 0.1663, 0.2, 0.333, 0.34])
    assert sample_indices(times_s, 6).tolist() == [0, 1, 3]


def test_no_frames() -> None:
    assert sample_indices(np.zeros(0), 6).tolist() == []
