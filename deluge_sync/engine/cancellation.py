"""One switch that ends every wait of a call, a run or a client."""

from __future__ import annotations

import threading
import weakref
from typing import Callable

from ..values.errors import CallCancelledError
from .alarm import Alarm

Interrupter = Callable[[], object]


class Cancellation:
    """Set once, never unset; setting it wakes all who wait under it.

    Whoever blocks adds a callable that unblocks it (releases a lock, shuts a socket down) and
    discards it afterwards. A child is cancelled with any of its parents, not the other way round,
    and they do not keep it alive.

    The lock guards `cancelled` and the two sets; interrupters run outside it.
    """

    __slots__ = ("__weakref__", "_children", "_interrupters", "_lock", "cancelled")

    def __init__(self, *parents: Cancellation) -> None:
        self.cancelled = False
        self._interrupters: set[Interrupter] = set()
        self._children: weakref.WeakSet[Cancellation] = weakref.WeakSet()
        self._lock = threading.Lock()
        for parent in parents:
            parent._adopt(self)

    def cancel(self) -> None:
        """Wake everyone. A further call wakes whom one that was interrupted has left asleep."""
        with self._lock:
            self.cancelled = True
            children = tuple(self._children)
        while self._interrupters:
            with self._lock:
                interrupt = self._interrupters.pop() if self._interrupters else None
            if interrupt is not None:
                interrupt()
        for child in children:
            child.cancel()

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

    def check(self) -> None:
        """Raise `CallCancelledError` if cancelled."""
        if self.cancelled:
            raise CallCancelledError("the call was cancelled")

    def sleep(self, seconds: float) -> None:
        """Sleep, or raise `CallCancelledError` as soon as cancelled."""
        if seconds > 0 and not self.cancelled:
            alarm = Alarm()
            self.add(alarm.ring)
            try:
                alarm.wait(seconds)
            finally:
                self.discard(alarm.ring)
        self.check()

    def _adopt(self, child: Cancellation) -> None:
        with self._lock:
            if not self.cancelled:
                self._children.add(child)
                return
        child.cancel()
