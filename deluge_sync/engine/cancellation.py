"""One switch that ends every wait of a call, a run or a client."""

from __future__ import annotations

import threading
from typing import Callable

from ..values.errors import CallCancelledError

Interrupter = Callable[[], object]


class Cancellation:
    """Set once, never unset; setting it wakes all who wait under it.

    Whoever blocks adds a callable that unblocks it (releases a lock, shuts a socket down) and
    discards it afterwards. A child is cancelled with its parent, not the other way round.

    The lock guards `cancelled` and the set of interrupters; interrupters run outside it.
    """

    __slots__ = ("__weakref__", "_interrupters", "_lock", "_parent", "cancelled")

    def __init__(self, parent: Cancellation | None = None) -> None:
        self.cancelled = False
        self._interrupters: set[Interrupter] = set()
        self._lock = threading.Lock()
        self._parent = parent
        if parent is not None:
            parent.add(self.cancel)

    def cancel(self) -> None:
        """Wake everyone; later calls do nothing."""
        with self._lock:
            if self.cancelled:
                return
            self.cancelled = True
            interrupters = tuple(self._interrupters)
            self._interrupters.clear()
        for interrupt in interrupters:
            interrupt()

    def add(self, interrupter: Interrupter) -> None:
        """Have `interrupter` called, once, at `cancel()`; at once when that was before."""
        with self._lock:
            if not self.cancelled:
                self._interrupters.add(interrupter)
                return
        interrupter()

    def discard(self, interrupter: Interrupter) -> None:
        """No longer call `interrupter`."""
        with self._lock:
            self._interrupters.discard(interrupter)

    def detach(self) -> None:
        """Let the parent forget this one; called when the work under it is done."""
        if self._parent is not None:
            self._parent.discard(self.cancel)

    def check(self) -> None:
        """Raise `CallCancelledError` if cancelled."""
        if self.cancelled:
            raise CallCancelledError("the call was cancelled")

    def sleep(self, seconds: float) -> None:
        """Sleep, or raise `CallCancelledError` as soon as cancelled."""
        if seconds > 0 and not self.cancelled:
            alarm = threading.Lock()
            alarm.acquire()
            self.add(alarm.release)
            try:
                alarm.acquire(timeout=min(seconds, threading.TIMEOUT_MAX))
            finally:
                self.discard(alarm.release)
        self.check()
