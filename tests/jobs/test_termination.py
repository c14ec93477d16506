"""SIGTERM within a `with`, in this process."""

import os
import signal

import pytest

from jobs.termination import Terminated, stopping_like_ctrl_c


def test_the_first_signal_stops_and_another_does_not_disturb() -> None:
    before = signal.getsignal(signal.SIGTERM)
    cleaned = False
    with pytest.raises(Terminated), stopping_like_ctrl_c():
        try:
            os.kill(os.getpid(), signal.SIGTERM)
        except KeyboardInterrupt:
            os.kill(os.getpid(), signal.SIGTERM)
            cleaned = True
            raise KeyboardInterrupt from None  # as Ray does while it waits
    assert cleaned
    assert signal.getsignal(signal.SIGTERM) == before


def test_ctrl_c_stays_ctrl_c() -> None:
    with pytest.raises(KeyboardInterrupt) as stopped, stopping_like_ctrl_c():
        raise KeyboardInterrupt
    assert not isinstance(stopped.value, Terminated)
