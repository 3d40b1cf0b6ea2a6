"""Single flight: of several threads that want the same thing at once, one fetches it."""

from __future__ import annotations

import math
import threading
from collections.abc import Hashable
from typing import Callable, Generic, TypeVar

from ..values.errors import CallError, DeadlineExceededError
from .alarm import Alarm
from .cancellation import Cancellation
from .clock import Clock, monotonic

Result = TypeVar("Result")


class _Flight(Generic[Result]):
    """One fetch, and those who wait for it.

    `granted_at` is when its time began to count, `refused` says that whoever asks for the same is
    refused too. It is `over` with one of `results`, or with none when it failed.
    """

    __slots__ = ("alarms", "granted_at", "over", "refused", "results")

    def __init__(self) -> None:
        self.alarms: list[Alarm] = []
        self.granted_at = math.inf
        self.over = False
        self.refused = False
        self.results: list[Result] = []


class Flights(Generic[Result]):
    """The fetches under way in this process, by key.

    A fetch that fails is its leader's own failure: one of those who waited takes over. Where the
    server has refused it, they go on at once and each alone: nobody would be any luckier. Each
    waits under its own cancellation and deadline; without one, its time begins with the leader's.

    The lock guards the table and the flights in it.
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

        Nobody waits for more than `patience` seconds after the leader's time began. Raises what
        `fetch` raises when it runs here, `DeadlineExceededError` and `CallCancelledError`.
        """
        while True:
            mine: _Flight[Result] = _Flight()
            try:
                with self._lock:
                    flight = self._flights.setdefault(key, mine)
                if flight is mine:
                    return self._lead(mine, fetch), True
            finally:  # whatever interrupts: nobody waits for a flight that has no leader
                if self._flights.get(key) is mine:
                    self._land(key, mine)
            self._wait(flight, deadline, patience, cancellation)
            if flight.results:
                return flight.results[0], False
            if flight.refused:
                return fetch(), True

    def granted(self, key: Hashable) -> None:
        """The leader's time begins to count now, if it did not before."""
        with self._lock:
            flight = self._flights.get(key)
            if flight is None or flight.granted_at < math.inf:
                return
            flight.granted_at = self._clock()
            alarms = tuple(flight.alarms)
        for alarm in alarms:
            alarm.ring()

    def _lead(self, flight: _Flight[Result], fetch: Callable[[], Result]) -> Result:
        try:
            result = fetch()
        except CallError as error:
            flight.refused = error.status is not None and not error.retryable
            raise
        flight.results.append(result)
        return result

    def _land(self, key: Hashable, flight: _Flight[Result]) -> None:
        with self._lock:
            self._flights.pop(key, None)
            flight.over = True
            alarms = flight.alarms
        for alarm in alarms:
            alarm.ring()

    def _wait(
        self,
        flight: _Flight[Result],
        deadline: float,
        patience: float,
        cancellation: Cancellation,
    ) -> None:
        """Wait until the flight is over; raises where the time was up before that."""
        alarm = Alarm()
        with self._lock:
            flight.alarms.append(alarm)
        cancellation.add(alarm.ring)
        try:
            while not flight.results:
                cancellation.check()
                left = min(deadline, flight.granted_at + patience) - self._clock()
                if left <= 0:
                    raise DeadlineExceededError(
                        "the call's time was up while it waited for the answer to the same request"
                    )
                if flight.over:
                    return
                alarm.wait(left)
        finally:
            cancellation.discard(alarm.ring)
