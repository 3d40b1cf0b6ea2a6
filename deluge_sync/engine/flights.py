"""Single flight: of several threads that want the same thing at once, one fetches it."""

from __future__ import annotations

import math
import threading
from collections.abc import Hashable
from typing import Callable, Generic, TypeVar

from ..values.errors import DeadlineExceededError
from .cancellation import Cancellation
from .clock import Clock, monotonic

Result = TypeVar("Result")

ALMOST = 0.95
"""Who began to wait a moment after the other is not asked to wait all over again."""


class _Flight(Generic[Result]):
    """One fetch, and those who wait for it. `out_of_time` says that it failed by its deadline."""

    __slots__ = ("alarms", "out_of_time", "over", "results")

    def __init__(self) -> None:
        self.alarms: list[threading.Lock] = []
        self.out_of_time = False
        self.over = False
        self.results: list[Result] = []  # none, or one


class Flights(Generic[Result]):
    """The fetches under way in this process, by key.

    A fetch that fails is its leader's own failure: one of those who waited takes over. Each waits
    under its own deadline and cancellation. The lock guards the table and the flights in it.
    """

    def __init__(self, *, clock: Clock = monotonic) -> None:
        self._clock = clock
        self._flights: dict[Hashable, _Flight[Result]] = {}
        self._lock = threading.Lock()

    def fetch(
        self,
        key: Hashable,
        fetch: Callable[[], Result],
        *,
        deadline: float,
        patience: float = math.inf,
        cancellation: Cancellation,
    ) -> tuple[Result, bool]:
        """What `fetch` gives, run here or by another thread that was first; whether here.

        Who has waited `patience` seconds for one whose time was up does not begin anew. Raises
        what `fetch` raises when it runs here, `DeadlineExceededError` and `CallCancelledError`.
        """
        began = self._clock()
        while True:
            with self._lock:
                flight = self._flights.get(key)
                leads = flight is None
                if flight is None:
                    flight = self._flights[key] = _Flight()
            if leads:
                return self._lead(key, flight, fetch), True
            self._wait(flight, deadline, cancellation)
            if flight.results:
                return flight.results[0], False
            if flight.out_of_time and self._clock() - began >= patience * ALMOST:
                raise DeadlineExceededError(
                    "the call's time was up, as was that of the same request it waited for"
                )

    def _lead(self, key: Hashable, flight: _Flight[Result], fetch: Callable[[], Result]) -> Result:
        try:
            result = fetch()
            flight.results.append(result)
            return result
        except DeadlineExceededError:
            flight.out_of_time = True
            raise
        finally:
            with self._lock:
                del self._flights[key]
                flight.over = True
                alarms = flight.alarms
            for alarm in alarms:
                _ring(alarm)

    def _wait(self, flight: _Flight[Result], deadline: float, cancellation: Cancellation) -> None:
        alarm = threading.Lock()
        alarm.acquire()
        with self._lock:
            if flight.over:
                return
            flight.alarms.append(alarm)

        def wake() -> None:
            _ring(alarm)

        cancellation.add(wake)
        try:
            while not flight.over:
                cancellation.check()
                left = deadline - self._clock()
                if left <= 0:
                    raise DeadlineExceededError(
                        "the call's time was up while it waited for the answer to the same request"
                    )
                alarm.acquire(timeout=min(left, threading.TIMEOUT_MAX))
        finally:
            cancellation.discard(wake)


def _ring(alarm: threading.Lock) -> None:
    try:
        alarm.release()
    except RuntimeError:  # it rings already
        pass
