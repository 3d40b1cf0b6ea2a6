"""A circuit breaker: whether calls should go to a resource that has been failing."""

from __future__ import annotations

import math
import random
import threading
from typing import Callable

from .clock import Clock, monotonic

THRESHOLD = 5
"""Failures with no success between them that open a breaker."""

FIRST_INTERVAL, LONGEST_INTERVAL = 5.0, 30.0
"""Seconds from the opening to a probe: doubled with each probe, the upper half of it drawn."""

LONGEST_WAIT = 900.0
"""Seconds of a server's own word that are waited for: some name the hours until next month."""


class Entry:
    """One call's way through a breaker, to be given back once; `sent_at` is its first send."""

    __slots__ = ("is_probe", "sent_at")

    def __init__(self, *, is_probe: bool) -> None:
        self.is_probe = is_probe
        self.sent_at = -math.inf


class Breaker:
    """Closed until calls fail in a row, or one fails in a way that the next will too; then open.

    After an interval it is half open: one call is the probe, and a success closes the breaker. A
    probe that fails, or is not back within the next interval, makes room for another one, so that
    nothing is shut out for good. It only advises: who has nowhere else to go may `pass_anyway`.

    The lock guards everything here and is held for arithmetic only.
    """

    def __init__(
        self,
        *,
        clock: Clock = monotonic,
        uniform: Callable[[float, float], float] = random.uniform,
    ) -> None:
        self._clock = clock
        self._uniform = uniform
        self._failures = 0
        self._opened_at: float | None = None
        self._next_probe_at = -math.inf
        self._intervals = 0
        self._probe: Entry | None = None
        self._lock = threading.Lock()

    @property
    def is_open(self) -> bool:
        """Whether it has been open since it last let calls pass; half open counts."""
        return self._opened_at is not None

    def seconds_shut(self) -> float:
        """Seconds until a call may pass: 0 while it is closed, or a probe may go."""
        with self._lock:
            return self._seconds_shut(self._clock())

    def enter(self) -> Entry | None:
        """Pass, if calls may; the one that passes a half-open breaker is its probe."""
        with self._lock:
            now = self._clock()
            if self._seconds_shut(now) > 0:
                return None
            if self._opened_at is None:
                return Entry(is_probe=False)
            self._probe = Entry(is_probe=True)
            self._intervals = min(self._intervals + 1, 30)
            self._next_probe_at = now + self._interval()
            return self._probe

    def pass_anyway(self) -> Entry:
        """Pass where there is nowhere else to go."""
        return self.enter() or Entry(is_probe=False)

    def sent(self, entry: Entry) -> None:
        """The call is sent now: what it finds is no older than that."""
        entry.sent_at = self._clock()

    def succeeded(self, entry: Entry) -> None:
        """The resource works. What was sent before it failed says nothing of now."""
        with self._lock:
            if self._opened_at is None:
                self._failures = 0
            elif entry.sent_at > self._opened_at:
                self._opened_at = self._probe = None
                self._failures = self._intervals = 0

    def failed(
        self, entry: Entry, *, at_once: bool = False, retry_after: float | None = None
    ) -> None:
        """The resource failed; `at_once` where the next call would fail as well.

        `retry_after` is what the server says of time, in seconds. While it is open only its probe
        counts: calls of one wave do not lengthen it.
        """
        with self._lock:
            now = self._clock()
            if self._opened_at is not None:
                if entry is self._probe:
                    self._shut(now, self._until_probe(retry_after))
                return
            self._failures += 1
            if at_once or self._failures >= THRESHOLD:
                self._intervals = 0
                self._shut(now, self._until_probe(retry_after))

    def abandoned(self, entry: Entry) -> None:
        """The call ended and nothing is known; if it was the probe, another one may go."""
        with self._lock:
            if entry is self._probe:
                self._probe = None
                self._next_probe_at = self._clock()

    def _shut(self, now: float, seconds: float) -> None:
        self._opened_at = now
        self._probe = None
        self._next_probe_at = now + seconds

    def _seconds_shut(self, now: float) -> float:
        return 0.0 if self._opened_at is None else max(self._next_probe_at - now, 0.0)

    def _until_probe(self, retry_after: float | None) -> float:
        return min(retry_after, LONGEST_WAIT) if retry_after else self._interval()

    def _interval(self) -> float:
        ceiling = min(LONGEST_INTERVAL, FIRST_INTERVAL * 2.0**self._intervals)
        return self._uniform(ceiling / 2, ceiling)
