"""Which frames of a video are kept: sampling by timestamp.

Targets lie at 0, 1/f, 2/f ... seconds after the first frame; each takes the first frame whose
timestamp is not before it. An integer stride would be wrong (25 Hz would become 6.25 Hz at f = 6).
"""

import numpy as np

TOLERANCE_S = 1e-3
"""Containers and decoders round timestamps; a frame this little before a target still meets it."""


def sample_indices(timestamps_s: np.ndarray, fps_hz: float) -> np.ndarray:
    """Indices of the frames to keep.

    Args:
        timestamps_s: [N] presentation times in seconds, not decreasing.
        fps_hz: frames per second to keep.

    Returns:
        int64 [M], strictly increasing. Where the source is slower than `fps_hz` a frame can meet
        several targets; it is kept once.
    """
    if timestamps_s.size == 0:
        return np.zeros(0, dtype=np.int64)
    relative_s = timestamps_s - timestamps_s[0]
    # One target more than there should be: rounding must not lose the last one.
    count = int(np.floor((relative_s[-1] + TOLERANCE_S) * fps_hz)) + 2
    targets_s = np.arange(count) / fps_hz
    indices = np.searchsorted(relative_s, targets_s - TOLERANCE_S, side="left")
    return np.unique(indices[indices < timestamps_s.size])


class StreamSampler:
    """The same rule for a stream of frames whose end is not known."""

    def __init__(self, fps_hz: float) -> None:
        self._fps_hz = fps_hz
        self._first_s: float | None = None
        self._next_target = 0

    def keep(self, timestamp_s: float) -> bool:
        """Whether the frame at `timestamp_s` is kept; call once for each frame in order."""
        if self._first_s is None:
            self._first_s = timestamp_s
        relative_s = timestamp_s - self._first_s
        if relative_s < self._next_target / self._fps_hz - TOLERANCE_S:
            return False
        # Close to the next target at once, then in steps with the very comparison made above.
        near = int(np.floor((relative_s + TOLERANCE_S) * self._fps_hz)) - 1
        self._next_target = max(self._next_target + 1, near)
        while relative_s >= self._next_target / self._fps_hz - TOLERANCE_S:
            self._next_target += 1
        return True
