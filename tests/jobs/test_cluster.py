"""What is said of a cluster that fails (jobs on real ones: `test_submit_to_ray`, `tests/cluster`)."""

from jobs.cluster import node_without_workers

RAYS_OWN = """Failed to set up runtime environment.
Could not create the actor because its associated runtime env failed to be created.
[Node 10.0.0.3] Traceback (most recent call last):
  File "agent.py", line 88, in close
OSError: [Errno 28] No space left on device
"""


def test_a_node_that_cannot_start_workers_is_named() -> None:
    assert node_without_workers(RAYS_OWN) == (
        "node 10.0.0.3 cannot start workers (OSError: [Errno 28] No space left on device); "
        "free its disk if it is full, and start its Ray again"
    )
    assert node_without_workers("").startswith("a node cannot start workers (no reason given)")
