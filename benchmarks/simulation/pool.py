"""Workers on the nodes of a cluster, going through tasks until all are done; nodes are lost and come back.

An event simulation with simpy. A worker takes the next task from one queue, as Ray hands them out. A task
keeps its core for some time, and longer where what all workers share is busier than that: the driver, the
requests that the object store answers, the link of the node. A lost node loses the tasks that run on it;
they go back into the queue and begin anew, and another node takes its place after a while.
"""

from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from math import floor
from typing import Any

import numpy as np
import simpy


@dataclass(frozen=True)
class Cluster:
    """Nodes that are all alike, beside the driver's."""

    nodes: int
    cores_per_node: int
    core_speed: float = 1.0
    """Of a core, relative to the one that the rates were measured on."""
    link_bytes_per_s: float = float("inf")
    """Of a node."""
    start_s: float = 0.0
    """From the start of the stage, or of a new node, to its first task."""
    interruptions_per_node_hour: float = 0.0
    """Of spot nodes: how often one is taken away, on average."""
    replacement_s: float = 0.0
    """Until another node is there."""

    @property
    def cores(self) -> int:
        return self.nodes * self.cores_per_node


@dataclass(frozen=True)
class Task:
    """What one task takes."""

    core_s: float
    """Of a core of speed 1."""
    shared: Mapping[str, float] = field(default_factory=dict)
    """Amounts of what all workers share, by name."""
    link_bytes: float = 0.0
    parts: int = 1
    """Of equal length. Those that are done when the task is lost are not repeated."""


@dataclass(frozen=True)
class Outcome:
    """What it took."""

    seconds: float
    core_s: float
    """Seconds that cores were held by tasks which came to their end."""
    repeated_core_s: float
    """Seconds that cores were held by tasks which were lost."""
    longest_repeat_s: float
    """What one core lost at once, at most."""
    interruptions: int
    busy: Mapping[str, float]
    """Share of the time for which each thing had work: `cores` (computing, not waiting for the others),
    `driver`, `links`, and what is shared."""


class Queue:
    """Serves amounts one after another at a fixed rate."""

    def __init__(self, environment: simpy.Environment, per_s: float) -> None:
        self._environment = environment
        self._per_s = per_s
        self._free_s = 0.0
        self.busy_s = 0.0

    def wait_s(self, amount: float) -> float:
        """Ask for `amount` now; returns how long that takes."""
        service_s = amount / self._per_s
        self.busy_s += service_s
        self._free_s = max(self._free_s, self._environment.now) + service_s
        return self._free_s - self._environment.now


def work_through(
    tasks: Iterable[Task],
    cluster: Cluster,
    *,
    limits_per_s: Mapping[str, float] | None = None,
    dispatch_s: float = 0.0,
    seed: int = 0,
) -> Outcome:
    """Simulate the cluster until all tasks are done.

    `limits_per_s` are the rates of what is shared, `dispatch_s` is what handing out one task takes of the
    driver, which hands out the next one while a worker is still at the one before.
    """
    return _Pool(list(tasks), cluster, dict(limits_per_s or {}), dispatch_s, seed).run()


class _Pool:
    def __init__(
        self,
        tasks: list[Task],
        cluster: Cluster,
        limits_per_s: dict[str, float],
        dispatch_s: float,
        seed: int,
    ) -> None:
        self._environment = simpy.Environment()
        self._cluster = cluster
        self._random = np.random.default_rng(seed)
        self._tasks = deque(tasks)
        self._returned = self._environment.event()
        self._left = len(tasks)
        self._done = self._environment.event()
        self._dispatch_s = dispatch_s
        self._driver = Queue(self._environment, 1.0)
        self._shared = {n: Queue(self._environment, r) for n, r in limits_per_s.items()}
        self._links: list[Queue] = []
        self._core_s = self._computed_s = self._repeated_core_s = self._longest_repeat_s = 0.0
        self._interruptions = 0

    def run(self) -> Outcome:
        if self._left:
            for _ in range(self._cluster.nodes):
                self._environment.process(self._node())
            self._environment.run(until=self._done)
        seconds = self._environment.now
        busy_s = {
            "cores": self._computed_s + self._repeated_core_s,
            "driver": self._driver.busy_s,
            **{name: queue.busy_s for name, queue in self._shared.items()},
            "links": sum(link.busy_s for link in self._links),
        }
        of = {"cores": self._cluster.cores, "links": self._cluster.nodes}
        return Outcome(
            seconds=seconds,
            core_s=self._core_s,
            repeated_core_s=self._repeated_core_s,
            longest_repeat_s=self._longest_repeat_s,
            interruptions=self._interruptions,
            busy={n: s / (seconds * of.get(n, 1)) if seconds else 0.0 for n, s in busy_s.items()},
        )

    def _node(self) -> Iterator[Any]:
        """A node and those that take its place."""
        cluster, environment = self._cluster, self._environment
        link = Queue(environment, cluster.link_bytes_per_s)
        self._links.append(link)
        while True:
            lives_s = self._lifetime_s()
            if lives_s < cluster.start_s:
                yield environment.timeout(lives_s)
            else:
                yield environment.timeout(cluster.start_s)
                workers = [
                    environment.process(self._worker(link)) for _ in range(cluster.cores_per_node)
                ]
                yield environment.timeout(lives_s - cluster.start_s)
                for worker in workers:
                    worker.interrupt()
            self._interruptions += 1
            yield environment.timeout(cluster.replacement_s)

    def _lifetime_s(self) -> float:
        rate = self._cluster.interruptions_per_node_hour / 3600
        return float(self._random.exponential(1 / rate)) if rate else float("inf")

    def _worker(self, link: Queue) -> Iterator[Any]:
        environment = self._environment
        ready_s = environment.now + self._dispatch()
        while True:
            try:
                while not self._tasks:
                    yield self._returned
            except simpy.Interrupt:
                return
            task = self._tasks.popleft()
            began_s, takes_s = environment.now, 0.0
            try:
                yield environment.timeout(max(0.0, ready_s - environment.now))
                began_s = environment.now
                ready_s = began_s + self._dispatch()
                takes_s = self._takes_s(task, link)
                yield environment.timeout(takes_s)
            except simpy.Interrupt:
                self._lose(task, environment.now - began_s, takes_s)
                return
            self._gain(task, takes_s)
            self._left -= 1
            if not self._left:
                self._done.succeed()

    def _gain(self, task: Task, seconds: float) -> None:
        self._core_s += seconds
        self._computed_s += task.core_s / self._cluster.core_speed

    def _lose(self, task: Task, elapsed_s: float, takes_s: float) -> None:
        """Put what is left of a task back into the queue, of which `elapsed_s` of `takes_s` have passed."""
        done = min(floor(task.parts * elapsed_s / takes_s), task.parts - 1) if takes_s else 0
        if done:
            finished, task = _split(task, done)
            self._gain(finished, takes_s * done / (done + task.parts))
            elapsed_s -= takes_s * done / (done + task.parts)
        self._repeated_core_s += elapsed_s
        self._longest_repeat_s = max(self._longest_repeat_s, elapsed_s)
        self._tasks.append(task)
        self._returned.succeed()
        self._returned = self._environment.event()

    def _dispatch(self) -> float:
        """Seconds until the driver will have handed out one more task, if there is one."""
        return self._driver.wait_s(self._dispatch_s) if self._tasks else 0.0

    def _takes_s(self, task: Task, link: Queue) -> float:
        waits_s = [self._shared[name].wait_s(amount) for name, amount in task.shared.items()]
        return max(task.core_s / self._cluster.core_speed, link.wait_s(task.link_bytes), *waits_s)


def _split(task: Task, parts: int) -> tuple[Task, Task]:
    """The first so many parts of a task, fewer than it has, and the others."""

    def of(count: int) -> Task:
        share = count / task.parts
        shared = {name: amount * share for name, amount in task.shared.items()}
        return Task(task.core_s * share, shared, task.link_bytes * share, count)

    return of(parts), of(task.parts - parts)
