"""Ending what is still queued when its time is up."""

from __future__ import annotations

import heapq
import itertools
import logging
import threading
import weakref
from typing import Callable

from .clock import Clock, monotonic

logger = logging.getLogger(__name__)

PRUNE_AT = 1_024
LONGEST_WAIT = 3_600.0


class Deadlines:
    """Calls methods at their instants, from one thread that lives only while there are any.

    Methods are held weakly: what finished in time is forgotten. The condition's lock guards the
    heap and the thread's handle; methods are called outside it.
    """

    def __init__(self, *, clock: Clock = monotonic) -> None:
        self._clock = clock
        self._heap: list[tuple[float, int, weakref.WeakMethod[Callable[[], None]]]] = []
        self._prune_at = PRUNE_AT
        self._numbers = itertools.count()
        self._changed = threading.Condition(threading.Lock())
        self._thread: threading.Thread | None = None

    def add(self, instant: float, method: Callable[[], None]) -> None:
        """Call the bound `method` at `instant`, if its object still lives then."""
        with self._changed:
            if len(self._heap) >= self._prune_at:
                self._prune()
            heapq.heappush(self._heap, (instant, next(self._numbers), weakref.WeakMethod(method)))
            if self._thread is None:
                self._thread = threading.Thread(
                    target=self._watch, name="deluge-sync-deadlines", daemon=True
                )
                self._thread.start()
            self._changed.notify()

    def close(self) -> None:
        """Forget everything; the thread ends."""
        with self._changed:
            self._heap.clear()
            self._changed.notify()

    def _prune(self) -> None:
        """Forget what is finished, so that far deadlines do not pile up."""
        self._heap = [entry for entry in self._heap if entry[2]() is not None]
        heapq.heapify(self._heap)
        self._prune_at = max(PRUNE_AT, 2 * len(self._heap))

    def _watch(self) -> None:
        while True:
            with self._changed:
                due = self._take_due()
                if not due and not self._heap:
                    self._thread = None
                    return
                if not due:
                    self._changed.wait(min(self._heap[0][0] - self._clock(), LONGEST_WAIT))
            for reference in due:
                method = reference()
                if method is not None:
                    try:
                        method()
                    except Exception:
                        logger.exception("ending a call at its deadline failed")

    def _take_due(self) -> list[weakref.WeakMethod[Callable[[], None]]]:
        now = self._clock()
        due = []
        while self._heap and self._heap[0][0] <= now:
            due.append(heapq.heappop(self._heap)[2])
        return due
