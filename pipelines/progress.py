"""What a running stage tells whoever watches it: items done, and how much work that was."""

import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace


@dataclass(frozen=True)
class Throughput:
    """What this run has made so far; shards that were there already do not count."""

    videos: int = 0
    """Videos gone through, the failed ones included."""
    errors: int = 0
    """Videos that failed."""
    frames: int = 0
    bytes: int = 0
    """Size of the committed shards."""
    seconds: float = 0.0
    """Since the stage began."""
    kinds: Mapping[str, int] = field(default_factory=dict)
    """The errors by kind."""

    @property
    def videos_per_s(self) -> float:
        return self.videos / self.seconds if self.seconds else 0.0

    @property
    def frames_per_s(self) -> float:
        return self.frames / self.seconds if self.seconds else 0.0


Remark = str | Throughput
Progress = Callable[[str, int, int, Remark], None]
"""Called with stage, items done, items in all, and a remark or the work done."""


class Meter:
    """Adds up the work of a stage from the moment it is made."""

    def __init__(self) -> None:
        self._started_s = time.monotonic()
        self._total = Throughput()

    def add(self, *, videos: int, errors: Sequence[str], frames: int, bytes: int = 0) -> Throughput:
        """Count what was just finished, errors by their kinds; returns everything so far."""
        before = self._total
        self._total = Throughput(
            before.videos + videos,
            before.errors + len(errors),
            before.frames + frames,
            before.bytes + bytes,
            kinds=Counter(before.kinds) + Counter(errors),
        )
        return self.now()

    def now(self) -> Throughput:
        return replace(self._total, seconds=time.monotonic() - self._started_s)
