"""Says when a cluster loses a node or gets one, while a command runs on it."""

import contextlib
import sys
import threading
from collections.abc import Iterator, Mapping

_LOOK_S = 2.0
_CLOSES_WITHIN_S = 5.0


def changes(before: Mapping[str, str], after: Mapping[str, str]) -> list[str]:
    """Lines about nodes that are gone or new; each mapping is id -> address of the nodes that are alive."""
    gone = [address for node, address in before.items() if node not in after]
    new = [address for node, address in after.items() if node not in before]
    return [
        *(f"node {address} was lost: what ran there is done again elsewhere" for address in gone),
        *(f"node {address} has joined" for address in new),
    ]


@contextlib.contextmanager
def telling_of_nodes() -> Iterator[None]:
    """Print `changes` to standard error for the body of the `with`, in which Ray is connected."""
    end = threading.Event()
    watcher = threading.Thread(target=_watch, args=(end,), daemon=True)
    watcher.start()
    try:
        yield
    finally:
        end.set()
        watcher.join(_CLOSES_WITHIN_S)


def _watch(end: threading.Event) -> None:
    import ray

    before: dict[str, str] | None = None
    while True:
        # A head that does not answer is told of by those who wait for it.
        with contextlib.suppress(Exception):
            after = _alive(ray.nodes())
            for line in changes(before, after) if before is not None else ():
                print(line, file=sys.stderr, flush=True)
            before = after
        if end.wait(_LOOK_S):
            return


def _alive(nodes: list[dict[str, object]]) -> dict[str, str]:
    return {str(n["NodeID"]): str(n["NodeManagerAddress"]) for n in nodes if n["Alive"]}
