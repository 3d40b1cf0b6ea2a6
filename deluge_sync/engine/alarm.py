"""One thread's alarm clock, which others ring."""

from __future__ import annotations

import threading


class Alarm:
    """Rings once, however often it is rung, until it is waited for again.

    A lock that is released by somebody else: it costs a tenth of a `threading.Event`. It guards
    nothing.
    """

    __slots__ = ("_lock",)

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._lock.acquire()

    def wait(self, seconds: float) -> bool:
        """Wait until it rings, at most so long; whether it rang."""
        return self._lock.acquire(timeout=min(max(seconds, 0.0), threading.TIMEOUT_MAX))

    def ring(self) -> None:
        """Called by any thread; never waits."""
        try:
            self._lock.release()
        except RuntimeError:  # it rings already
            pass
