"""A remark on standard error when S3 has trouble for longer, since botocore tries again in silence."""

import sys
import threading
import time
from typing import Any

PATIENT_ATTEMPTS = 4
"""Tries before anything is said: that many pass in some three seconds."""
_AGAIN_S = 30.0


class RetryTeller:
    """Says that requests are being repeated, at most every half minute.

    To be registered for botocore's event `needs-retry.s3`; it leaves the decision to botocore.
    """

    def __init__(self, endpoint: str, attempts: int) -> None:
        self._endpoint = endpoint
        self._attempts = attempts
        self._lock = threading.Lock()
        self._told_s = -_AGAIN_S

    def __call__(
        self, attempts: int, response: Any, caught_exception: Exception | None, **_: Any
    ) -> None:
        status = response[0].status_code if response else 0
        if not PATIENT_ATTEMPTS <= attempts < self._attempts:
            return
        if caught_exception is None and status < 500:
            return
        with self._lock:
            if time.monotonic() - self._told_s < _AGAIN_S:
                return
            self._told_s = time.monotonic()
        what = f"answers {status}" if status else "does not answer"
        tries = f"try {attempts} of {self._attempts}"
        print(f"{self._endpoint} {what} ({tries}); asking again", file=sys.stderr, flush=True)
