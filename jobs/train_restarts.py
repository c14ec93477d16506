"""Why a training broke off, while it goes on: found by Ray Train's controller, printed by the driver.

The controller's own output stays in Ray's folder, and storage may be what failed, so the lines go through
the key-value store of Ray's head.
"""

import contextlib
import re
import sys
import threading
import uuid
from collections.abc import Iterator
from typing import Any

from ray.experimental import internal_kv
from ray.train import UserCallback

from jobs.train_failures import DIED, WorkerFailure

_NAMESPACE = "huetrack"
_LOOK_S = 1.0
_CLOSES_WITHIN_S = 5.0
_NAMED = 3
"""Of all workers that broke off; 64 are told of in one line."""
_NODE = re.compile(r"\b(?:node_)?ip(?:=|: )'?([\w.:]+)")
_ABOUT_THE_ACTOR = re.compile(r"The actor died unexpectedly before finishing this task\.|\t")


def broken_off(worker_exceptions: dict[int, Exception]) -> str:
    """One line: which worker on which node was lost or failed, and its error.

    Workers that noticed that another one had died are left out.
    """
    died = {r: e for r, e in worker_exceptions.items() if isinstance(e, DIED)}
    told = sorted((died or worker_exceptions).items())
    causes = [_cause(rank, error) for rank, error in told[:_NAMED]]
    if len(told) > _NAMED:
        causes.append(f"and {len(told) - _NAMED} more")
    return f"training broke off: {'; '.join(causes)}"


def _cause(rank: int, error: Exception) -> str:
    if isinstance(error, WorkerFailure):
        return f"worker {rank}{f' on node {error.node}' if error.node else ''}: {error.line}"
    text = str(getattr(error, "health_check_failure", error))
    node = _NODE.search(text)
    place = f"worker {rank}{f' on node {node[1]}' if node else ''}"
    lines = [line for line in text.splitlines() if not _ABOUT_THE_ACTOR.match(line)]
    reason = next(iter(lines), type(error).__name__).partition(". ")[0].rstrip(".")
    return f"{place} was lost ({reason})" if isinstance(error, DIED) else f"{place}: {reason}"


class TellsWhatBrokeOff(UserCallback):
    """Runs in Ray Train's controller."""

    def __init__(self) -> None:
        self.topic = f"training-{uuid.uuid4().hex}"
        self._told = 0

    def after_exception(self, run_context: Any, worker_exceptions: dict[int, Exception]) -> None:
        # What is raised here would end the training.
        with contextlib.suppress(Exception):
            key = f"{self.topic}/{self._told:08d}"
            internal_kv._internal_kv_put(key, broken_off(worker_exceptions), namespace=_NAMESPACE)
            self._told += 1


@contextlib.contextmanager
def printing(told: TellsWhatBrokeOff) -> Iterator[None]:
    """Print its lines to standard error for the body of the `with`, in which Ray is connected."""
    end = threading.Event()
    printer = threading.Thread(target=_print_all, args=(told.topic, end), daemon=True)
    printer.start()
    try:
        yield
    finally:
        end.set()
        printer.join(_CLOSES_WITHIN_S)


def _print_all(topic: str, end: threading.Event) -> None:
    printed: set[bytes] = set()
    last = False
    while not last:
        last = end.wait(_LOOK_S)
        # A head that does not answer is asked again.
        with contextlib.suppress(Exception):
            for key in sorted(set(_keys(topic)) - printed):
                line = internal_kv._internal_kv_get(key, namespace=_NAMESPACE)
                print(line.decode(), file=sys.stderr, flush=True)
                printed.add(key)


def _keys(topic: str) -> list[bytes]:
    found: list[bytes] = internal_kv._internal_kv_list(topic, namespace=_NAMESPACE)
    return found
