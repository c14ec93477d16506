"""Lines about nodes that come and go (a real one that is lost: `tests/cluster`)."""

from jobs.node_watch import changes


def test_each_node_that_is_gone_or_new_has_a_line() -> None:
    before = {"a": "10.0.0.1", "b": "10.0.0.2"}
    assert changes(before, before) == []
    assert changes(before, {"a": "10.0.0.1"}) == [
        "node 10.0.0.2 was lost: what ran there is done again elsewhere"
    ]
    # Started again, a machine is another node with the same address.
    assert changes(before, {"a": "10.0.0.1", "c": "10.0.0.2"}) == [
        "node 10.0.0.2 was lost: what ran there is done again elsewhere",
        "node 10.0.0.2 has joined",
    ]
