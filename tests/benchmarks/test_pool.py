"""The simulated pool of workers against arithmetic."""

import math

import pytest

from benchmarks.simulation.pool import Cluster, Task, work_through

EQUAL = [Task(core_s=3.0)] * 10


def test_one_core_takes_the_sum() -> None:
    tasks = [Task(core_s=s) for s in (1.0, 2.5, 0.25)]
    outcome = work_through(tasks, Cluster(nodes=1, cores_per_node=1, start_s=10.0))
    assert outcome.seconds == pytest.approx(10.0 + 3.75)
    assert outcome.core_s == pytest.approx(3.75)
    assert outcome.busy["cores"] == pytest.approx(3.75 / 13.75)


@pytest.mark.parametrize(("nodes", "cores"), [(1, 3), (3, 1), (2, 2), (1, 16)])
def test_equal_tasks_take_full_rounds(nodes: int, cores: int) -> None:
    outcome = work_through(EQUAL, Cluster(nodes, cores, core_speed=1.5))
    assert outcome.seconds == pytest.approx(2.0 * math.ceil(10 / (nodes * cores)))
    assert (outcome.interruptions, outcome.repeated_core_s) == (0, 0.0)


def test_tasks_are_handed_out_in_their_order_to_who_is_free() -> None:
    """5 to the first, 1 and then 4 to the second."""
    outcome = work_through([Task(s) for s in (5.0, 1.0, 4.5)], Cluster(1, 2))
    assert outcome.seconds == pytest.approx(5.5)


def test_nothing_to_do_takes_no_time() -> None:
    assert work_through([], Cluster(1, 1)).seconds == 0.0


def test_a_rate_that_all_share_is_a_bound() -> None:
    """Four cores could do 4 tasks a second; 100 requests each at 200 a second allow 2."""
    tasks = [Task(core_s=1.0, shared={"GET": 100.0})] * 400
    bound = work_through(tasks, Cluster(1, 4), limits_per_s={"GET": 200.0})
    assert bound.seconds == pytest.approx(200.0)
    assert bound.busy["GET"] == pytest.approx(1.0)
    assert bound.busy["cores"] == pytest.approx(0.5)
    free = work_through(tasks, Cluster(1, 4), limits_per_s={"GET": 800.0})
    assert free.seconds == pytest.approx(100.0)
    assert free.busy["GET"] == pytest.approx(0.5)


def test_each_node_has_a_link_of_its_own() -> None:
    tasks = [Task(core_s=1.0, link_bytes=100.0)] * 120
    for nodes in (1, 3):
        outcome = work_through(tasks, Cluster(nodes, 4, link_bytes_per_s=200.0))
        assert outcome.seconds == pytest.approx(60.0 / nodes)
        assert outcome.busy["links"] == pytest.approx(1.0)


def test_a_driver_hands_out_the_next_task_in_time_unless_it_is_too_slow() -> None:
    tasks = [Task(core_s=1.0)] * 200
    hidden = work_through(tasks, Cluster(1, 2), dispatch_s=0.1)
    assert hidden.seconds == pytest.approx(100.0 + 0.2)  # the second worker's first task comes late
    slow = work_through(tasks, Cluster(1, 2), dispatch_s=0.8)
    assert slow.seconds == pytest.approx(200 * 0.8 + 1.0, rel=0.01)
    assert slow.busy["driver"] == pytest.approx(1.0, abs=0.01)


@pytest.mark.parametrize(("task_s", "parts"), [(60.0, 1), (1800.0, 1), (1800.0, 4)])
def test_interruptions_cost_what_theory_says(task_s: float, parts: int) -> None:
    """Failures come as a Poisson process of rate r: a task of length d that begins anew after each takes
    (exp(rd) - 1) / r of its core on average. Parts that are done stay done."""
    rate, tasks = 1 / 1800, round(2_000_000 / task_s)
    cluster = Cluster(1, 1, interruptions_per_node_hour=rate * 3600, replacement_s=100.0)
    outcome = work_through([Task(task_s, parts=parts)] * tasks, cluster, seed=3)
    expected_s = tasks * parts * (math.exp(rate * task_s / parts) - 1) / rate
    assert outcome.core_s == pytest.approx(tasks * task_s)
    assert outcome.core_s + outcome.repeated_core_s == pytest.approx(expected_s, rel=0.05)
    assert outcome.interruptions == pytest.approx(expected_s * rate, rel=0.1)
    assert outcome.seconds == pytest.approx(
        outcome.core_s + outcome.repeated_core_s + 100.0 * outcome.interruptions
    )
    assert 0.0 < outcome.longest_repeat_s <= task_s / parts


def test_a_lost_node_loses_what_runs_on_it_and_nothing_is_lost_for_good() -> None:
    cluster = Cluster(4, 8, interruptions_per_node_hour=30.0, replacement_s=30.0, start_s=5.0)
    outcome = work_through([Task(20.0)] * 5000, cluster, seed=1)
    assert outcome.core_s == pytest.approx(5000 * 20.0)
    assert outcome.interruptions > 50
    assert outcome.repeated_core_s <= outcome.interruptions * 8 * 20.0
    # Half a task a core and interruption, as they come at any time.
    assert outcome.repeated_core_s == pytest.approx(outcome.interruptions * 8 * 10.0, rel=0.15)


def test_the_same_seed_gives_the_same() -> None:
    cluster = Cluster(2, 2, interruptions_per_node_hour=60.0)
    first, again, other = (work_through([Task(9.0)] * 500, cluster, seed=s) for s in (0, 0, 1))
    assert first == again != other
