"""One rate-limited resource: its buckets, its slots, its pause and its queue."""

from __future__ import annotations

import math
import random
import threading
from collections import deque
from collections.abc import Iterable, Mapping
from typing import Callable

from ..values.errors import DeadlineExceededError
from ..values.wire import LimitHint
from .alarm import Alarm
from .breaker import LONGEST_WAIT, Breaker
from .bucket import BIN, Bucket
from .cancellation import Cancellation
from .clock import Clock, monotonic
from .retry import RetryBudget

Weights = Mapping[str, float]
"""What a call draws, by bucket name; names without a bucket draw nothing."""

REQUESTS = "requests"
BURST_SECONDS = {REQUESTS: 1.0}
"""Providers watch requests by the second, tokens by the minute: tokens may go in larger bursts."""
OTHER_BURST_SECONDS = 15.0

PROBES = 8
"""Calls in flight while the limits are still to be learned and no answer has come yet."""

FIRST_PAUSE = 1.0

SLOT_GUESS = 1.0
"""Seconds until one of the slots that are all taken gets free: nobody knows."""

LONGEST_PAUSE = 30.0
"""Seconds a lane pauses after a 429 that says nothing of time: doubled each time, full jitter."""


class Reservation:
    """What one attempt drew from a lane, to be settled once: (bin, weight) by bucket."""

    __slots__ = ("drawn", "granted_at")

    def __init__(self, drawn: dict[str, tuple[int, float]], granted_at: float) -> None:
        self.drawn = drawn
        self.granted_at = granted_at


class _Waiter:
    """A call in the queue. `due` is when the head of the queue will next look for itself."""

    __slots__ = ("alarm", "due", "reservation", "weights")

    def __init__(self, weights: Weights) -> None:
        self.weights = weights
        self.reservation: Reservation | None = None
        self.due = math.inf
        self.alarm = Alarm()


class Lane:
    """One account's limits on one group of models, shared by all who use them in this process.

    Calls are served first come, first served: a long prompt is never overtaken for ever by short
    ones. The head of the queue sleeps until its weight is free; all others sleep until they are
    granted or become the head. Why not plain arithmetic reservations (advance the bucket, sleep
    once): a reservation given back after a short answer could not move the sleepers forward.

    The lock guards everything here and is held for arithmetic only; sleeping and waking happen
    outside it.
    """

    def __init__(
        self,
        name: str,
        limits: Mapping[str, float | None],
        *,
        max_in_flight: float = math.inf,
        clock: Clock = monotonic,
        uniform: Callable[[float, float], float] = random.uniform,
    ) -> None:
        self.name = name
        self.max_in_flight = max_in_flight
        self._budget = RetryBudget()
        self._buckets = {key: _bucket(key, limit) for key, limit in limits.items()}
        self._given = {key: limit for key, limit in limits.items() if limit is not None}
        self._told: dict[str, float] = {}
        self._answered = False
        self._in_flight = 0
        self._paused_at = -math.inf
        self._paused_until = -math.inf
        self._pauses = 0
        self._queue: deque[_Waiter] = deque()
        self._announced = 0
        self._clock = clock
        self._uniform = uniform
        self._breakers: dict[str, Breaker] = {}
        self._lock = threading.Lock()

    def breaker(self, name: str) -> Breaker:
        """That of `name`, one of those who share these limits: one may fail where others do not.

        It is for those who have somewhere else to go; the lane itself never asks it.
        """
        with self._lock:
            breaker = self._breakers.get(name)
            if breaker is None:
                breaker = Breaker(clock=self._clock, uniform=self._uniform)
                self._breakers[name] = breaker
            return breaker

    def reserve(
        self, weights: Weights, *, deadline: float, cancellation: Cancellation
    ) -> Reservation:
        """Wait until `weights` are free, draw them and take a slot.

        Raises `DeadlineExceededError` at `deadline`, or at once when the server's pause ends later
        or is longer than `LONGEST_WAIT`; and `CallCancelledError`.
        """
        cancellation.check()
        with self._lock:
            now = self._clock()
            if not self._queue and now < deadline and self._seconds_until_free(weights, now) <= 0:
                return self._grant(weights, now)
            waiter = _Waiter(weights)
            self._queue.append(waiter)
        return self._wait(waiter, deadline, cancellation)

    def settle(
        self,
        reservation: Reservation,
        actual: Weights | None = None,
        hints: Iterable[LimitHint] = (),
        *,
        answered: bool = True,
        succeeded: bool = True,
    ) -> None:
        """Free the slot, replace the estimate by `actual` where known, and follow `hints`.

        `answered` says whether the server answered at all. With `succeeded`, pauses start short
        again and a retry is earned.
        """
        with self._lock:
            now = self._clock()
            self._in_flight -= 1
            if actual is not None:
                self._correct_draw(reservation, actual)
            for hint in hints:
                self._follow(hint, reservation, now)
            self._answered = self._answered or answered
            if succeeded:
                self._pauses = 0
                self._budget.earn()
            woken = self._advance(now) if self._queue else ()
        for waiter in woken:
            waiter.alarm.ring()

    def hear(self) -> None:
        """The server answers, though a call is not over: the limits are no guess any more."""
        with self._lock:
            if self._answered:
                return
            self._answered = True
            woken = self._advance(self._clock())
        for waiter in woken:
            waiter.alarm.ring()

    def may_retry(self) -> bool:
        """Whether the lane's retry budget allows one more retry; takes it from the budget."""
        with self._lock:
            return self._budget.spend(self._clock())

    def throttled(self, reservation: Reservation, retry_after: float | None) -> float | None:
        """The server said: too fast. Pause the whole lane; gives the seconds of a new pause.

        Calls of one wave, sent before the pause began, do not lengthen it, except that a longer
        `retry_after` (seconds) is obeyed exactly.
        """
        with self._lock:
            now = self._clock()
            same_wave = reservation.granted_at <= self._paused_at
            if not retry_after and same_wave:
                return None
            if not same_wave:
                self._pauses += 1
                self._paused_at = now
            if not retry_after:  # nor is "0 seconds" a time: it would be a hot loop
                ceiling = min(LONGEST_PAUSE, FIRST_PAUSE * 2.0 ** (self._pauses - 1))
                retry_after = self._uniform(ceiling / 2, ceiling)
            self._paused_until = max(self._paused_until, now + retry_after)
        return None if same_wave else retry_after

    def announce(self) -> None:
        """A call has chosen this lane, and may still wait elsewhere before it comes."""
        with self._lock:
            self._announced += 1

    def withdraw(self) -> None:
        """That call is sent, or will not come."""
        with self._lock:
            self._announced -= 1

    def outlook(self, weights: Weights) -> tuple[float, float]:
        """Seconds until a call of `weights` that comes now would be sent, and how full it is then.

        A guess: those who wait in line are taken to draw what calls of the last minute did, which
        is often far less than they reserve. How full is a share of the limits: of two lanes that
        would send at once, the one with less is the better one.
        """
        with self._lock:
            now = self._clock()
            # Who announced itself may stand in the queue by now, and is not to be counted twice.
            ahead = max(len(self._queue), self._announced)
            seconds = max(self._paused_until - now, 0.0)
            slots = self._slots()
            busy = self._in_flight + ahead
            fill = busy / slots if slots else 0.0
            if busy >= slots > 0:
                seconds = max(seconds, SLOT_GUESS * busy / slots)
            for name, bucket in self._buckets.items():
                weight = weights.get(name, 0.0)
                if bucket.limit is not None and weight:
                    line = ahead * self._usual(name, weight, now)
                    seconds = max(seconds, bucket.outlook(weight, line, now))
                    fill = max(fill, (bucket.used(now) + line + weight) / bucket.limit)
            return seconds, fill

    def _usual(self, name: str, weight: float, now: float) -> float:
        """What a call draws of a bucket, as far as the last minute tells; else `weight`."""
        requests = self._buckets.get(REQUESTS)
        calls = 0.0 if requests is None or name == REQUESTS else requests.used(now)
        return min(self._buckets[name].used(now) / calls, weight) if calls >= 1 else weight

    @property
    def seconds_paused(self) -> float:
        """Seconds until the server's pause is over; 0 where there is none."""
        return max(self._paused_until - self._clock(), 0.0)

    def widen(self, limits: Mapping[str, float | None], max_in_flight: float) -> None:
        """Another client names its limits for this account: the largest named one holds."""
        with self._lock:
            now = self._clock()
            self.max_in_flight = max(self.max_in_flight, max_in_flight)
            for name, limit in limits.items():
                bucket = self._buckets.setdefault(name, _bucket(name, None))
                if limit is not None:
                    self._given[name] = max(limit, self._given.get(name, 0.0))
                    bucket.change(min(self._given[name], self._told.get(name, math.inf)), now)
            woken = self._advance(now)
        for waiter in woken:
            waiter.alarm.ring()

    @property
    def limits(self) -> dict[str, float | None]:
        """The limits in force, per minute; None where none is known yet."""
        return {name: bucket.limit for name, bucket in self._buckets.items()}

    @property
    def in_flight(self) -> int:
        """Attempts granted and not yet settled."""
        return self._in_flight

    @property
    def waiting(self) -> int:
        """Calls in the queue."""
        return len(self._queue)

    def bottleneck(self) -> str:
        """What holds the next call back now: "", "paused", "concurrency" or a bucket's name."""
        with self._lock:
            if not self._queue:
                return ""
            now = self._clock()
            if now < self._paused_until:
                return f"paused {self._paused_until - now:.0f} s"
            if self._in_flight >= self._slots():
                return "concurrency"
            weights = self._queue[0].weights
            waits = {name: b.wait(weights.get(name, 0.0), now) for name, b in self._buckets.items()}
            return max(waits, key=waits.__getitem__) if any(waits.values()) else ""

    def _wait(self, waiter: _Waiter, deadline: float, cancellation: Cancellation) -> Reservation:
        cancellation.add(waiter.alarm.ring)
        try:
            while True:
                with self._lock:
                    now = self._clock()
                    woken = self._advance(now)
                    due, paused_until = waiter.due, self._paused_until
                for other in woken:
                    if other is not waiter:
                        other.alarm.ring()
                if waiter.reservation is not None:
                    return waiter.reservation
                cancellation.check()
                _check_deadline(now, deadline, paused_until, self.name)
                waiter.alarm.wait(min(due, deadline) - now)
        except BaseException:
            self._leave(waiter)
            raise
        finally:
            cancellation.discard(waiter.alarm.ring)

    def _leave(self, waiter: _Waiter) -> None:
        with self._lock:
            if waiter.reservation is None:
                self._queue.remove(waiter)
                woken = self._advance(self._clock())
            else:  # granted between the last look and now: nobody will use it
                woken = self._release_unused(waiter.reservation)
        for other in woken:
            other.alarm.ring()

    def _release_unused(self, reservation: Reservation) -> list[_Waiter]:
        self._in_flight -= 1
        self._correct_draw(reservation, dict.fromkeys(reservation.drawn, 0.0))
        return self._advance(self._clock())

    def cancel(self, reservation: Reservation) -> None:
        """Give a reservation back whole: nothing was sent."""
        with self._lock:
            woken = self._release_unused(reservation)
        for other in woken:
            other.alarm.ring()

    def _advance(self, now: float) -> list[_Waiter]:
        """Grant from the head as long as weights are free; gives those to be woken."""
        woken = []
        while self._queue:
            head = self._queue[0]
            seconds = self._seconds_until_free(head.weights, now)
            if seconds > 0:
                due = now + seconds
                if due < head.due - 0.001 or head.due <= now:
                    head.due = due
                    woken.append(head)
                break
            head.reservation = self._grant(head.weights, now)
            self._queue.popleft()
            woken.append(head)
        return woken

    def _seconds_until_free(self, weights: Weights, now: float) -> float:
        if self._in_flight >= self._slots():
            return math.inf
        seconds = self._paused_until - now
        for name, bucket in self._buckets.items():
            if bucket.limit is not None:
                wait = bucket.wait(weights.get(name, 0.0), now)
                if wait > seconds:
                    seconds = wait
        return seconds

    def _slots(self) -> float:
        """Slots there are: few while not even the limit on requests is known."""
        if self._answered or REQUESTS in self._given:
            return self.max_in_flight
        return min(PROBES, self.max_in_flight)

    def _grant(self, weights: Weights, now: float) -> Reservation:
        drawn = {}
        for name, bucket in self._buckets.items():
            drawn[name] = bucket.draw(weights.get(name, 0.0), now)
        self._in_flight += 1
        return Reservation(drawn, now)

    def _correct_draw(self, reservation: Reservation, actual: Weights) -> None:
        for name, (bin_number, weight) in reservation.drawn.items():
            difference = weight - actual.get(name, weight)
            if difference:
                self._buckets[name].give_back(difference, bin_number)

    def _follow(self, hint: LimitHint, reservation: Reservation, now: float) -> None:
        """Take what the server says: learned limits follow it, given ones only go down.

        Less left than we thought is believed at once: others draw from the account too. More left
        is believed for learned limits only, and only beyond what was drawn since that request
        left: the server had not seen those yet.
        """
        bucket = self._buckets.get(hint.name)
        if bucket is None:
            bucket = self._buckets[hint.name] = _bucket(hint.name, None)
        given = self._given.get(hint.name)
        if hint.limit is not None and hint.limit > 0:
            self._told[hint.name] = hint.limit
            bucket.change(min(hint.limit, math.inf if given is None else given), now)
        if hint.remaining is None or bucket.limit is None:
            return
        missing = (bucket.limit - hint.remaining) - bucket.used(now)
        if missing > 0:
            bucket.book(missing, now=now, reset_after=hint.reset_after)
        elif given is None:
            bin_number, _ = reservation.drawn.get(hint.name, (int(now // BIN), 0.0))
            sent_since = bucket.drawn_since(bin_number)
            bucket.forgive(max(-missing - sent_since, 0.0))


def _bucket(name: str, limit: float | None) -> Bucket:
    return Bucket(limit, burst_seconds=BURST_SECONDS.get(name, OTHER_BURST_SECONDS))


def _check_deadline(now: float, deadline: float, paused_until: float, lane: str) -> None:
    if now >= deadline:
        raise DeadlineExceededError(f"the call's time was up while it waited for {lane}")
    left = min(deadline - now, LONGEST_WAIT)
    if paused_until - now > left:
        raise DeadlineExceededError(
            f"{lane} is paused by the server for {paused_until - now:.1f} s, "
            f"the call has {left:.1f} s left",
            retry_after=paused_until - now,
        )
